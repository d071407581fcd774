"""USD written and read back: the same joints, shape, rate and validity; other files are named."""

from __future__ import annotations

import numpy as np
import pytest
from hand_geometry import export_motion, import_motion
from hand_geometry.errors import MotionFileError
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("pxr")


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 9),
    st.sampled_from([0.0, 0.3, 1.5, 4.0]),
    st.sampled_from([15, 29.97]),
    st.sampled_from([".usd", ".usda", ".usdc"]),
)
def test_a_motion_comes_back_with_its_joints(joints_of, tmp_path_factory, seed, frames, spread, fps, suffix):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(0, spread, (frames, 2, 16, 3))
    vectors[rng.random((frames, 2, 16)) < 0.1] = 0
    vectors[:, 0, 3] = [np.pi, 0, 0]
    motion = {
        "global_orient": vectors[:, :, 0].astype(np.float32),
        "hand_pose": vectors[:, :, 1:].astype(np.float32),
        "transl": rng.normal(0, 1, (frames, 2, 3)).astype(np.float32),
        "betas": rng.normal(0, 1, (2, 10)).astype(np.float32),
    }
    path = export_motion(tmp_path_factory.mktemp("usd") / f"a{suffix}", motion, fps=fps)
    again = import_motion(path)
    assert again["fps"] == fps
    assert np.abs(joints_of(again) - joints_of(motion)).max() < 1e-4


def test_validity_and_a_hand_never_seen_come_back(make_motion, tmp_path):
    valid = np.ones((6, 2), bool)
    valid[[0, 3, 4], 1] = False
    np.testing.assert_array_equal(
        import_motion(export_motion(tmp_path / "a.usda", make_motion(6), valid=valid))["valid"], valid
    )
    valid[:, 0] = False
    again = import_motion(export_motion(tmp_path / "a.usda", make_motion(6), valid=valid))
    np.testing.assert_array_equal(again["valid"], valid)
    assert np.isfinite(again["hand_pose"]).all()


def test_other_files_are_named(make_motion, tmp_path):
    text = export_motion(tmp_path / "whole.usda", make_motion(3)).read_text()
    whole = export_motion(tmp_path / "whole.usdc", make_motion(3)).read_bytes()
    other = '#usda 1.0\n(defaultPrim = "a")\ndef Xform "a" { def Sphere "b" {} }\n'
    broken = [
        "", "#usda 1.0\n", other, text[: len(text) // 2], text.replace("left_index2", "left_arm"),
        text.replace("rotateX = 180", "rotateX = 90"),
        text.replace("timeCodesPerSecond = 15", "timeCodesPerSecond = 0"),
        text.replace("            1: [", "            1.5: ["), text.replace("_hand", "_foot"),
    ]  # fmt: skip
    for k, content in enumerate(broken):
        assert content != text
        (tmp_path / f"{k}.usda").write_text(content)
        with pytest.raises(MotionFileError, match=rf"{k}\.usda"):
            import_motion(tmp_path / f"{k}.usda")
    for share in (0.0, 0.1, 0.9):
        (tmp_path / "cut.usdc").write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(MotionFileError, match=r"cut\.usdc"):
            import_motion(tmp_path / "cut.usdc")
    with pytest.raises(MotionFileError, match="no such file"):
        import_motion(tmp_path / "missing.usd")


def test_other_layers_are_not_opened(make_motion, tmp_path):
    """A file that borrows its hands from another one has none of its own."""
    export_motion(tmp_path / "whole.usda", make_motion(3))
    (tmp_path / "a.usda").write_text("#usda 1.0\n(subLayers = [@./whole.usda@])\n")
    with pytest.raises(MotionFileError, match="skeleton"):
        import_motion(tmp_path / "a.usda")


def test_hands_have_the_colours_of_the_pictures_in_linear_light(make_motion, tmp_path):
    from pxr import Usd, UsdGeom

    stage = Usd.Stage.Open(str(export_motion(tmp_path / "a.usda", make_motion(), fps=30)))
    for side, linear in (("left", [0.2140, 0.4624, 0.5705]), ("right", [0.8900, 0.4770, 0.3185])):
        mesh = UsdGeom.Mesh(stage.GetPrimAtPath(f"/motion/{side}_hand/mesh"))
        np.testing.assert_allclose(mesh.GetDisplayColorAttr().Get()[0], linear, atol=5e-4)


def test_other_programs_read_metres_with_y_up_and_real_numbers_first(tmp_path):
    """Ours are x right, y down, z forward; the turn about x makes them x right, y up, z towards the viewer."""
    from pxr import Gf, Usd, UsdGeom, UsdSkel

    vectors = np.zeros((2, 2, 16, 3), np.float32)
    vectors[1, 1, 0] = [np.pi / 2, 0, 0]  # the right wrist, in the second frame
    transl = np.array([[[-0.1, 0.0, 0.0], [0.2, -0.3, 0.5]]] * 2, np.float32)
    motion = {"global_orient": vectors[:, :, 0], "hand_pose": vectors[:, :, 1:], "transl": transl}
    valid = np.array([[True, True], [False, True]])
    stage = Usd.Stage.Open(str(export_motion(tmp_path / "a.usda", motion, fps=30, valid=valid)))
    assert UsdGeom.GetStageUpAxis(stage) == "Y"
    assert UsdGeom.GetStageMetersPerUnit(stage) == 1.0
    assert (stage.GetTimeCodesPerSecond(), stage.GetFramesPerSecond(), stage.GetEndTimeCode()) == (30, 30, 1)
    animation = UsdSkel.Animation(stage.GetPrimAtPath("/motion/right_hand/skeleton/motion"))
    skeleton = stage.GetPrimAtPath("/motion/right_hand/skeleton")
    bind = UsdSkel.Skeleton(skeleton).GetBindTransformsAttr().Get()[0].ExtractTranslation()
    world = UsdGeom.XformCache().GetLocalToWorldTransform(skeleton)
    wrist = animation.GetTranslationsAttr().Get(0)[0]
    np.testing.assert_allclose(np.array(wrist) - np.array(bind), [0.2, -0.3, 0.5], atol=1e-6)
    np.testing.assert_allclose(world.Transform(Gf.Vec3d(0.2, -0.3, 0.5)), [0.2, 0.3, -0.5], atol=1e-6)
    turn = animation.GetRotationsAttr().Get(1)[0]
    half = 0.5**0.5
    np.testing.assert_allclose([turn.GetReal(), *turn.GetImaginary()], [half, half, 0, 0], atol=1e-6)
    shown = [
        [UsdGeom.Imageable(stage.GetPrimAtPath(f"/motion/{side}_hand")).ComputeVisibility(t) for t in (0, 1)]
        for side in ("left", "right")
    ]
    assert shown == [["inherited", "invisible"], ["inherited", "inherited"]]
