import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch
from clutch_llm import Clutch, PretrainConfig, prompts
from clutch_llm.batching import PART_COST, BatchPlan, Sample, SampleMaker, collate, draw_task, split_by_length
from clutch_llm.errors import DataError
from clutch_llm.model import IGNORE
from clutch_llm.stages import TASKS
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def maker(clutch: Clutch) -> SampleMaker:
    return SampleMaker(clutch.vocabulary)


MOTION = np.array([[0, 1, 2, 3], [4, 5, 6, 7]])
CLIP = {"captions": ["both hands clap"], "tokens": MOTION}


def test_positions_count_the_codes_of_a_motion_in_prompt_and_target(maker) -> None:
    """Text and marks are at 0; at the end of a target stands the code that would go on."""
    t2m, m2t, masked = (maker.make(task, CLIP, np.random.default_rng(0)) for task in ("t2m", "m2t", "masked"))
    assert t2m.prompt_positions.tolist() == [0] * len(t2m.prompt)
    assert t2m.target_positions.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    for sample in (m2t, masked):
        start = sample.prompt.tolist().index(maker.layout.som)
        assert sample.prompt_positions.tolist() == [0] * start + [0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0]
    assert m2t.target_positions.tolist() == [0] * len(m2t.target)
    assert masked.target_positions.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_text_to_motion_asks_with_the_caption_and_answers_with_the_motion(maker, examples) -> None:
    sample = maker.make("t2m", examples[0], np.random.default_rng(0))
    assert any(c in maker.vocabulary.decode_text(sample.prompt) for c in examples[0]["captions"])
    np.testing.assert_array_equal(maker.vocabulary.ids_to_motion(sample.target), examples[0]["tokens"])


def test_motion_to_text_asks_for_details_where_it_answers_with_them(maker, examples) -> None:
    seen = set()
    for seed in range(20):
        sample = maker.make("m2t", examples[1], np.random.default_rng(seed))
        answer = maker.vocabulary.decode_text(sample.target)
        detailed = "detail" in maker.vocabulary.decode_text(sample.prompt)
        assert answer == examples[1]["captions"][int(detailed)]
        seen.add(detailed)
    assert seen == {True, False}


def test_masked_motion_hides_codes_only_and_asks_for_all_of_them(maker, examples) -> None:
    layout = maker.layout
    sample = maker.make("masked", examples[0], np.random.default_rng(3))
    start, stop = (int(np.flatnonzero(sample.prompt == t)[0]) for t in (layout.som, layout.eom))
    shown, whole = sample.prompt[start : stop + 1], sample.target
    assert 0 < (shown == layout.mask).sum() < len(shown) - 2
    np.testing.assert_array_equal(np.where(shown == layout.mask, whole, shown), whole)


def test_masked_motion_always_shows_where_the_motion_begins_and_ends(maker) -> None:
    layout = maker.layout
    for seed in range(60):
        shown = maker.make("masked", CLIP, np.random.default_rng(seed)).prompt[-11:]  # 8 codes, two marks, the end
        assert shown[0] == layout.som
        assert shown[9:].tolist() == [layout.eom, layout.eos]


def test_after_a_span_of_motion_stands_the_position_of_the_code_that_would_go_on(maker, monkeypatch) -> None:
    """Steps 1 and 3 to 4 of six are left out: codes 5 to 8 and 13 to 20."""
    monkeypatch.setattr("clutch_llm.batching.choose_spans", lambda *_, **__: [(1, 2), (3, 5)])
    clip = {"captions": ["both hands clap"], "tokens": np.arange(24).reshape(6, 4) % 8}
    sample = maker.make("motion", clip, np.random.default_rng(0))
    first, second = maker.layout.sentinels[:2]
    assert [int(np.flatnonzero(sample.target == mark)[0]) for mark in (first, second)] == [0, 5]
    assert sample.target_positions.tolist() == [0, 5, 6, 7, 8, 9, 13, 14, 15, 16, 17, 18, 19, 20, 21]
    assert sample.prompt_positions.tolist() == [0, 1, 2, 3, 4, 0, 9, 10, 11, 12, 0, 21, 22, 23, 24, 0, 0]


def test_corrupted_motion_says_each_code_once_and_keeps_its_position(maker, examples) -> None:
    layout = maker.layout
    for k, example in enumerate(examples):
        sample = maker.make("motion", example, np.random.default_rng(k))
        ids = maker.vocabulary.motion_to_ids(example["tokens"])
        at_prompt, at_target = ((t >= layout.text_size) & (t < layout.som) for t in (sample.prompt, sample.target))
        where = np.concatenate([sample.prompt_positions[at_prompt], sample.target_positions[at_target]])
        codes = np.concatenate([sample.prompt[at_prompt], sample.target[at_target]])
        assert sorted(where) == list(range(1, len(ids) - 1))
        np.testing.assert_array_equal(codes, ids[where])


