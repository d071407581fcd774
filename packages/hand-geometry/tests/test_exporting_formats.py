"""BVH, HaWoR's and the released code's files, USD: what comes back, what is refused."""

from __future__ import annotations

import io
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from hand_geometry import HandModel, export_motion, import_motion, load_motion, retarget_motion
from hand_geometry.assets import ASSETS
from hand_geometry.errors import InputError, MotionFileError
from hypothesis import given, settings
from hypothesis import strategies as st


def whole(make_motion, frames=6):
    valid = np.ones((frames, 2), bool)
    valid[2, 0] = False
    betas = np.random.default_rng(1).normal(0, 1, (2, 10)).astype(np.float32)
    return make_motion(frames) | {"betas": betas, "valid": valid, "fps": 30.0, "captions": ["a wave"]}


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.sampled_from([0.0, 0.3, 1.5]))
def test_bvh_comes_back_with_its_joints_and_shape(joints_of, tmp_path_factory, seed, frames, spread):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(0, spread, (frames, 2, 16, 3))
    vectors[0, 0, 2], vectors[0, 1, 5] = [np.pi / 2, 0, 0], [-np.pi / 2, 0, 0]  # where Euler angles lock
    motion = {
        "global_orient": vectors[:, :, 0],
        "hand_pose": vectors[:, :, 1:],
        "transl": rng.normal(0, 1, (frames, 2, 3)),
        "betas": rng.normal(0, 1, (2, 10)),
    }
    again = import_motion(export_motion(tmp_path_factory.mktemp("bvh") / "a.bvh", motion, fps=29.97))
    assert again["fps"] == pytest.approx(29.97)
    assert np.abs(joints_of(again) - joints_of(motion)).max() < 1e-4


def test_bvh_of_one_hand_marks_the_other_unseen(make_motion, tmp_path):
    valid = np.tile([False, True], (12, 1))
    path = export_motion(tmp_path / "a.bvh", make_motion(), valid=valid)
    assert "left_wrist" not in path.read_text()
    np.testing.assert_array_equal(import_motion(path)["valid"], valid)


def test_bvh_puts_each_wrist_at_rest_where_it_is_first_seen(joints_of, make_motion, tmp_path):
    """Both wrists sink by a centimetre a frame; the left is seen from frame 1 on, the right from frame 3 on."""
    motion, valid = make_motion(frames=5), np.ones((5, 2), bool)
    wanted = np.array([[-0.2, 0.1, 0.5], [0.2, 0.1, 0.5]]) + np.arange(5)[:, None, None] * [0.0, 0.01, 0.0]
    motion["transl"] = (motion["transl"] + wanted - joints_of(motion)[:, :, 0]).astype(np.float32)
    valid[:1, 0], valid[:3, 1] = False, False
    text = export_motion(tmp_path / "a.bvh", motion, fps=15, valid=valid).read_text()
    for wrist, expected in (("left_wrist", [-20, -11, -50]), ("right_wrist", [20, -13, -50])):
        (found,) = re.findall(rf"JOINT {wrist}\s+{{\s+OFFSET (\S+) (\S+) (\S+)", text)
        assert [float(number) for number in found] == pytest.approx(expected, abs=1e-3)


def test_bvh_may_name_its_rotations_in_another_order(joints_of, make_motion, tmp_path):
    """What another program writes after loading ours: the same curves as X, then Y, then Z."""
    from scipy.spatial.transform import Rotation

    path = export_motion(tmp_path / "a.bvh", make_motion(4))
    before = import_motion(path)
    head, tail = path.read_text().split("Frame Time:")
    rows = np.array([row.split() for row in tail.splitlines()[1:]], float)
    start = 0

    def as_xyz(found):
        nonlocal start
        order = "".join(word[0] for word in found[2].split())
        start += int(found[1]) - 3
        turn = Rotation.from_euler(order, rows[:, start : start + 3], degrees=True)
        rows[:, start : start + 3] = turn.as_euler("XYZ", degrees=True)
        start += 3
        return found[0].replace(found[2], "Xrotation Yrotation Zrotation")

    head = re.sub(r"CHANNELS (\d) (?:[XYZ]position )*((?:[XYZ]rotation ?){3})", as_xyz, head)
    assert start == rows.shape[1]
    text = head + "Frame Time:" + tail.splitlines()[0] + "\n" + "\n".join(" ".join(f"{v:.7f}" for v in r) for r in rows)
    (tmp_path / "b.bvh").write_text(text)
    assert np.abs(joints_of(import_motion(tmp_path / "b.bvh")) - joints_of(before)).max() < 1e-4


