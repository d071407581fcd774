"""Motion files: whole or not at all, and clear about what is wrong."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hand_geometry import (
    canonicalize,
    export_motion,
    features_to_joints,
    load_motion,
    params_to_features,
    save_motion,
)
from hand_geometry.errors import InputError, MotionFileError
from hand_geometry.motion_io import read_features
from hand_geometry.units import refuse_other_units


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
    np.savez(tmp_path / "b.npz", features=features, fps=15)
    np.testing.assert_allclose(load_motion(tmp_path / "b.npz")["transl"], saved["transl"])


@pytest.mark.parametrize("mask", ["bool", "uint8", "int64", "float32", "0 and 255"])
def test_masks_are_taken_as_people_store_them(mask, make_motion, tmp_path):
    valid = np.array([[1, 1], [1, 0], [0, 1], [1, 1]])
    stored = (255 * valid).astype(np.uint8) if mask == "0 and 255" else valid.astype(mask)
    np.savez(tmp_path / "a.npz", **make_motion(4), valid=stored, fps=15)
    motion = load_motion(tmp_path / "a.npz")
    assert motion["valid"].dtype == bool
    np.testing.assert_array_equal(motion["valid"], valid.astype(bool))
    np.savez(tmp_path / "b.npz", **make_motion(4), valid=valid * 0.7, fps=15)
    with pytest.raises(MotionFileError, match=r"zeros and ones.*threshold"):
        load_motion(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", **make_motion(4), valid=valid.T, fps=15)
    with pytest.raises(MotionFileError, match="Transpose"):
        load_motion(tmp_path / "c.npz")


@pytest.mark.parametrize("given", [True, False])
def test_nan_where_a_hand_was_not_seen_becomes_the_nearest_frame_of_that_hand(given, make_motion, tmp_path):
    params = {name: value.astype(np.float64) for name, value in make_motion(6).items()}
    valid = np.ones((6, 2), bool)
    valid[[0, 1, 4], 1] = False
    for value in params.values():
        value[[0, 1, 4], 1] = np.nan
    np.savez(tmp_path / "a.npz", **params, fps=15, **({"valid": valid} if given else {}))
    motion = load_motion(tmp_path / "a.npz")
    np.testing.assert_array_equal(motion["valid"], valid)
    for name, value in params.items():
        assert motion[name].dtype == np.float32
        np.testing.assert_array_equal(motion[name][:, 0], value[:, 0].astype(np.float32))
        np.testing.assert_array_equal(motion[name][:, 1], value[[2, 2, 2, 3, 3, 5], 1].astype(np.float32))
    again = load_motion(save_motion(tmp_path / "b.npz", params, fps=15, valid=valid))
    np.testing.assert_array_equal(again["transl"], motion["transl"])
    valid[4, 1] = True
    np.savez(tmp_path / "c.npz", **params, fps=15, valid=valid)
    with pytest.raises(MotionFileError, match=r"global_orient, hand_pose, transl: .*the right one of frame 4"):
        load_motion(tmp_path / "c.npz")


def test_padding_of_zero_features_is_not_seen(make_motion, tmp_path):
    features = params_to_features(make_motion(6))
    features[4:] = 0
    features[1, 99:] = 0
    np.savez(tmp_path / "a.npz", features=features, fps=15)
    motion = load_motion(tmp_path / "a.npz")
    assert motion["valid"].tolist() == [
        [True, True],
        [True, False],
        [True, True],
        [True, True],
        [False] * 2,
        [False] * 2,
    ]


@pytest.mark.parametrize("fps", [30, 29.97, np.float32(12.5), np.array([30]), np.array([[24.0]])])
def test_rates_are_numbers_however_they_are_stored(fps, make_motion, tmp_path):
    np.savez(tmp_path / "a.npz", **make_motion(4), fps=fps)
    assert load_motion(tmp_path / "a.npz")["fps"] == pytest.approx(float(np.ravel(fps)[0]))


@pytest.mark.parametrize(
    ("fps", "message"),
    [
        ("30 fps", "one number of frames per second, got '30 fps'"),
        (b"30", "one number"),
        (1e-6, "1 to 1000 frames per second, got 1e-06"),
        (1 / 30, r"seconds per frame\? Store 30"),
        (0, "1 to 1000"),
        (-15, "1 to 1000"),
        (np.nan, "1 to 1000"),
        (np.array([15, 30]), "one number"),
    ],
)
def test_rates_that_are_none_are_refused_by_name(fps, message, make_motion, tmp_path):
    np.savez(tmp_path / "a.npz", **make_motion(4), fps=fps)
    with pytest.raises(MotionFileError, match=rf"a\.npz.*{message}"):
        load_motion(tmp_path / "a.npz")
    assert load_motion(tmp_path / "a.npz", fps=30)["fps"] == 30


def test_a_file_without_a_rate_is_read_at_15_and_that_is_said(make_motion, tmp_path, caplog):
    np.savez(tmp_path / "a.npz", **make_motion(4))
    assert load_motion(tmp_path / "a.npz")["fps"] == 15.0
    assert "a.npz: holds no fps; taken as 15" in caplog.text


@pytest.mark.parametrize(
    ("name", "factor", "message"),
    [
        ("transl", 1000, "millimetres"),
        ("transl", 100, "centimetres"),
        ("hand_pose", 180 / np.pi, "degrees"),
        ("global_orient", 180 / np.pi, "degrees"),
    ],
)
def test_other_units_are_refused_by_their_name(name, factor, message, make_motion, tmp_path):
    params = make_motion(6)
    np.savez(tmp_path / "a.npz", **params | {name: params[name] * factor}, fps=15)
    with pytest.raises(MotionFileError, match=rf"{name}: Expected .*Are they in {message}"):
        load_motion(tmp_path / "a.npz")
    with pytest.raises(InputError, match=message):
        save_motion(tmp_path / "b.npz", params | {name: params[name] * factor}, fps=15)


def test_captions_may_be_bytes_one_text_or_have_a_byte_order_mark(make_motion, tmp_path):
    for captions in (np.array(["\ufeffein Gruß"]), np.array(["ein Gruß".encode()]), np.array("ein Gruß")):
        np.savez(tmp_path / "a.npz", **make_motion(4), fps=15, captions=captions)
        assert load_motion(tmp_path / "a.npz")["captions"] == ["ein Gruß"]
    np.savez(tmp_path / "a.npz", **make_motion(4), fps=15, captions=np.array(["Gruß".encode("cp1252")]))
    with pytest.raises(MotionFileError, match=r"a\.npz.*utf-8"):
        load_motion(tmp_path / "a.npz")


def test_saving_what_was_loaded_keeps_validity_and_captions(make_motion, tmp_path):
    valid = np.ones((4, 2), bool)
    valid[2, 0] = False
    motion = load_motion(save_motion(tmp_path / "a.npz", make_motion(4), fps=15, valid=valid, captions=["a wave"]))
    again = load_motion(save_motion(tmp_path / "b.npz", motion, fps=motion["fps"]))
    np.testing.assert_array_equal(again["valid"], valid)
    assert again["captions"] == ["a wave"]


def test_files_have_the_mode_that_the_umask_gives(make_motion, tmp_path):
    before = os.umask(0o027)
    try:
        path = save_motion(tmp_path / "a.npz", make_motion(2), fps=15)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path = export_motion(tmp_path / "a.glb", make_motion(2), fps=15)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
    finally:
        os.umask(before)


@pytest.mark.parametrize("suffix", [".npz", ".glb", ".bvh"])
def test_features_for_other_packages_are_canonical_and_at_the_rate_that_they_ask_for(suffix, make_motion, tmp_path):
    params = make_motion(13)
    params["transl"] += np.float32([0.3, -0.2, 0.5])
    path = export_motion(tmp_path / f"a{suffix}", params, fps=30)
    own = read_features(path)
    assert (own["fps"], own["features"].shape, own["features"].dtype) == (30.0, (13, 198), np.float32)
    np.testing.assert_allclose(own["features"], params_to_features(canonicalize(params)), atol=2e-5)
    half = read_features(path, 15)
    assert (half["fps"], half["features"].shape, half["valid"].shape) == (15.0, (7, 198), (7, 2))
    np.testing.assert_allclose(half["features"], own["features"][::2], atol=2e-5)


def test_the_entry_point_by_which_other_packages_find_the_reader_is_declared():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    readers = project["entry-points"]["shift_tokenizer.motion_readers"]
    assert readers == {"hand-geometry": "hand_geometry.motion_io:read_features"}


def test_a_shape_moves_no_wrist_when_features_are_read(make_motion, tmp_path, joints_of):
    params = make_motion(3) | {"betas": np.full((2, 10), 0.8, np.float32)}
    features = read_features(save_motion(tmp_path / "a.npz", params, fps=15))["features"]
    wrists, shaped = features_to_joints(features)[:, :, 0], joints_of(params)[:, :, 0]
    np.testing.assert_allclose(wrists - wrists[0].mean(0), shaped - shaped[0].mean(0), atol=1e-5)


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


@pytest.mark.parametrize("name", ["global_orient", "hand_pose", "transl"])
@pytest.mark.parametrize(("size", "shown"), [(1e10, r"1\.732e\+10"), (1e30, r"1\.732e\+30")])
def test_numbers_beyond_all_units_are_refused_without_naming_one(name, size, shown, make_motion, tmp_path):
    """Squares of 1e30 are no float32; nothing of it is degrees or millimetres."""
    params = make_motion()
    np.savez(tmp_path / "a.npz", **{**params, name: np.full_like(params[name], size)}, fps=15)
    with pytest.raises(MotionFileError, match=rf"{name}: Expected (radians|metres), got .*{shown}") as told:
        load_motion(tmp_path / "a.npz")
    assert not any(word in str(told.value) for word in ("degrees", "millimetres", "centimetres"))


def test_float64_numbers_whose_squares_overflow_are_refused(make_motion):
    params = {name: value.astype(np.float64) for name, value in make_motion(4).items()}
    params["transl"][:] = 1e200
    with pytest.raises(InputError, match="Expected metres"):
        refuse_other_units(params["global_orient"], params["hand_pose"], params["transl"], np.ones((4, 2), bool))
