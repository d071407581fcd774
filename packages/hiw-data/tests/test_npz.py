from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hand_geometry import features_to_params
from hiw_data import BuildConfig, HiwStore, NpzSource, SourceError, build
from hypothesis import given, settings
from hypothesis import strategies as st


def write_motion(path: Path, frames: int = 20, fps: float = 15.0, seed: int = 0, **changes: object) -> dict:
    rng = np.random.default_rng(seed)
    arrays = {
        "global_orient": rng.normal(0, 0.5, (frames, 2, 3)),
        "hand_pose": rng.normal(0, 0.2, (frames, 2, 15, 3)),
        "transl": rng.normal(0, 0.1, (frames, 2, 3)),
        "fps": np.array(fps),
        "captions": np.array(["a person stirs", "a person stirs a pot with the left hand"]),
    }
    arrays |= changes
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    return arrays


@settings(max_examples=6, deadline=None)
@given(st.integers(8, 40))
def test_parameters_arrive_unchanged_but_for_the_origin(tmp_path_factory: pytest.TempPathFactory, frames: int) -> None:
    folder = tmp_path_factory.mktemp("in")
    arrays = write_motion(folder / "sub" / "a.npz", frames)
    store = build([NpzSource(folder, name="mine")], folder / "out.zarr")
    (clip,) = store.clips()
    assert clip["clip_id"] == "mine/sub/a"
    assert clip["captions"] == ["a person stirs", "a person stirs a pot with the left hand"]
    assert len(clip["features"]) % 4 == 0
    assert clip["valid"][:frames].all()
    assert not clip["valid"][frames:].any()
    params = features_to_params(clip["features"][:frames])
    np.testing.assert_allclose(params["global_orient"], arrays["global_orient"], atol=1e-4)
    np.testing.assert_allclose(params["hand_pose"], arrays["hand_pose"], atol=1e-4)
    moved = params["transl"] - arrays["transl"]
    np.testing.assert_allclose(moved, np.broadcast_to(moved[0, 0], moved.shape), atol=1e-5)


def test_other_frame_rates_are_resampled_and_long_clips_are_cut(tmp_path: Path) -> None:
    write_motion(tmp_path / "a.npz", 301, fps=30)
    store = build([NpzSource(tmp_path)], tmp_path / "out.zarr")
    clips = store.clips()
    assert [c["clip_id"] for c in clips] == ["npz/a#0", "npz/a#1", "npz/a#2"]
    assert sum(c["valid"][:, 0].sum() for c in clips) == 151
    assert len({c["split"] for c in clips}) == 1
    assert all(len(c["features"]) <= 64 for c in clips)


def test_invalid_and_broken_numbers_become_invalid_frames(tmp_path: Path) -> None:
    valid = np.ones((20, 2), bool)
    valid[:, 0] = False
    transl = np.zeros((20, 2, 3))
    transl[5, 1] = np.nan
    write_motion(tmp_path / "a.npz", valid=valid, transl=transl)
    (clip,) = build([NpzSource(tmp_path)], tmp_path / "out.zarr").clips()
    assert not clip["valid"][:, 0].any()
    assert clip["valid"][:20, 1].sum() == 19
    assert not clip["valid"][5, 1]
    assert np.isfinite(clip["features"]).all()


def test_captions_may_stand_in_a_text_file_beside(tmp_path: Path) -> None:
    write_motion(tmp_path / "a.npz", captions=None)
    (tmp_path / "a.txt").write_text("waving\n\n waving  slowly \n", encoding="utf-8")
    assert build([NpzSource(tmp_path)], tmp_path / "out.zarr").clips()[0]["captions"] == ["waving", "waving slowly"]


def test_unusable_files_are_skipped_each_with_its_reason(tmp_path: Path) -> None:
    write_motion(tmp_path / "good.npz")
    (tmp_path / "damaged.npz").write_bytes(b"PK\x03\x04 not a zip")
    write_motion(tmp_path / "pickled.npz", captions=np.array(["a", None], object))
    write_motion(tmp_path / "shape.npz", hand_pose=np.zeros((20, 2, 45)))
    write_motion(tmp_path / "missing.npz", transl=None)
    write_motion(tmp_path / "ragged.npz", transl=np.zeros((19, 2, 3)))
    write_motion(tmp_path / "silent.npz", captions=None)
    write_motion(tmp_path / "unseen.npz", valid=np.zeros((20, 2), bool))
    write_motion(tmp_path / "short.npz", 2)
    store = build([NpzSource(tmp_path)], tmp_path / "out.zarr")
    assert len(store) == 1
    reasons = {s["clip_id"].removeprefix("npz/"): s["reason"] for s in store.summary()["skipped"]["clips"]}
    expected = {
        "damaged": "readable .npz",
        "pickled": "plain arrays",
        "shape": "hand_pose of shape (T, 2, 15, 3)",
        "missing": "transl of shape",
        "ragged": "one length",
        "silent": "captions",
        "unseen": "hand in at least one frame",
        "short": "at least 4 frames",
    }
    assert reasons.keys() == expected.keys()
    for name, words in expected.items():
        assert words in reasons[name]


def test_a_folder_without_motion_is_said_clearly(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="Expected a folder"):
        NpzSource(tmp_path / "none")
    with pytest.raises(SourceError, match="See `hiw import --help`"):
        NpzSource(tmp_path)


def test_smoothing_is_only_done_when_asked(tmp_path: Path) -> None:
    write_motion(tmp_path / "a.npz")
    raw = build([NpzSource(tmp_path)], tmp_path / "raw.zarr", BuildConfig(seed=1)).clips()[0]["features"]
    smooth = build([NpzSource(tmp_path, smoothing=0.1)], tmp_path / "smooth.zarr").clips()[0]["features"]
    assert np.abs(np.diff(smooth[:, 96:99], 3, axis=0)).mean() < 0.5 * np.abs(np.diff(raw[:, 96:99], 3, axis=0)).mean()
    assert HiwStore.open(tmp_path / "raw.zarr").summary()["config"]["seed"] == 1
