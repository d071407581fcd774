"""The page: complete, self-contained, and safe whatever the captions say."""

from __future__ import annotations

import base64
import inspect
import io
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from pipelines.report import RenderOptions, create_pipeline, make_page, nodes, write_report
from pipelines.report.media import motion_uris
from pipelines.report.sections import longest
from tests.made_up_report import (
    EVIL,
    SMALL,
    Page,
    evaluation_clips,
    made_codes,
    made_history,
    made_metrics,
    made_sample,
    made_t2m_row,
)


def test_codes_are_shown_by_codebook_as_many_as_asked_for(page: tuple[Page, str]) -> None:
    parsed, _ = page
    for shown in ("What a token means", "40 25.1%", "41 24.1%", "42 23.1%"):
        assert shown in parsed.text, shown
    assert "43 22.1%" not in parsed.text


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, str]:
    motion = made_sample("x", 3)
    text = {"motion": motion["truth"], "captions": [EVIL, "fine <b>caption</b>"], "generated": EVIL, "synthetic": None}
    path = write_report(
        tmp_path_factory.mktemp("report") / "deep" / "index.html",
        metrics=made_metrics(),
        curves={
            "tokenizer": made_history(),
            "refine": {"refined": made_history(), "control": made_history(20)},
            "empty": [],
        },
        samples=[made_sample(EVIL), made_sample("the left hand waves", 1)],
        captioned=[text],
        codes=made_codes(),
        summary={
            "data_hash": "abc",
            "sources": {
                "fingerspelling": {
                    "clips": 602,
                    "clips_by_split": {"train": 484, "val": 49, "test": 69},
                    "frames": 9960,
                    "seconds": 664.0,
                    "valid_share": {"left": 0.17, "right": 0.82},
                    "fit_residual_mm": {"median": 8.7},
                    "info": {"synthetic": False, "title": EVIL},
                }
            },
            "letter_overlap": {
                "letters": 187,
                "letters_in_several_languages": 39,
                "test_clips_with_letter_in_train": 0.94,
            },
            "skipped": {"count": 20, "clips": [{"clip_id": EVIL, "source": "s", "reason": "corrupt"}]},
        },
        run={"revision": "abc1234", "machine": EVIL, "seconds": 812, "durations": {"data": 41.2, "llm_refine": 148.0}},
        options=SMALL,
    )
    source = path.read_text(encoding="utf-8")
    assert [p.name for p in path.parent.iterdir()] == ["index.html"]
    return Page(source), source


def test_every_tag_is_closed(page: tuple[Page, str]) -> None:
    assert page[0].open == []


