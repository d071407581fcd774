"""Motion files: whole or not at all, and clear about what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hand_geometry import load_motion, params_to_features, save_motion
from hand_geometry.errors import InputError, MotionFileError


def test_a_motion_comes_back_as_it_was(make_motion, tmp_path):
    params = make_motion()
    valid = np.ones((12, 2), bool)
    valid[3, 0] = False
    captions = ["the right hand waves", "die Hände winken"]
    path = save_motion(tmp_path / "new" / "a.npz", params, fps=15, valid=valid, captions=captions)
    motion = load_motion(path)
    for name, value in params.items():
        np.testing.assert_array_equal(motion[name], value)
    np.testing.assert_array_equal(motion["valid"], valid)
    assert motion["betas"].shape == (2, 10)
    assert motion["fps"] == 15.0
    assert motion["captions"] == captions
    assert [p.name for p in path.parent.iterdir()] == ["a.npz"]


def test_features_may_be_saved_and_files_of_features_read(make_motion, tmp_path):
    features = params_to_features(make_motion())
    saved = load_motion(save_motion(tmp_path / "a.npz", features, fps=15))
    np.testing.assert_allclose(params_to_features(saved), features, atol=1e-5)
    np.savez(tmp_path / "b.npz", features=features)
    np.testing.assert_allclose(load_motion(tmp_path / "b.npz")["transl"], saved["transl"])


def test_a_failed_save_leaves_the_old_file(make_motion, tmp_path):
    path = save_motion(tmp_path / "a.npz", make_motion(), fps=15)
    before = path.read_bytes()
    with pytest.raises(InputError, match="finite"):
        save_motion(path, {**make_motion(), "transl": np.full((12, 2, 3), np.nan)}, fps=15)
    with pytest.raises(InputError, match="fps"):
        save_motion(path, make_motion(), fps=0)
    with pytest.raises(InputError, match="valid"):
        save_motion(path, make_motion(), fps=15, valid=np.ones((3, 2), bool))
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_a_suffix_other_than_npz_is_refused(make_motion, tmp_path):
    with pytest.raises(InputError, match="npz"):
        save_motion(tmp_path / "a.pkl", make_motion(), fps=15)


def test_corrupt_files_are_named(make_motion, tmp_path):
    whole = save_motion(tmp_path / "whole.npz", make_motion(), fps=15).read_bytes()
    middle = len(whole) // 2
    for name, content in {
        "truncated.npz": whole[:middle],
        "flipped.npz": whole[: middle - 40] + bytes(80) + whole[middle + 40 :],
        "empty.npz": b"",
        "text.npz": b"not a motion",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(MotionFileError, match=name):
            load_motion(tmp_path / name)
    with pytest.raises(MotionFileError, match="no such file"):
        load_motion(tmp_path / "missing.npz")


def test_pickled_arrays_are_not_opened(tmp_path):
    np.savez(tmp_path / "a.npz", transl=np.array([{"evil": 1}], dtype=object))
    with pytest.raises(MotionFileError, match="cannot be read"):
        load_motion(tmp_path / "a.npz")


def test_files_without_a_motion_say_what_is_missing(make_motion, tmp_path):
    np.savez(tmp_path / "a.npz", transl=np.zeros((4, 2, 3)))
    with pytest.raises(MotionFileError, match="got no global_orient, hand_pose"):
        load_motion(tmp_path / "a.npz")
    params = make_motion()
    np.savez(tmp_path / "b.npz", **{**params, "hand_pose": params["hand_pose"][:5]})
    with pytest.raises(MotionFileError, match="hand_pose: Expected shape"):
        load_motion(tmp_path / "b.npz")