def test_broken_bvh_is_named(make_motion, tmp_path):
    text = export_motion(tmp_path / "whole.bvh", make_motion()).read_text()
    for content in (
        "", text[:300], text[: len(text) // 2], text[:-200], text.replace("Frames: 12", "Frames: 0"),
        text.replace("left_", "arm_").replace("right_", "arm_"), text.replace("Frame Time: 0.0", "Frame Time: -0.0"),
        text.rsplit(" ", 1)[0] + " nan\n", text.rsplit(" ", 1)[0] + " x\n",
    ):  # fmt: skip
        (tmp_path / "broken.bvh").write_text(content)
        with pytest.raises(MotionFileError, match=r"broken\.bvh"):
            import_motion(tmp_path / "broken.bvh")


def test_the_released_dict_has_the_names_and_shapes_that_its_loader_reads(make_motion, tmp_path):
    motion = whole(make_motion)
    path = export_motion(tmp_path / "a.npy", motion)
    tree = np.load(path, allow_pickle=True).item()
    shapes = {name: tuple(value.shape) for name, value in tree.items()}
    assert shapes == {"pred_trans": (2, 6, 3), "pred_rot": (2, 6, 3), "pred_hand_pose": (2, 6, 15, 3)}
    again = import_motion(path, fps=15)
    for name in ("global_orient", "hand_pose", "transl"):
        np.testing.assert_array_equal(again[name], motion[name])
    assert again["fps"] == 15


def test_a_released_dict_of_numpy_arrays_is_read_too(make_motion, tmp_path):
    motion = make_motion(6)
    names = {"transl": "pred_trans", "global_orient": "pred_rot", "hand_pose": "pred_hand_pose"}
    np.save(tmp_path / "a.npy", {key: motion[name].swapaxes(0, 1) for name, key in names.items()})
    np.testing.assert_array_equal(import_motion(tmp_path / "a.npy")["hand_pose"], motion["hand_pose"])


def test_hawor_s_list_is_what_joblib_reads_and_writes(make_motion, tmp_path):
    joblib = pytest.importorskip("joblib")
    motion = whole(make_motion)
    path = export_motion(tmp_path / "world_space_res.pth", motion)
    stored = joblib.load(path)
    assert [tuple(value.shape) for value in stored] == [(2, 6, 3), (2, 6, 3), (2, 6, 45), (2, 6, 10), (2, 6)]
    joblib.dump(stored, tmp_path / "tensors.pth")
    joblib.dump([value.numpy() for value in stored], tmp_path / "arrays.pth")
    for file in (path, tmp_path / "tensors.pth", tmp_path / "arrays.pth"):
        again = import_motion(file)
        for name in ("global_orient", "hand_pose", "transl", "betas", "valid"):
            np.testing.assert_allclose(again[name], motion[name], atol=1e-6)
        assert again["fps"] == 30


def test_the_shape_of_a_hawor_hand_is_the_mean_over_the_frames_in_which_it_was_seen(make_motion, tmp_path):
    motion, frames = make_motion(4), 4
    betas, valid = np.zeros((2, frames, 10), np.float32), np.ones((2, frames), np.float32)
    betas[0, :, 0], betas[1, :, 1] = [1, 3, 50, 50], [9, 2, 4, 6]
    valid[0, 2:], valid[1, 0] = 0, 0
    stored = [motion["transl"].swapaxes(0, 1), motion["global_orient"].swapaxes(0, 1),
              motion["hand_pose"].swapaxes(0, 1).reshape(2, frames, 45), betas, valid]  # fmt: skip
    (tmp_path / "a.pth").write_bytes(pickle.dumps([torch.from_numpy(array.copy()) for array in stored]))
    shape = import_motion(tmp_path / "a.pth", fps=30)["betas"]
    assert (shape[0, 0], shape[1, 1]) == (2, 4)


def test_frames_that_are_not_finite_come_back_marked_unseen(make_motion, tmp_path):
    motion = make_motion(6)
    tree = {"pred_trans": motion["transl"].swapaxes(0, 1).copy(), "pred_rot": motion["global_orient"].swapaxes(0, 1),
            "pred_hand_pose": motion["hand_pose"].swapaxes(0, 1)}  # fmt: skip
    tree["pred_trans"][1, 4] = np.nan
    np.save(tmp_path / "a.npy", tree)
    again = import_motion(tmp_path / "a.npy")
    assert np.argwhere(~again["valid"]).tolist() == [[4, 1]]
    assert np.isfinite(again["transl"]).all()


class Evil:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        import os

        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("suffix", [".npy", ".pth"])
def test_pickles_that_run_code_are_refused_and_do_not_run_it(suffix, tmp_path):
    trap = tmp_path / "trap"
    for k, content in enumerate((Evil(trap), {"pred_trans": Evil(trap)}, [np.zeros(3), Evil(trap)])):
        path = tmp_path / f"{k}{suffix}"
        if suffix == ".npy":
            array = np.empty((), object)
            array[()] = content
            np.save(path, array)
        else:
            path.write_bytes(pickle.dumps(content))
        with pytest.raises(MotionFileError, match=r"posix\.mkdir"):
            import_motion(path)
    assert not trap.exists()


@pytest.mark.parametrize("module", ["numpy.dtypes", "numpy", "torch._utils"])
def test_a_dotted_name_does_not_reach_into_an_allowed_module(module, tmp_path):
    def text(value: str) -> bytes:
        return b"\x8c" + bytes([len(value.encode())]) + value.encode()

    trap = tmp_path / "trap"  # a module's loader writes any file
    call = text(module) + text("__loader__.set_data") + b"\x93" + text(str(trap)) + b"C\x02hi" + b"\x86R."
    (tmp_path / "a.pth").write_bytes(b"\x80\x04" + call)
    with pytest.raises(MotionFileError, match=r"__loader__\.set_data"):
        import_motion(tmp_path / "a.pth")
    assert not trap.exists()


def test_code_hidden_in_a_tensor_s_storage_does_not_run(tmp_path):
    trap = tmp_path / "trap"
    inner = io.BytesIO()
    torch.save(Evil(trap), inner)

    class Storage:
        def __reduce__(self):
            return torch.storage._load_from_bytes, (inner.getvalue(),)

    (tmp_path / "a.pth").write_bytes(pickle.dumps([Storage()]))
    with pytest.raises(MotionFileError, match=r"a\.pth"):
        import_motion(tmp_path / "a.pth")
    assert not trap.exists()


@pytest.mark.parametrize("suffix", [".npy", ".pth"])
def test_truncated_and_foreign_files_are_named(suffix, make_motion, tmp_path):
    content = export_motion(tmp_path / f"whole{suffix}", make_motion()).read_bytes()
    path = tmp_path / f"broken{suffix}"
    for share in (0.0, 0.05, 0.5, 0.95):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(MotionFileError, match="broken"):
            import_motion(path)
    path.write_bytes(pickle.dumps({"poses": [1, 2]}))
    with pytest.raises(MotionFileError, match=r"\['poses'\]"):
        import_motion(path)
    with pytest.raises(MotionFileError, match="missing"):
        import_motion(tmp_path / f"missing{suffix}")


@settings(max_examples=120, deadline=None)
@given(st.sampled_from([".npy", ".pth", ".bvh"]), st.integers(0, 10**9), st.binary(min_size=1, max_size=8))
def test_changed_bytes_give_a_motion_or_a_named_error(written, tmp_path_factory, suffix, place, change):
    content = bytearray(written[suffix])
    place %= len(content)
    content[place : place + len(change)] = change
    path = tmp_path_factory.mktemp("changed") / f"a{suffix}"
    path.write_bytes(bytes(content))
    try:
        motion = import_motion(path)
    except MotionFileError:
        return
    assert all(np.isfinite(motion[name]).all() for name in ("global_orient", "hand_pose", "transl", "betas"))


@pytest.fixture(scope="module")
def written(make_motion, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    return {s: export_motion(folder / f"a{s}", make_motion(2)).read_bytes() for s in (".npy", ".pth", ".bvh")}


def test_a_tensor_that_claims_more_than_its_file_holds_is_refused(tmp_path):
    """A stride of zero makes a tensor of any size out of one number."""
    huge = torch.zeros(1).expand(2, 10**12, 3)
    tree = {"pred_trans": huge, "pred_rot": huge, "pred_hand_pose": torch.zeros(1).expand(2, 10**12, 15, 3)}
    (tmp_path / "a.pth").write_bytes(pickle.dumps(tree))
    with pytest.raises(MotionFileError, match="in a file of"):
        import_motion(tmp_path / "a.pth")


def test_npz_keeps_everything(make_motion, tmp_path):
    motion = whole(make_motion)
    again = load_motion(export_motion(tmp_path / "a.npz", motion))
    for name in ("global_orient", "hand_pose", "transl", "betas", "valid"):
        np.testing.assert_array_equal(again[name], motion[name])
    assert again["fps"] == 30
    assert again["captions"] == ["a wave"]


def test_retargeting_keeps_the_wrists_in_place(make_motion, tmp_path):
    with np.load(ASSETS / "MANO_RIGHT.npz", allow_pickle=False) as stored:
        arrays = dict(stored)
    arrays["v_template"] = arrays["v_template"] + np.array([0.1, 0.02, -0.01])  # the same hand, another origin
    for side in ("LEFT", "RIGHT"):
        np.savez(tmp_path / f"MANO_{side}.npz", **arrays)
    motion = make_motion(3) | {"betas": np.full((2, 10), 0.5, np.float32)}
    moved = retarget_motion(motion, tmp_path)
    assert not moved["betas"].any()
    for hand, side in enumerate(("left", "right")):

        def wrist(m, model, hand=hand):
            orient, pose, transl, betas = (
                torch.tensor(m[n]) for n in ("global_orient", "hand_pose", "transl", "betas")
            )
            return model(orient[:, hand], pose[:, hand], betas[hand], transl[:, hand], vertices=False).joints[:, 0]

        there = wrist(motion, HandModel.load(tmp_path, side))
        here = wrist(moved, HandModel.load("default", side))
        assert (there - here).abs().max() < 1e-5


def test_usd_moves_as_the_model_does_and_hides_what_was_not_seen(make_motion, tmp_path):
    pytest.importorskip("pxr")
    from pxr import Usd, UsdGeom, UsdSkel

    motion = whole(make_motion)
    path = export_motion(tmp_path / "a.usda", motion)
    stage = Usd.Stage.Open(str(path))
    assert UsdGeom.GetStageUpAxis(stage) == "Y"
    assert UsdGeom.GetStageMetersPerUnit(stage) == 1.0
    assert (stage.GetStartTimeCode(), stage.GetEndTimeCode(), stage.GetTimeCodesPerSecond()) == (0, 5, 30)
    cache = UsdSkel.Cache()
    cache.Populate(UsdSkel.Root(stage.GetPrimAtPath("/motion")), Usd.PrimDefaultPredicate)
    for hand, side in enumerate(("left", "right")):
        orient, pose, transl = (torch.tensor(motion[n][:, hand]).double() for n in
                                ("global_orient", "hand_pose", "transl"))  # fmt: skip
        betas = torch.tensor(motion["betas"][hand]).double()
        expected = HandModel.load("default", side, torch.float64)(orient, pose, betas, transl).vertices.numpy()
        mesh = stage.GetPrimAtPath(f"/motion/{side}_hand/mesh")
        query = cache.GetSkelQuery(UsdSkel.Skeleton(stage.GetPrimAtPath(f"/motion/{side}_hand/skeleton")))
        for frame in range(6):
            points = UsdGeom.Mesh(mesh).GetPointsAttr().Get()
            bones = query.ComputeSkinningTransforms(frame)
            skinning = cache.GetSkinningQuery(mesh)
            assert skinning.ComputeSkinnedPoints(bones, points, frame)
            assert np.abs(np.array(points) - expected[frame]).max() < 1e-4
        seen = [UsdGeom.Imageable(mesh).ComputeVisibility(t) == "inherited" for t in range(6)]
        assert seen == motion["valid"][:, hand].tolist()


def test_usd_without_its_package_says_what_to_install(make_motion, tmp_path):
    code = (
        "import sys; sys.modules['pxr'] = None\n"
        "import numpy as np; from hand_geometry import export_motion\n"
        "from hand_geometry.errors import MissingDependencyError\n"
        "try:\n    export_motion('a.usda', np.tile(np.float32([1, 0, 0, 0, 1, 0] * 16 + [0] * 3), (1, 2)))\n"
        "except MissingDependencyError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "hand-geometry[usd]" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_suffixes_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(InputError, match=r"\.glb, \.bvh"):
        import_motion(tmp_path / "a.fbx")