def test_a_share_of_prompts_is_left_without_caption_for_guidance(clutch, examples) -> None:
    maker = SampleMaker(clutch.vocabulary, condition_dropout=0.5)
    sources = [maker.make("t2m", examples[0], np.random.default_rng(k)).prompt for k in range(200)]
    free = sum(clutch.vocabulary.decode_text(s) == "generate hand motion:" for s in sources)
    assert 70 < free < 130


def test_instruction_tuning_varies_the_template(clutch, examples) -> None:
    maker = SampleMaker(clutch.vocabulary, templates="all")
    texts = {clutch.vocabulary.decode_text(maker.make("t2m", examples[0], np.random.default_rng(k)).prompt)
             for k in range(60)}  # fmt: skip
    assert len(texts) > 10


def test_text_to_text_answers_what_it_asks(maker) -> None:
    """Shorter, in more detail, or which hand: each question with its own answer, and all three kinds occur."""
    short, long = "the left hand waves", "the left hand waves slowly twice"
    clip = {"captions": [short, long], "tokens": MOTION}
    decode = maker.vocabulary.decode_text
    samples = [maker.make("t2t", clip, np.random.default_rng(seed)) for seed in range(60)]
    assert {(decode(s.prompt), decode(s.target)) for s in samples} == {
        (f"summarize: {short}", short),
        (f"summarize: {long}", short),
        (f"say it in more detail: {short}", long),
        (f"which hand moves? {short}", "the left hand"),
        (f"which hand moves? {long}", "the left hand"),
    }


def test_more_detail_is_asked_of_the_captions_that_say_more(maker) -> None:
    """The second of four captions says less than the first, and the last is the finest whatever its length."""
    captions = ["the left hand waves", "the hand waves", "the left hand waves slowly twice", "waves slowly"]
    clip = {"captions": captions, "tokens": MOTION}
    decode = maker.vocabulary.decode_text
    more = [maker.make("t2t", clip, np.random.default_rng(seed)) for seed in range(60)]
    assert {decode(s.target) for s in more if "more detail" in decode(s.prompt)} == set(captions[2:])
    told = [maker.make("m2t", clip, np.random.default_rng(seed)) for seed in range(60)]
    assert {decode(s.target) for s in told if "detail" in decode(s.prompt)} == set(captions[2:])
    assert {decode(s.target) for s in told if "detail" not in decode(s.prompt)} == set(captions[:2])


def test_every_caption_of_a_clip_is_asked_with(maker, examples) -> None:
    decode = maker.vocabulary.decode_text
    asked = {decode(maker.make("t2m", examples[0], np.random.default_rng(seed)).prompt) for seed in range(20)}
    assert asked == {f"generate hand motion: {caption}" for caption in examples[0]["captions"]}


def test_a_prefix_is_the_beginning_of_the_motion_and_does_not_end(clutch, examples, maker) -> None:
    layout, example = clutch.vocabulary.layout, max(examples, key=lambda e: len(e["tokens"]))
    whole = maker.make("t2m", example, np.random.default_rng(0))
    prefix = maker.make("t2m", example, np.random.default_rng(0), steps=2)
    assert len(prefix.target) == 1 + 2 * layout.n_slots < len(whole.target)
    np.testing.assert_array_equal(prefix.target, whole.target[: len(prefix.target)])
    np.testing.assert_array_equal(prefix.target_positions, whole.target_positions[: len(prefix.target)])
    assert layout.eom not in prefix.target
    short = maker.make("t2m", example, np.random.default_rng(0), steps=len(example["tokens"]))
    np.testing.assert_array_equal(short.target, whole.target)


def test_hidden_labels_are_asked_for_and_not_shown(clutch, examples) -> None:
    """Hiding changes what the decoder sees, never what it has to say; marks are always shown."""
    layout = clutch.vocabulary.layout
    hiding = SampleMaker(clutch.vocabulary, decoder_input_dropout=1.0)
    shares = []
    for k in range(30):
        sample = hiding.make("t2m", examples[0], np.random.default_rng(k))
        np.testing.assert_array_equal(clutch.vocabulary.ids_to_motion(sample.target), examples[0]["tokens"])
        assert not sample.target_hidden[[0, -1]].any()
        shares.append(sample.target_hidden.mean())
    assert min(shares) < 0.2
    assert max(shares) > 0.8
    plain = collate([SampleMaker(clutch.vocabulary).make("t2m", examples[0], np.random.default_rng(0))], layout.pad)
    assert not plain.target_hidden.any()
    hidden = dataclasses.replace(plain, target_hidden=plain.target > layout.pad)
    with torch.no_grad():
        assert clutch.model(plain).loss != clutch.model(hidden).loss


