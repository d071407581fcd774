from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hiw_data import BuildConfig, HiwDataError, HiwStore, ProceduralSource, SkippedClip, Source, SourceInfo, build
from hiw_data.atomic import write_beside
from hiw_data.clips import Clip, pad_clip
from hiw_data.quality import wrist_acceleration

MakeClip = Callable[..., Clip]


class ListSource:
    """A source of given clips."""

    def __init__(self, clips: list[Clip | SkippedClip], name: str = "made") -> None:
        self.clips, self.name = clips, name

    def __len__(self) -> int:
        return len(self.clips)

    def info(self) -> SourceInfo:
        return SourceInfo("Made up", False, "Noise.", "CC0", "a test")

    def stream(self, fps: float) -> Iterator[Clip | SkippedClip]:
        yield from self.clips


def test_building_twice_gives_the_same_content(tmp_path: Path) -> None:
    first = build([ProceduralSource(40)], tmp_path / "a.zarr")
    again = build([ProceduralSource(40)], tmp_path / "a.zarr", overwrite=True)
    assert first.data_hash == again.data_hash
    for name in ("README.md", "quality.json"):
        other = build([ProceduralSource(40)], tmp_path / "b.zarr", overwrite=True).path / name
        assert (again.path / name).read_text(encoding="utf-8") == other.read_text(encoding="utf-8")
    assert first.data_hash != build([ProceduralSource(40, seed=1)], tmp_path / "c.zarr").data_hash


def test_no_recording_is_in_two_splits_and_all_are_there(make_clip: MakeClip, tmp_path: Path) -> None:
    clips = [make_clip(f"{k}#{piece}", seed=k, origin=str(k), split="") for k in range(60) for piece in range(2)]
    store = build([ListSource(list(clips))], tmp_path / "a.zarr", BuildConfig(split=(0.5, 0.25, 0.25)))
    splits: dict[str, set[str]] = {}
    for row in store.metadata:
        splits.setdefault(row["origin"], set()).add(row["split"])
    assert len(splits) == 60
    assert all(len(s) == 1 for s in splits.values())
    assert {s for found in splits.values() for s in found} == {"train", "val", "test"}


def test_a_clip_keeps_its_split_whatever_else_is_built(make_clip: MakeClip, tmp_path: Path) -> None:
    clips: list[Clip | SkippedClip] = [make_clip(str(k), seed=k, split="") for k in range(30)]
    alone = build([ListSource(clips)], tmp_path / "a.zarr")
    beside = build([ListSource(clips[::-1]), ProceduralSource(5)], tmp_path / "b.zarr")
    splits = {m["clip_id"]: m["split"] for m in beside.metadata}
    assert all(splits[m["clip_id"]] == m["split"] for m in alone.metadata)


def test_seed_and_latent_step_of_the_configuration_count(make_clip: MakeClip, tmp_path: Path) -> None:
    clips: list[Clip | SkippedClip] = [make_clip(str(k), 7, seed=k, split="") for k in range(12)]
    store = build([ListSource(clips)], tmp_path / "a.zarr", BuildConfig(seed=1, multiple=5))
    assert {len(c["features"]) for c in store.clips()} == {10}
    assert [c["split"] for c in store.clips()] == [
        "train", "val", "train", "train", "train", "train", "train", "train", "train", "test", "train", "train",
    ]  # fmt: skip


def test_clips_that_are_added_get_their_own_splits_and_the_others_keep_theirs(
    make_clip: MakeClip, tmp_path: Path
) -> None:
    """As above by hash, of twelve clips: number 1 is in val and number 9 in test."""
    clips: list[Clip | SkippedClip] = [make_clip(str(k), seed=k, split="") for k in range(12)]
    config = BuildConfig(seed=1)
    first = build([ListSource([clips[k] for k in (0, 1, 9)])], tmp_path / "a.zarr", config)
    assert {m["clip_id"]: m["split"] for m in first.metadata} == {"0": "train", "1": "val", "9": "test"}
    more = build([ListSource(clips[2:6])], tmp_path / "a.zarr", config, append=True)
    assert {m["clip_id"]: m["split"] for m in more.metadata} == {
        "0": "train", "1": "val", "9": "test", "2": "train", "3": "train", "4": "train", "5": "train",
    }  # fmt: skip


def test_a_clip_of_another_sources_name_or_no_clip_at_all_is_skipped(make_clip: MakeClip, tmp_path: Path) -> None:
    odd: list = [make_clip("a"), make_clip("b", source="other"), {"clip_id": "c"}, "no clip"]
    store = build([ListSource(odd)], tmp_path / "a.zarr")
    reasons = {s["clip_id"]: s["reason"] for s in store.summary()["skipped"]["clips"]}
    assert "Expected source 'made' in b, got 'other'" in reasons["b"]
    assert "Expected attributes, captions" in reasons["c"]
    assert "Expected a clip as a mapping, got str" in reasons["made/?"]


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def interrupted() -> None:
        with write_beside(tmp_path / "sub" / "a.md") as staged:
            staged.write_text("half")
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        interrupted()
    assert list((tmp_path / "sub").iterdir()) == []


