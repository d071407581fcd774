"""The hand model against smplx, its mirror image, and files that are no hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hand_geometry import HandModel, load_pose, relaxed_hand
from hand_geometry.assets import load_asset
from hand_geometry.errors import AssetError, InputError, ShapeError
from hand_geometry.rotations import axis_angle_to_matrix

POINT = torch.tensor([-1.0, 1.0, 1.0])
AXIAL = torch.tensor([1.0, -1.0, -1.0])


def random_pose(generator, *batch):
    orient = torch.randn(*batch, 3, generator=generator)
    pose = 0.4 * torch.randn(*batch, 15, 3, generator=generator)
    betas = torch.randn(*batch, 10, generator=generator)
    transl = torch.randn(*batch, 3, generator=generator)
    return orient, pose, betas, transl


def write_mano_files(folder, *, posedirs_seed=None):
    """The open hand as official MANO files, with or without made-up pose blend shapes."""
    for side in ("left", "right"):
        asset = load_asset("default", side)
        rng = np.random.default_rng(posedirs_seed or 0)
        posedirs = np.zeros((len(asset.v_template), 3, 135))
        if posedirs_seed is not None:
            posedirs = rng.normal(0, 1e-3, posedirs.shape)
        parents = np.array([4294967295, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14])
        np.savez(
            folder / f"MANO_{side.upper()}.npz",
            v_template=asset.v_template, f=asset.faces, weights=asset.weights, J_regressor=asset.joint_regressor,
            J=asset.rest_joints, shapedirs=asset.shapedirs, posedirs=posedirs, hands_mean=asset.hands_mean,
            hands_components=asset.hands_components, kintree_table=np.stack([parents, np.arange(16)]),
            bs_type="lrotmin", bs_style="lbs",
        )  # fmt: skip


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("posedirs_seed", [None, 3])
def test_joints_and_vertices_agree_with_smplx(side, posedirs_seed, tmp_path, generator):
    smplx = pytest.importorskip("smplx")
    write_mano_files(tmp_path, posedirs_seed=posedirs_seed)
    path = str(tmp_path / f"MANO_{side.upper()}.npz")
    orient, pose, betas, transl = random_pose(generator, 4)
    reference = smplx.MANO(path, is_rhand=side == "right", ext="npz", use_pca=False, flat_hand_mean=True, batch_size=4)
    expected = reference(global_orient=orient, hand_pose=pose.flatten(1), betas=betas, transl=transl)
    out = HandModel.load(path, side=side)(orient, pose, betas, transl)
    torch.testing.assert_close(out.vertices, expected.vertices, atol=1e-5, rtol=0)
    wrist_and_finger_joints = [0, 13, 14, 15, 1, 2, 3, 4, 5, 6, 10, 11, 12, 7, 8, 9]
    ours = [0, 1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15, 17, 18, 19]
    torch.testing.assert_close(out.joints[:, ours], expected.joints[:, wrist_and_finger_joints], atol=1e-5, rtol=0)
    torch.testing.assert_close(out.joints[:, [4, 8, 12, 16, 20]], expected.vertices[:, [744, 320, 443, 554, 671]])


def test_left_hand_is_the_mirror_image_of_the_right(hands, generator):
    orient, pose, betas, transl = random_pose(generator, 5)
    right = hands["right"](orient, pose, betas, transl)
    left = hands["left"](orient * AXIAL, pose * AXIAL, betas, transl * POINT)
    torch.testing.assert_close(left.joints, right.joints * POINT)
    torch.testing.assert_close(left.vertices, right.vertices * POINT)


def test_triangles_of_both_hands_face_outward(hands):
    for model in hands.values():
        corners = model.v_template[model.faces]
        signed_volume = (corners[:, 0] * torch.linalg.cross(corners[:, 1], corners[:, 2])).sum() / 6
        assert signed_volume > 1e-4  # a hand has about 0.3 litres


@pytest.mark.parametrize("batch", [(), (3,), (2, 0), (2, 3)])
def test_joints_without_the_mesh_are_the_same(batch, hands, generator):
    orient, pose, betas, transl = random_pose(generator, *batch)
    with_mesh = hands["right"](orient, pose, betas, transl)
    without = hands["right"](orient, pose, betas, transl, vertices=False)
    assert without.vertices is None
    assert without.joints.shape == (*batch, 21, 3)
    torch.testing.assert_close(without.joints, with_mesh.joints, atol=2e-6, rtol=0)


def test_one_shape_for_the_batch_equals_that_shape_repeated(hands, generator):
    orient, pose, betas, transl = random_pose(generator, 3)
    shared = hands["right"](orient, pose, betas[0], transl)
    repeated = hands["right"](orient, pose, betas[:1].expand(3, 10), transl)
    torch.testing.assert_close(shared.vertices, repeated.vertices, atol=2e-6, rtol=0)


def test_matrices_and_axis_angles_give_the_same_hand(hands, generator):
    orient, pose, _, transl = random_pose(generator, 3)
    a = hands["left"](orient, pose, None, transl).vertices
    b = hands["left"](axis_angle_to_matrix(orient), axis_angle_to_matrix(pose), None, transl).vertices
    torch.testing.assert_close(a, b)


def test_the_wrist_turns_about_itself(hands):
    rest = hands["right"](torch.zeros(3), torch.zeros(15, 3)).joints[0]
    turned = hands["right"](torch.tensor([0.4, -1.0, 2.0]), torch.zeros(15, 3)).joints[0]
    torch.testing.assert_close(turned, rest)


def test_gradcheck_to_pose_shape_and_translation(generator):
    model = HandModel.load("default", side="right", dtype=torch.float64)
    inputs = [value.double().requires_grad_() for value in random_pose(generator, 1)]
    assert torch.autograd.gradcheck(lambda o, p, b, t: model(o, p, b, t, vertices=False).joints, inputs)


def test_named_poses_curl_the_fingers(hands):
    for side in ("left", "right"):
        flat = hands[side](torch.zeros(3), load_pose("flat", side)).joints
        fist = hands[side](torch.zeros(3), load_pose("fist", side)).joints
        pinch = hands[side](torch.zeros(3), load_pose("pinch", side)).joints
        assert (flat[12] - flat[0]).norm() > 0.15
        assert (fist[12] - fist[0]).norm() < 0.11
        assert (pinch[4] - pinch[8]).norm() < 0.02 < (flat[4] - flat[8]).norm()


def test_the_relaxed_hand_lies_beside_the_origin_fingers_forward_palm_down(hands):
    for side, x in (("left", -0.13), ("right", 0.13)):
        rest = relaxed_hand(side)
        joints = hands[side](rest["global_orient"], rest["hand_pose"], None, rest["transl"]).joints
        torch.testing.assert_close(joints[0], torch.tensor([x, 0.0, 0.0]), atol=1e-6, rtol=0)
        assert joints[12, 2] > 0.1  # fingers forward
        assert joints[12, 1] > joints[9, 1]  # and curled down
        assert (joints[4, 0] - x) * x < 0  # thumbs inside


def test_wrong_inputs_are_named(hands):
    with pytest.raises(ShapeError, match="hand_pose"):
        hands["right"](torch.zeros(2, 3), torch.zeros(2, 45))
    with pytest.raises(ShapeError, match="global_orient"):
        hands["right"](torch.zeros(3, 3, 3), torch.zeros(2, 15, 3))
    with pytest.raises(ShapeError, match="betas"):
        hands["right"](torch.zeros(3), torch.zeros(15, 3), torch.zeros(11))
    with pytest.raises(InputError, match="'left' or 'right', got 'top'"):
        HandModel.load("default", side="top")
    with pytest.raises(InputError, match="flat, fist, pinch"):
        load_pose("shaka")


def test_broken_asset_files_are_refused_by_name(tmp_path):
    with pytest.raises(AssetError, match="no such file"):
        HandModel.load(tmp_path / "nothing.npz")
    truncated = tmp_path / "truncated.npz"
    write_mano_files(tmp_path)
    truncated.write_bytes((tmp_path / "MANO_RIGHT.npz").read_bytes()[:5000])
    with pytest.raises(AssetError, match="cannot be read"):
        HandModel.load(truncated)
    incomplete = tmp_path / "incomplete.npz"
    np.savez(incomplete, v_template=np.zeros((778, 3)))
    with pytest.raises(AssetError, match="got no f, weights"):
        HandModel.load(incomplete)
    objects = tmp_path / "objects.npz"
    np.savez(objects, v_template=np.array([{}], dtype=object))
    with pytest.raises(AssetError, match="cannot be read"):
        HandModel.load(objects)


def test_a_folder_of_both_sides_is_read_by_side(tmp_path):
    write_mano_files(tmp_path)
    left = HandModel.load(tmp_path, side="left")
    assert left.side == "left"
    torch.testing.assert_close(left.v_template, HandModel.load("default", side="left").v_template)