def test_collating_pads_and_masks(maker, examples) -> None:
    samples = [maker.make("t2m", e, np.random.default_rng(0)) for e in examples[2:5]]
    batch = collate(samples, maker.layout.pad)
    for k, sample in enumerate(samples):
        n, m = len(sample.prompt), len(sample.target)
        assert batch.prompt[k, :n].tolist() == sample.prompt.tolist()
        assert batch.prompt_mask[k].sum() == n
        assert batch.target[k, :m].tolist() == sample.target.tolist()
        assert (batch.target[k, m:] == IGNORE).all()
        assert (batch.prompt[k, n:] == maker.layout.pad).all()


def test_epochs_show_every_clip_of_a_source_equally_often(examples) -> None:
    config = PretrainConfig(batch_size=6, source_weights={"procedural": 0.75, "fingerspelling": 0.25})
    plan = BatchPlan(examples, config)
    drawn = Counter(int(i) for step in range(16) for i in plan.batch(step))  # 96 draws: 72 and 24
    procedural = [drawn[i] for i, e in enumerate(examples) if e["source"] == "procedural"]
    spelled = [drawn[i] for i, e in enumerate(examples) if e["source"] == "fingerspelling"]
    assert procedural == [6] * 12
    assert spelled == [6] * 4


def test_a_source_of_any_share_is_seen_by_its_share(examples) -> None:
    """At one in two hundred a megabatch of 32 has a sixth of a clip of it: every sixth has one."""
    config = PretrainConfig(batch_size=4, source_weights={"procedural": 0.995, "fingerspelling": 0.005})
    plan = BatchPlan(examples, config)
    spelled = [examples[i]["source"] == "fingerspelling" for step in range(800) for i in plan.batch(step)]
    assert sum(spelled) == pytest.approx(0.005 * 3200, abs=2)
    assert max(sum(spelled[k : k + 32]) for k in range(0, 3200, 32)) == 1


def test_sources_are_drawn_by_their_sizes_under_a_temperature_and_by_weights_on_request(examples) -> None:
    """Of 12 and 4 clips: 3/4 and 1/4 at temperature 1, and by the roots of 12 and 4 at 2, which is the default."""

    def shares(**changes) -> dict[str, float]:
        return BatchPlan(examples, PretrainConfig(**changes)).shares

    assert shares(source_temperature=1.0) == pytest.approx({"fingerspelling": 0.25, "procedural": 0.75})
    assert shares() == pytest.approx({"fingerspelling": 0.3660254, "procedural": 0.6339746})
    named = shares(source_weights={"fingerspelling": 0.6339746})
    assert named == pytest.approx({"fingerspelling": 0.5, "procedural": 0.5})
    some = {"fingerspelling": 0, "procedural": 1}
    assert shares(source_weights=some) == some


def test_a_batch_depends_on_seed_and_step_alone(examples) -> None:
    first, second = (BatchPlan(examples, PretrainConfig(batch_size=4, seed=s)) for s in (1, 2))
    np.testing.assert_array_equal(first.batch(7), BatchPlan(examples, PretrainConfig(batch_size=4, seed=1)).batch(7))
    assert any((first.batch(s) != second.batch(s)).any() for s in range(4))


def test_weights_for_sources_that_are_not_there_are_refused(examples) -> None:
    with pytest.raises(DataError, match=r"PretrainConfig: source_weights: .*'fingerspelling', 'procedural'.*'own'"):
        BatchPlan(examples, PretrainConfig(source_weights={"own": 1.0}))
    with pytest.raises(DataError, match="got none"):
        BatchPlan([], PretrainConfig())


def test_tasks_are_drawn_by_weight() -> None:
    drawn = Counter(draw_task({"t2m": 3.0, "m2t": 1.0}, np.random.default_rng(k)) for k in range(400))
    assert 250 < drawn["t2m"] < 350
    assert set(drawn) <= set(TASKS)


@pytest.mark.parametrize(
    ("caption", "hands"),
    [
        ("the left hand waves", "the left hand"),
        ("waving with the right hand", "the right hand"),
        ("both hands clap", "both hands"),
        ("a person knocks", ""),
        ("the left hand lies still, the right hand waves", ""),
    ],
)
def test_hands_are_read_off_captions(caption: str, hands: str) -> None:
    assert prompts.hands_of(caption) == hands


@given(st.lists(st.tuples(st.integers(1, 90), st.integers(1, 90)), min_size=1, max_size=12))
def test_a_batch_is_split_where_it_pads_least(sizes) -> None:
    def sample(size: tuple[int, int]) -> Sample:
        a, b = (np.zeros(n, dtype=np.int64) for n in size)
        return Sample(a, a, b, b)

    def cost(part) -> int:
        return len(part) * sum(max(sizes[i][side] for i in part) for side in (0, 1)) + PART_COST

    parts = split_by_length([sample(size) for size in sizes])
    assert sorted(i for part in parts for i in part) == list(range(len(sizes)))
    assert len(parts) <= 2
    assert sum(cost(part) for part in parts) <= cost(range(len(sizes)))