def test_nothing_is_fetched_from_anywhere(page: tuple[Page, str]) -> None:
    parsed, source = page
    for tag, attributes in parsed.tags:
        for name in ("src", "href", "poster", "action", "data", "srcset", "style"):
            value = attributes.get(name) or ""
            assert not re.search(r"//|url\(", value if not value.startswith("data:video/mp4;base64,") else ""), (
                tag,
                value,
            )
            if name in ("src", "href") and value:
                assert value.startswith(("data:", "#")), (tag, value)
        assert tag not in ("link", "iframe", "object", "embed", "base")
    style = re.search(r"<style>(.*?)</style>", source, re.S)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]
    policy = [a["content"] for t, a in parsed.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in str(policy[0])


def test_captions_are_text_whatever_they_say(page: tuple[Page, str]) -> None:
    parsed, source = page
    assert 'alert("x")' not in re.sub(r"&[#\w]+;", "", source)
    assert sum(tag == "script" for tag, _ in parsed.tags) == 1
    assert not any(tag in ("img", "b") and "evil" in str(a) for tag, a in parsed.tags)
    assert not any(name.startswith("on") for _, a in parsed.tags for name in a)
    assert parsed.text.count('alert("x")') >= 4
    assert "{{ 7 * 7 }}" in parsed.text


def test_every_section_and_figure_is_there(page: tuple[Page, str]) -> None:
    parsed, _ = page
    sections = [a["id"] for t, a in parsed.tags if t == "section"]
    assert sections == [
        "goals",
        "motion",
        "captions",
        "t2m",
        "judge",
        "claims",
        "m2t",
        "tokenizer",
        "codes",
        "refinement",
        "training",
        "data",
        "run",
    ]
    links = [a["href"] for t, a in parsed.tags if t == "a"]
    assert {f"#{s}" for s in sections} <= set(links)
    for shown in (
        "11.1",
        "0.777",
        "\N{MINUS SIGN}0.012",
        "± 0.004",
        "0.432",
        "\N{MINUS SIGN}5.1%",
        "abc1234",
        "13 min 32 s",
    ):
        assert shown in parsed.text, shown
    for shown in (
        "484 / 49 / 69",
        "17% / 82%",
        "8.7",
        "real",
        "synthetic",
        "llm refine",
        "and 19 more",
        "187 letters, 39 of them",
        "94% of the test clips",
        "overlap",
        "53.1%",
    ):
        assert shown in parsed.text, shown


def _section(source: str, name: str) -> str:
    found = re.search(rf'<section id="{name}".*?</section>', source, re.S)
    assert found is not None
    return Page(found[0]).text


def test_arrows_say_which_way_is_better(page: tuple[Page, str]) -> None:
    text = _section(page[1], "t2m")
    assert "top 3 ↑" in text
    assert "KID ↓" in text
    assert "MPJPE abs., mm ↓" in text
    assert "action ↑" in _section(page[1], "judge")
    tokenizer = _section(page[1], "tokenizer")
    assert "acceleration error, m/s² ↓" in tokenizer


def test_goals_are_met_or_missed_as_the_metrics_say(page: tuple[Page, str]) -> None:
    text = _section(page[1], "goals")
    assert "✓ 0.24 Share waves reached, goal at most 0.28" in text
    assert "? – Top 3 letters not available, goal at least 0.85" in text
    assert "✗ −5.0% Jitter waves not reached, goal at most −8%" in text


def test_claims_contacts_and_speeds_have_their_tables(page: tuple[Page, str]) -> None:
    text = _section(page[1], "claims")
    assert "11 claims of the 12 that the captions state" in text
    for words in ("0.643 0.60 to 0.69", "0.851", "second 2", "0.911 0.477", "0.739", "0.0123"):
        assert words in text, words
    assert "unseen combination 5 clips" in text
    assert "0.219" in text
    assert "Mean joint speed by speed" in text
    assert "1.98 3.75" in text
    assert "1.47" in text
    assert "ci95" not in text


def test_the_judge_says_each_second_apart(page: tuple[Page, str]) -> None:
    text = _section(page[1], "judge")
    assert "action, by second" in text
    assert "0.802 0.613" in text


def test_the_judge_stands_beside_and_the_lower_is_believed(page: tuple[Page, str]) -> None:
    text = _section(page[1], "judge")
    assert "0.615 0.55 to 0.68" in text
    assert "0.987" in text
    assert "0.51" not in text
    assert "not shown: luck" in text
    assert "as long as the true motion" in text
    assert "generated: 0.63 of the reconstruction, by the judge’s action" in text
    assert "generated, its own length: – of the reconstruction" in text


def test_clips_with_unseen_attributes_have_a_table_of_their_own(page: tuple[Page, str]) -> None:
    text = _section(page[1], "t2m")
    assert "unseen combination 7 clips" in text
    assert "not unseen combination 33 clips" in text
    assert "0.123" in text


def test_changes_say_by_how_much_and_whether_they_are_no_worse(page: tuple[Page, str]) -> None:
    text = _section(page[1], "refinement")
    minus = "−"
    assert f"{minus}5.1% refined: absolute MPJPE {minus}7.0% to {minus}3.0%; no worse, margin +1.0%" in text
    assert "0.022 refined: KID 0.001 to 0.050; may be worse, margin 0.015" in text
    assert f"{minus}0.020 refined: judge: action {minus}0.060 to 0.020; may be worse, margin 0.03" in text
    assert "0.444" in text


def test_figures_that_are_not_numbers_are_a_dash(tmp_path: Path) -> None:
    nan = float("nan")
    summary = {"sources": {"few": {"clips": 1, "valid_share": {"left": nan, "right": 1.0}}}}
    rows = {"generated": made_t2m_row(nan) | {"kid_std": nan}}
    metrics = {"text_to_motion": {"few": {"synthetic": False, "clips": 1, "seconds": 1.0, "rows": rows}}}
    text = Page(write_report(tmp_path / "p.html", metrics=metrics, summary=summary).read_text(encoding="utf-8")).text
    assert "nan" not in text.lower().replace("finance", "")
    assert "– / 100%" in text


def test_the_papers_figures_are_marked_as_not_comparable(page: tuple[Page, str]) -> None:
    _, source = page
    blocks = re.findall(r"<details>.*?</details>", source, re.S)
    published = [b for b in blocks if "45.94" in b or "0.721" in b or "0.571" in b or "0.297" in b]
    assert len(published) == 4
    assert all("not comparable" in b for b in published)
    rest = re.sub(r"<details>.*?</details>|data:video/mp4;base64,[^\"]*", "", source, flags=re.S)
    assert "45.94" not in rest


def test_motion_can_be_stopped_and_named(page: tuple[Page, str]) -> None:
    parsed, source = page
    videos = [a for t, a in parsed.tags if t == "video"]
    assert len(videos) == 1 + 2 * 4 + 1 + 3
    assert all(v["aria-label"] and "muted" in v and "autoplay" not in v for v in videos)
    assert any(t == "button" for t, _ in parsed.tags)
    assert "prefers-reduced-motion" in source


def test_tables_have_headings_for_rows_and_columns(page: tuple[Page, str]) -> None:
    scopes = [a.get("scope") for t, a in page[0].tags if t == "th"]
    assert set(scopes) == {"row", "col"}


def test_an_empty_run_is_still_a_page(tmp_path: Path) -> None:
    path = write_report(tmp_path / "index.html", metrics={})
    parsed = Page(path.read_text(encoding="utf-8"))
    assert parsed.open == []
    assert not any(t == "section" for t, _ in parsed.tags)


def test_a_motion_of_the_wrong_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\(T, 198\)"):
        write_report(tmp_path / "index.html", metrics={}, samples=[made_sample("x") | {"truth": np.zeros((8, 3))}])
    assert list(tmp_path.iterdir()) == []


def test_pictures_of_one_motion_are_the_same_and_of_two_are_not() -> None:
    a, b = (evaluation_clips.make_clip(i, frames=8)["features"] for i in (0, 1))
    uris = motion_uris([a, a, b], [None, None, None], fps=15, options=SMALL)
    first, second, third = map(_decoded, uris)
    assert first.shape == (8, 36, 48, 3)
    same, other = (np.abs(first - picture).mean() for picture in (second, third))
    assert other > 10  # of 255: 15 was measured
    assert same < other / 4  # not 0: what the encoder chooses differs from run to run, by up to 1.3 here


def _decoded(uri: str) -> np.ndarray:
    """Pictures (T, H, W, 3) of a video's data URI."""
    kind, content = uri.split(",")
    assert kind == "data:video/mp4;base64"
    with av.open(io.BytesIO(base64.b64decode(content))) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(float)


def test_the_longest_motion_stands_at_the_top() -> None:
    short, long = made_sample("short"), made_sample("long")
    long["generations"] = [np.repeat(long["truth"], 2, 0)]
    assert longest([short, short, long, long]) == 2
    assert longest([{}, short]) == 1
    assert longest([]) == 0


@pytest.mark.parametrize("size", [(47, 36), (2, 2)])
def test_impossible_picture_sizes_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="even size"):
        RenderOptions(size=size)


