"""The parts of the captioning loop, each by itself."""

from __future__ import annotations

import asyncio
import json
import pickle
import sqlite3
import threading
from collections import Counter
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hiw_data.captioning.cache import AnswerCache
from hiw_data.captioning.client import retry_after
from hiw_data.captioning.endpoint import Endpoint, Secret, endpoint_from_environment
from hiw_data.captioning.frames import folder_frames, sample_frames
from hiw_data.captioning.limits import RateLimit
from hiw_data.captioning.narrations import parse_narration
from hiw_data.captioning.problems import CacheError, EndpointError, MissingPackageError, require
from hiw_data.captioning.prompt_files import NAMES, prompt
from hiw_data.captioning.questions import Question, atomic_questions, choice_question, verification_question
from hiw_data.errors import ClipError, OptionError
from hypothesis import given, settings
from hypothesis import strategies as st

KEY = "sk-very-secret-0123456789"
JPEG = b"\xff\xd8\xff"


class FakeClock:
    """A clock that moves when somebody waits."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds
        await asyncio.sleep(0)


def times(limit: RateLimit, clock: FakeClock, tokens: list[int]) -> list[float]:
    """When each of some requests is let through."""

    async def run() -> list[float]:
        out = []
        for number in tokens:
            await limit.acquire(number)
            out.append(round(clock.now(), 3))
        return out

    return asyncio.run(run())


def test_no_more_requests_pass_in_any_minute_than_allowed() -> None:
    clock = FakeClock()
    assert times(RateLimit(2, None, clock), clock, [1] * 5) == [0, 0, 60, 60, 120]


def test_no_more_tokens_pass_in_any_minute_than_allowed_and_a_larger_request_goes_alone() -> None:
    clock = FakeClock()
    assert times(RateLimit(None, 100, clock), clock, [60, 40, 10, 500, 1]) == [0, 0, 60, 120, 180]


def test_tokens_count_as_the_endpoint_has_said() -> None:
    clock = FakeClock()
    limit = RateLimit(None, 100, clock)

    async def run() -> float:
        spent = await limit.acquire(90)
        spent.tokens = 10
        await limit.acquire(90)
        return clock.now()

    assert asyncio.run(run()) == 0


def test_a_pause_holds_everything_back() -> None:
    clock = FakeClock()
    limit = RateLimit(None, None, clock)
    limit.pause(7)
    assert times(limit, clock, [1, 1]) == [7, 7]


@given(st.integers(1, 5), st.lists(st.floats(0, 30), min_size=1, max_size=30))
@settings(deadline=None, max_examples=40)
def test_any_window_of_a_minute_keeps_to_the_limit(most: int, gaps: list[float]) -> None:
    clock = FakeClock()
    limit = RateLimit(most, None, clock)

    async def run() -> list[float]:
        out = []
        for gap in gaps:
            clock.time += gap
            await limit.acquire(1)
            out.append(clock.now())
        return out

    passed = asyncio.run(run())
    assert max(sum(0 <= other - start < 60 - 1e-9 for other in passed) for start in passed) <= most


def test_a_kept_answer_is_there_for_the_next_one_who_opens_the_file(tmp_path: Path) -> None:
    with AnswerCache(tmp_path / "a" / "answers.sqlite") as cache:
        assert cache.get("k") is None
        cache.put("k", {"value": {"sentence": "é"}})
        cache.put("k", {"value": "a later one does not replace it"})
    with AnswerCache(tmp_path / "a" / "answers.sqlite") as cache:
        assert cache.get("k") == {"value": {"sentence": "é"}}
        assert len(cache) == 1


def test_a_question_is_taken_by_one_until_it_is_given_back_answered_or_too_old(tmp_path: Path) -> None:
    now = [1000.0]
    with AnswerCache(tmp_path / "x", lambda: now[0]) as one, AnswerCache(tmp_path / "x", lambda: now[0]) as two:
        lease = one.take("k", 60)
        assert lease is not None
        assert two.take("k", 60) is None
        one.release("k", lease)
        other = two.take("k", 60)
        assert other is not None
        assert one.take("k", 60) is None
        now[0] += 59
        two.renew("k", other, 60)
        now[0] += 59
        assert one.take("k", 60) is None
        now[0] += 2
        assert one.take("k", 60) is not None
        one.put("k", {"value": 1})
        now[0] += 1000
        assert two.take("k", 60) is None


def test_the_lease_of_a_dead_process_ends_at_once(tmp_path: Path) -> None:
    with AnswerCache(tmp_path / "x") as cache:
        assert cache.take("k", 3600)
        with sqlite3.connect(tmp_path / "x") as database:
            database.execute("UPDATE leases SET pid = ?", (2**22 - 1,))  # above any process of a default Linux
        database.close()
        assert cache.take("k", 3600)


def test_threads_take_a_question_once(tmp_path: Path) -> None:
    taken: list[str] = []
    with AnswerCache(tmp_path / "x") as first, AnswerCache(tmp_path / "x") as second:

        def take(cache: AnswerCache) -> None:
            for number in range(50):
                if cache.take(f"k{number}", 60):
                    taken.append(f"k{number}")

        threads = [threading.Thread(target=take, args=(cache,)) for cache in (first, second) * 3]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(taken) == sorted(f"k{number}" for number in range(50))


@pytest.mark.parametrize(
    "content", [b"this is no database, and longer than a header", b"SQLite format 3\x00" + b"x" * 200]
)
def test_a_file_that_is_no_cache_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(CacheError, match="--cache"):
        AnswerCache(tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == content


def test_somebody_elses_database_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "x") as database:
        database.execute("CREATE TABLE mine (a)")
    database.close()
    with pytest.raises(CacheError, match="mine"):
        AnswerCache(tmp_path / "x")


def test_the_key_does_not_print_serialise_or_copy() -> None:
    point = Endpoint("http://localhost:1/v1", "m", Secret(KEY))
    assert KEY not in f"{point!r} {point} {asdict(point)} {point.key}"
    with pytest.raises(TypeError):
        json.dumps(asdict(point))
    with pytest.raises(TypeError):
        pickle.dumps(point)
    assert replace(point, model="n").key == Secret(KEY)
    assert Secret("x").struck_from("xxx") == "xxx"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"base_url": "localhost:8000"}, "base_url"),
        ({"base_url": "file:///etc/passwd"}, "base_url"),
        ({"base_url": "https://me:sk-123@host/v1"}, "without a name"),
        ({"model": ""}, "model"),
        ({"concurrency": 0}, "concurrency"),
        ({"requests_per_minute": 0}, "requests_per_minute"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
    ],
)
def test_an_endpoint_that_cannot_be_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words) as caught:
        Endpoint(**{"base_url": "http://h/v1", "model": "m", **changes})
    assert "sk-123" not in str(caught.value)


def test_the_environment_gives_address_model_and_key_and_a_key_goes_to_its_own_address_alone() -> None:
    env = {"HIW_VLM_BASE_URL": "http://a/v1", "HIW_VLM_MODEL": "eye", "HIW_VLM_API_KEY": KEY}
    assert endpoint_from_environment("vlm", env) == Endpoint("http://a/v1", "eye", Secret(KEY))
    assert endpoint_from_environment("llm", env) == Endpoint("http://a/v1", "eye", Secret(KEY))
    env |= {"HIW_LLM_BASE_URL": "http://b/v1", "HIW_LLM_MODEL": "pen"}
    assert endpoint_from_environment("llm", env) == Endpoint("http://b/v1", "pen")
    assert endpoint_from_environment("llm", {**env, "HIW_LLM_API_KEY": "other"}).key == Secret("other")
    general = {"OPENAI_BASE_URL": "http://c/v1", "OPENAI_API_KEY": KEY}
    assert endpoint_from_environment("vlm", general, model="m") == Endpoint("http://c/v1", "m", Secret(KEY))
    assert endpoint_from_environment("vlm", general, model="m", base_url="http://d/v1").key is None
    with pytest.raises(EndpointError, match="HIW_LLM_BASE_URL"):
        endpoint_from_environment("llm", {})
    with pytest.raises(EndpointError, match="HIW_VLM_MODEL"):
        endpoint_from_environment("vlm", {}, base_url="http://a/v1")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("3", 3.0), ("0.5", 0.5), ("-4", 0.0), ("nan", 0.0), ("inf", 0.0), ("", 0.0), ("soon", 0.0),
     ("Thu, 01 Jan 2026 00:00:30 GMT", 30.0), ("Wed, 31 Dec 2025 00:00:00 GMT", 0.0)],
)  # fmt: skip
def test_retry_after_is_a_number_or_a_date(value: str, seconds: float) -> None:
    assert retry_after(value, datetime(2026, 1, 1, tzinfo=UTC)) == seconds


def test_every_prompt_has_a_version_and_its_fields_are_filled() -> None:
    for name in NAMES:
        assert prompt(name).version >= 1
        assert len(prompt(name).text) > 40
    for question in atomic_questions([JPEG + b"1"]).values():
        assert "1 frames" in question.text
        assert "$" not in question.text
        assert all(key in question.text.rpartition("keys")[2] for key in question.schema["properties"])


def test_what_stands_in_a_field_is_not_looked_at_again() -> None:
    text = verification_question("a $count ${captions} $$", "b", [JPEG]).text
    assert "a $count ${captions} $$" in text


def test_the_name_of_an_answer_depends_on_everything_that_decides_it() -> None:
    base = Question(prompt("fine"), "text", {"type": "object"}, "data", (JPEG + b"1", JPEG + b"2"))
    others = [
        replace(base, prompt=replace(base.prompt, version=2)),
        replace(base, text="other"),
        replace(base, schema={"type": "string"}),
        replace(base, data="other"),
        replace(base, frames=(JPEG + b"2", JPEG + b"1")),
        replace(base, frames=(JPEG + b"1",)),
    ]
    keys = [question.key("m", temperature=0) for question in (base, *others)]
    keys += [base.key("n", temperature=0), base.key("m", temperature=1)]
    assert len(set(keys)) == len(keys)
    assert replace(base).key("m", temperature=0) == keys[0]


def test_nothing_but_candidates_can_be_chosen() -> None:
    pytest.importorskip("jsonschema")
    from hiw_data.captioning.validation import InvalidAnswerError, parse_answer

    schema = choice_question({}, [], [], ["cut"], ["bread"], ["hold", "rest"]).schema
    good = {"action": "cut", "object": "none", "left_role": "hold", "right_role": "rest"}
    assert parse_answer("```json\n" + json.dumps(good) + "\n```", schema) == good
    for bad in ({**good, "action": "fly"}, {**good, "extra": 1}, {"action": "cut"}, [good], "cut"):
        with pytest.raises(InvalidAnswerError):
            parse_answer(json.dumps(bad), schema)
    for text in ("", "not json", "[" * 100_000, '{"sentence": ""}', json.dumps({"sentence": "x" * 401})):
        with pytest.raises(InvalidAnswerError):
            parse_answer(text, {"type": "object", "properties": {"sentence": {"type": "string"}}})


def test_frames_are_the_middles_of_equal_stretches() -> None:
    numbered = [JPEG + bytes([i]) for i in range(12)]
    assert [frame[-1] for frame in sample_frames(iter(numbered), 3)] == [2, 6, 10]
    assert [frame[-1] for frame in sample_frames(numbered[:2], 5)] == [0, 1]


def test_frames_outside_their_folder_are_nobodys_to_send(tmp_path: Path) -> None:
    (tmp_path / "frames" / "a").mkdir(parents=True)
    (tmp_path / "frames" / "a" / "0.jpg").write_bytes(JPEG)
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "0.jpg").write_bytes(JPEG)
    (tmp_path / "frames" / "link").symlink_to(tmp_path / "private")
    (tmp_path / "frames" / "b").mkdir()
    (tmp_path / "frames" / "b" / "0.jpg").symlink_to(tmp_path / "private" / "0.jpg")
    frames = folder_frames(tmp_path / "frames")
    assert list(frames("a")) == [JPEG]
    for name in ("../private", str(tmp_path / "private"), "link", "", ".", "b", "missing"):
        with pytest.raises(ClipError):
            frames(name)


@pytest.mark.parametrize(
    ("text", "verb", "objects", "hands"),
    [
        ("#C C picks up the kitchen knife with her right hand", "pick up", ("knife",), ("right",)),
        ("a person is opening a bottle", "open", ("bottle",), ()),
        ("He puts down the cup and the spoon", "put down", ("cup", "spoon"), ()),
        ("The lady unscrews the lid with both hands", "unscrew", ("lid",), ("both",)),
        ("stirring", "stir", (), ()),
        ("wiping the tables", "wipe", ("table",), ()),
        ("takes scissors", "take", ("scissors",), ()),
        ("", "", (), ()),
        ("漢字 123 #!", "", (), ()),
    ],
)
def test_narrations_are_read(text: str, verb: str, objects: tuple[str, ...], hands: tuple[str, ...]) -> None:
    parsed = parse_narration(text)
    assert (parsed.verb, parsed.objects, parsed.hands) == (verb, objects, hands)


@given(st.text())
def test_no_narration_breaks_the_reader(text: str) -> None:
    parse_narration(text)


def test_near_phrases_become_one_entry_and_candidates_come_nearest_first() -> None:
    pytest.importorskip("sklearn")
    from hiw_data.captioning.embeddings import LetterEmbedder
    from hiw_data.captioning.vocabulary import Retriever, Vocabulary, build_vocabulary, cluster

    embedder = LetterEmbedder()
    entries = cluster(Counter({"screwdriver": 3, "screw driver": 1, "wipe": 5}), embedder)
    assert [(entry.name, entry.phrases) for entry in entries] == [
        ("wipe", {"wipe": 5}), ("screwdriver", {"screwdriver": 3, "screw driver": 1})
    ]  # fmt: skip
    narrations = [
        "C cuts the bread",
        "C wipes the table",
        "C wipes the table",
        "C cuts the onion",
        "C opens the drawer",
    ]
    vocabulary = build_vocabulary(narrations, ["holds the bread", "rests"], embedder)
    assert vocabulary.names("actions") == ["cut", "wipe", "open"]
    assert vocabulary.names("roles") == ["hold", "rest", "not seen"]
    retriever = Retriever(vocabulary, embedder)
    assert retriever.candidates("objects", ["onions", "a table"], 2) == ["table", "onion"]
    assert retriever.candidates("actions", [], 2) == ["cut", "wipe"]
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary
    assert build_vocabulary(narrations, [], embedder, least=2).names("actions") == ["cut", "wipe"]
    for text in ("", "{}", '{"schema": 9}', '{"schema": 1, "actions": [1], "objects": [], "roles": []}'):
        with pytest.raises(OptionError):
            Vocabulary.from_json(text)


def test_a_caption_that_fits_no_other_of_its_motion_is_an_outlier() -> None:
    pytest.importorskip("sklearn")
    from hiw_data.captioning.embeddings import LetterEmbedder
    from hiw_data.captioning.outliers import LEAST_CLIPS, outlier_factors

    names = [
        f"{colour} {size} cup"
        for colour in ("red", "blue", "green", "white", "black", "grey")
        for size in ("small", "big", "tall")
    ]
    texts = [f"the right hand lifts the {name}" for name in names] + [f"the left hand wipes a {n}" for n in names]
    claims = [["hands:right=moves", "direction:right=up"]] * 18 + [["hands:left=moves", "shape:left=circle"]] * 18
    texts[3] = "xylophone quartz jamboree zzz"
    factors = outlier_factors(texts, claims, LetterEmbedder())
    assert factors is not None
    assert int(factors.argmax()) == 3
    assert factors[3] > 1.5 > np.delete(factors, 3).max()
    again = outlier_factors(texts + texts[:1] * 40, claims + claims[:1] * 40, LetterEmbedder())
    assert again is not None
    np.testing.assert_allclose(again[:36], factors)  # copies of one caption change nothing
    assert outlier_factors(texts[: LEAST_CLIPS - 1], claims[: LEAST_CLIPS - 1], LetterEmbedder()) is None


def test_a_missing_package_names_its_extra() -> None:
    with pytest.raises(MissingPackageError, match=r"hiw-data\[vlm\]"):
        require("no_such_package_at_all", "vlm")