def test_unusable_clips_are_skipped_counted_and_listed(make_clip: MakeClip, tmp_path: Path) -> None:
    broken = make_clip("nan", features=np.full((8, 198), np.nan, np.float32))
    source = ListSource(
        [make_clip("a"), broken, SkippedClip("gone", "made", "Expected a file, got none."), make_clip("a")]
    )
    store = build([source], tmp_path / "a.zarr", quality_path=tmp_path / "out" / "q.json", card_path=tmp_path / "c.md")
    report = json.loads((tmp_path / "out" / "q.json").read_text(encoding="utf-8"))
    assert report["skipped"]["count"] == 3
    assert [s["clip_id"] for s in report["skipped"]["clips"]] == ["nan", "gone", "a"]
    assert report["sources"]["made"]["skipped_clips"] == 3
    assert len(store) == 1
    assert "Expected a file, got none." in (tmp_path / "c.md").read_text(encoding="utf-8")


def test_short_clips_are_padded_with_invalid_frames(make_clip: MakeClip, tmp_path: Path) -> None:
    store = build([ListSource([make_clip("a", 5), make_clip("b", 13)])], tmp_path / "a.zarr")
    a, b = store.clips()
    assert (len(a["features"]), len(b["features"])) == (8, 16)
    assert a["valid"][:, 0].tolist() == [True] * 5 + [False] * 3
    np.testing.assert_array_equal(b["features"][13:], np.repeat(b["features"][12:13], 3, 0))


def test_padding_goes_on_in_time_and_is_neither_filled_nor_measured(make_clip: MakeClip) -> None:
    filled = np.zeros((5, 2), bool)
    filled[4] = True
    clip = make_clip("a", 5, timestamps=2 + np.arange(5) / 15, filled=filled, residual=np.full((5, 2), 0.01, "f4"))
    padded = pad_clip(clip, multiple=4)
    np.testing.assert_allclose(padded["timestamps"] * 15, [30, 31, 32, 33, 34, 35, 36, 37], atol=1e-9)
    assert padded["filled"][:, 0].tolist() == [False] * 4 + [True] + [False] * 3
    assert np.isnan(padded["residual"][:, 1]).tolist() == [False] * 5 + [True] * 3
    assert len(clip["features"]) == 5


def test_a_source_that_fails_leaves_the_old_store(make_clip: MakeClip, tmp_path: Path) -> None:
    class Failing(ListSource):
        def stream(self, fps: float) -> Iterator[Clip | SkippedClip]:
            yield from self.clips
            raise OSError("the disk is gone")

    old = build([ListSource([make_clip("old")])], tmp_path / "a.zarr")
    with pytest.raises(OSError, match="the disk is gone"):
        build([Failing([make_clip("new")])], tmp_path / "a.zarr", overwrite=True)
    assert HiwStore.open(tmp_path / "a.zarr").data_hash == old.data_hash


def test_sources_need_different_names(make_clip: MakeClip, tmp_path: Path) -> None:
    for sources in ([], [ListSource([make_clip()]), ListSource([make_clip()])]):
        with pytest.raises(HiwDataError, match="different names"):
            build(sources, tmp_path / "a.zarr")
    assert isinstance(ListSource([]), Source)


@pytest.mark.parametrize("options", [{"fps": 0}, {"split": (0.5, 0.1, 0.1)}, {"multiple": 0}, {"fps": float("inf")}])
def test_senseless_configurations_are_refused(options: dict) -> None:
    with pytest.raises(ValueError, match="Expected"):
        BuildConfig(**options)


def test_the_card_labels_synthetic_sources_and_names_licences(make_clip: MakeClip, tmp_path: Path) -> None:
    clip = make_clip("a", attributes={"letter": "A", "language": "French", "synthetic": False})
    store = build([ListSource([clip]), ProceduralSource(30)], tmp_path / "a.zarr")
    card = (store.path / "README.md").read_text(encoding="utf-8")
    assert "| procedural | **synthetic** | 30 |" in card
    assert "| made | real | 1 |" in card
    assert "**Synthetic: no human made these movements.**" in card
    assert "Licence: CC0" in card
    assert "What the splits keep apart" in card
    assert "The actions are simple" in card
    assert store.data_hash in card


def test_the_report_counts_what_is_there(make_clip: MakeClip, tmp_path: Path) -> None:
    valid = np.ones((12, 2), bool)
    valid[:6, 0] = False
    residual = np.full((12, 2), 0.01, np.float32)
    residual[:6, 0] = np.nan
    store = build(
        [ListSource([make_clip("a", 12, valid=valid, residual=residual), make_clip("b")])], tmp_path / "a.zarr"
    )
    made = store.summary()["sources"]["made"]
    assert (made["clips"], made["frames"], made["seconds"]) == (2, 20, 1.3)
    assert made["valid_share"] == {"left": 0.7, "right": 1.0}
    assert made["two_handed_clips"] == 2
    assert made["distinct_captions"] == [1, 1]
    assert made["fit_residual_mm"]["median"] == pytest.approx(10)
    assert made["fitted_hand_frames"] == 18


def test_acceleration_is_that_of_a_falling_wrist() -> None:
    features = np.zeros((30, 198), np.float32)
    features[:, 97] = 0.5 * 9.81 * (np.arange(30) / 15) ** 2
    valid = np.zeros((30, 2), bool)
    valid[:, 0] = True
    valid[10, 0] = False
    acceleration = wrist_acceleration(features, valid, 15.0)
    np.testing.assert_allclose(acceleration, 9.81, rtol=1e-3)
    assert len(acceleration) == 25
    assert len(wrist_acceleration(features[:2], valid[:2], 15.0)) == 0