def test_every_history_reaches_its_own_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    (page_node,) = create_pipeline().nodes
    names = [name.removesuffix("_history") for name in page_node.inputs]
    wanted = ["tokenizer", "evaluator", "judge", "pretrain", "refine", "control", "instruct"]
    assert [n for n in inspect.signature(make_page).parameters if n in wanted] == [n for n in names if n in wanted]
    assert [name for name in page_node.inputs if name.endswith("_history")] == [
        f"{name}_history" for name in inspect.signature(make_page).parameters if name in wanted
    ]
    given: dict[str, Any] = {}

    def write(path: Path, **options: Any) -> Path:
        given.update(options)
        path.write_text("<html>", encoding="utf-8")
        return path

    monkeypatch.setattr(nodes, "write_report", write)
    monkeypatch.setattr(nodes, "code_examples", lambda *_: [])
    clip = evaluation_clips.make_clip(0, frames=8)
    samples = {name: np.array([value]) for name, value in (("clip_id", "a"), ("source", "s"), ("synthetic", True))}
    samples |= {"caption": np.array(["true words"]), "generated_caption": np.array(["made words"])}
    samples |= {"fps": np.array([15.0]), "truth_0": clip["features"], "valid_0": clip["valid"]}
    samples |= {"reconstruction_0": clip["features"] + 1, "generations_0": np.stack([clip["features"] + 2])}
    histories = {name: [{"step": 1, "loss": float(k)}] for k, name in enumerate(wanted)}
    others: dict[str, Any] = {"store": None, "shift": None, "tokens": {}, "quality": {"clips": 3}}
    page = make_page(metrics={"data_hash": "abc"}, samples=samples, **histories, **others)
    assert page == "<html>"
    assert given["curves"] == {
        "tokenizer": histories["tokenizer"],
        "pretraining": histories["pretrain"],
        "refinement": {"refined": histories["refine"], "cross-entropy alone": histories["control"]},
        "instruction tuning": histories["instruct"],
        "evaluator": histories["evaluator"],
        "judge": histories["judge"],
    }
    (shown,), (captioned,) = given["samples"], given["captioned"]
    assert (shown["caption"], captioned["captions"], captioned["generated"]) == (
        "true words",
        ["true words"],
        "made words",
    )
    np.testing.assert_array_equal(shown["truth"], clip["features"])
    np.testing.assert_array_equal(captioned["motion"], clip["features"])
    np.testing.assert_array_equal(shown["reconstruction"], clip["features"] + 1)
    np.testing.assert_array_equal(shown["generations"][0], clip["features"] + 2)
    assert given["summary"] == {"clips": 3}
    assert given["run"]["data_hash"] == "abc"


def test_codes_of_hands_that_are_not_seen_do_not_count(monkeypatch):
    given = {}
    monkeypatch.setattr(nodes, "codebook_gallery", lambda shift, ids, **options: given.update(options) or [])
    valid = np.array([[True, False]] * 8)
    store = SimpleNamespace(clips=lambda: [{"clip_id": "a", "valid": valid}], fps=15.0)
    shift = SimpleNamespace(config=SimpleNamespace(codebook_names=()))
    assert nodes.code_examples(store, shift, {"a": np.zeros((2, 4), np.int64)}) == []
    assert given["valid"][0].tolist() == valid.tolist()
