"""glTF: what comes back from a file, what the Khronos validator says, and files that are broken."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from hand_geometry import HandModel, export_motion, import_motion, load_pose, relaxed_hand
from hand_geometry.errors import InputError, MotionFileError, ShapeError
from hand_geometry.exporting.rig import build_clip, pose_correctives
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

WEB = Path(__file__).parents[1] / "web"


def random_motion(seed, frames, spread):
    """Any rotations, up to and beyond pi; any place within a few metres; any shape."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(0, spread, (frames, 2, 16, 3))
    vectors[rng.random((frames, 2, 16)) < 0.1] = 0
    vectors[:, 0, 3] = [np.pi, 0, 0]
    return {
        "global_orient": vectors[:, :, 0].astype(np.float32),
        "hand_pose": vectors[:, :, 1:].astype(np.float32),
        "transl": rng.normal(0, 1, (frames, 2, 3)).astype(np.float32),
        "betas": rng.normal(0, 1, (2, 10)).astype(np.float32),
    }


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 9), st.sampled_from([0.0, 0.3, 1.5, 4.0]), st.sampled_from([15, 29.97])
)
def test_a_motion_comes_back_with_its_joints(joints_of, tmp_path_factory, seed, frames, spread, fps):
    motion = random_motion(seed, frames, spread)
    path = export_motion(tmp_path_factory.mktemp("glb") / "a.glb", motion, fps=fps)
    again = import_motion(path)
    assert again["fps"] == fps
    assert np.abs(joints_of(again) - joints_of(motion)).max() < 1e-4


def test_captions_shape_and_validity_come_back(make_motion, tmp_path):
    motion = make_motion(6) | {"betas": np.arange(20, dtype=np.float32).reshape(2, 10) / 10}
    valid = np.ones((6, 2), bool)
    valid[[0, 3, 4], 1] = False
    path = export_motion(tmp_path / "new" / "a.glb", motion, fps=30, valid=valid, captions=["winken – 手を振る"])
    again = import_motion(path)
    np.testing.assert_array_equal(again["valid"], valid)
    np.testing.assert_array_equal(again["betas"], motion["betas"])
    assert again["captions"] == ["winken – 手を振る"]
    assert [p.name for p in path.parent.iterdir()] == ["a.glb"]


def test_colours_are_linear_where_the_renderer_has_srgb(make_motion, tmp_path, monkeypatch):
    def colors(asset, base):
        return np.tile([0.5, 0.03, 1.0], (len(asset.v_template), 1))

    monkeypatch.setattr("hand_geometry.exporting.gltf.skin_colors", colors)
    content = export_motion(tmp_path / "a.glb", make_motion()).read_bytes()
    size = struct.unpack_from("<I", content, 12)[0]
    tree = json.loads(content[20 : 20 + size])
    accessor = tree["accessors"][tree["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"]]
    start = 28 + size + tree["bufferViews"][accessor["bufferView"]]["byteOffset"]
    # ((0.5 + 0.055) / 1.055) ** 2.4 = 0.2140; 0.03 / 12.92 = 0.0023; of 255
    assert list(content[start : start + 4]) == [55, 1, 255, 255]


def test_a_hand_never_seen_is_left_out(make_motion, tmp_path):
    valid = np.tile([False, True], (12, 1))
    path = export_motion(tmp_path / "a.glb", make_motion(), valid=valid)
    assert b"left_wrist" not in path.read_bytes()
    again = import_motion(path)
    np.testing.assert_array_equal(again["valid"], valid)
    np.testing.assert_allclose(again["transl"][:, 0], np.tile(relaxed_hand("left")["transl"], (12, 1)))


def test_forearms_change_nothing_of_the_hands(make_motion, tmp_path):
    plain = import_motion(export_motion(tmp_path / "a.glb", make_motion()))
    arms = import_motion(export_motion(tmp_path / "b.glb", make_motion(), forearms=True))
    for name in ("global_orient", "hand_pose", "transl"):
        np.testing.assert_array_equal(plain[name], arms[name])


def test_skinning_the_file_gives_the_model_s_vertices(make_motion, tmp_path):
    """Read with nothing of this package but the bytes: nodes, skins, weights, as a glTF player does."""
    motion = make_motion(5)
    tree, arrays = glb(export_motion(tmp_path / "a.glb", motion))
    for hand, side in enumerate(("left", "right")):
        model = HandModel.load("default", side, dtype=torch.float64)
        orient, pose, transl = (torch.tensor(motion[n][:, hand]).double() for n in
                                ("global_orient", "hand_pose", "transl"))  # fmt: skip
        expected = model(orient, pose, transl=transl).vertices.numpy() * [1, -1, -1]  # y up
        for frame in range(5):
            assert np.abs(skinned(tree, arrays, hand, frame) - expected[frame]).max() < 1e-4


def test_of_more_than_four_weights_the_largest_are_kept():
    from hand_geometry.exporting.gltf import _four_weights

    joints, weights = _four_weights(np.array([[0.1, 0.3, 0.05, 0.25, 0.2, 0.1], [0, 0, 0, 1, 0, 0]]))
    assert joints.tolist() == [[1, 3, 4, 0], [3, 0, 0, 0]]
    np.testing.assert_allclose(weights, [np.array([0.3, 0.25, 0.2, 0.1]) / 0.85, [1, 0, 0, 0]], rtol=1e-6)


def test_pose_correctives_are_few_morph_targets_within_the_tolerance(make_motion, corrective_hand, tmp_path):
    motion = make_motion(20)
    clip = build_clip(motion, model=corrective_hand)
    for rig in clip.rigs:
        targets, weights = pose_correctives(rig)
        assert 0 < len(targets) < 15
        matrices = Rotation.from_quat(rig.rotations[:, 1:].reshape(-1, 4)).as_matrix().reshape(20, 15, 3, 3)
        exact = np.einsum("vck,tk->tvc", rig.asset.posedirs, (matrices - np.eye(3)).reshape(20, 135))
        assert np.linalg.norm(exact, axis=-1).max() > 2e-3
        off = exact - np.einsum("kvc,tk->tvc", targets, weights)
        assert np.linalg.norm(off, axis=-1).max() <= 1e-4
    tree, _ = glb(export_motion(tmp_path / "a.glb", motion, model=corrective_hand))
    assert {"weights"} < {channel["target"]["path"] for channel in tree["animations"][0]["channels"]}


def test_the_khronos_validator_finds_no_error_and_no_warning(make_motion, corrective_hand, tmp_path):
    node = shutil.which("node")
    if node is None or not (WEB / "node_modules" / "gltf-validator").is_dir():
        pytest.skip("needs Node and, in packages/hand-geometry/web, npm install")
    valid = np.tile([True, False], (12, 1))
    files = [
        export_motion(tmp_path / "plain.glb", make_motion()),
        export_motion(tmp_path / "arms.glb", random_motion(0, 7, 1.5), forearms=True, captions=["x"]),
        export_motion(tmp_path / "one.glb", make_motion(1), valid=valid[:1]),
        export_motion(tmp_path / "morph.glb", make_motion(), model=corrective_hand, forearms=True),
    ]
    script = (
        "const v = require('gltf-validator'), fs = require('fs');"
        "(async () => { for (const f of process.argv.slice(1)) {"
        " const r = await v.validateBytes(new Uint8Array(fs.readFileSync(f)));"
        " console.log(JSON.stringify(r.issues)); } })();"
    )
    done = subprocess.run([node, "-e", script, *map(str, files)], cwd=WEB, capture_output=True, text=True, check=True)
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(reports) == len(files)
    for report in reports:
        assert report["numErrors"] == report["numWarnings"] == 0, report["messages"]


def test_motions_that_cannot_be_written_are_named(make_motion, tmp_path):
    motion, path = make_motion(), tmp_path / "a.glb"
    with pytest.raises(InputError, match=r"hand_pose.*NaN"):
        export_motion(path, motion | {"hand_pose": motion["hand_pose"] * np.nan})
    with pytest.raises(InputError, match="at least one frame"):
        export_motion(path, {name: value[:0] for name, value in motion.items()})
    with pytest.raises(InputError, match="seen in some frame"):
        export_motion(path, motion, valid=np.zeros((12, 2), bool))
    with pytest.raises(InputError, match="fps"):
        export_motion(path, motion, fps=float("nan"))
    with pytest.raises(InputError, match="transl"):
        export_motion(path, {"global_orient": motion["global_orient"]})
    with pytest.raises(ShapeError, match="global_orient"):
        export_motion(path, motion | {"global_orient": motion["global_orient"][:, :1]})
    with pytest.raises(ShapeError, match="valid"):
        export_motion(path, motion, valid=np.ones((3, 2), bool))
    with pytest.raises(InputError, match=r"\.glb"):
        export_motion(tmp_path / "a.fbx", motion)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.99])
def test_truncated_files_are_named(share, make_motion, tmp_path):
    whole = export_motion(tmp_path / "whole.glb", make_motion()).read_bytes()
    broken = tmp_path / "broken.glb"
    broken.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(MotionFileError, match=r"broken\.glb"):
        import_motion(broken)
    content = bytearray(whole[: int(share * len(whole))])
    if len(content) > 12:  # a lying length, too
        struct.pack_into("<I", content, 8, len(content))
        broken.write_bytes(content)
        with pytest.raises(MotionFileError, match=r"broken\.glb"):
            import_motion(broken)


def test_files_of_another_kind_are_named(tmp_path):
    (tmp_path / "a.glb").write_bytes(b"not a scene at all, but long enough")
    with pytest.raises(MotionFileError, match="binary glTF"):
        import_motion(tmp_path / "a.glb")
    text = b'{"asset":{"version":"2.0"},"scenes":[{}],"nodes":[{"name":"teapot"}]}'
    text += b" " * (-len(text) % 4)
    chunk = struct.pack("<I4s", len(text), b"JSON") + text
    (tmp_path / "b.glb").write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunk)) + chunk)
    with pytest.raises(MotionFileError, match="left_wrist"):
        import_motion(tmp_path / "b.glb")
    with pytest.raises(MotionFileError, match="none that can be read"):
        import_motion(tmp_path / "missing.glb")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9), st.binary(min_size=1, max_size=6))
def test_changed_bytes_give_a_motion_or_a_named_error(glb_bytes, tmp_path_factory, place, change):
    content = bytearray(glb_bytes)
    place %= len(content)
    content[place : place + len(change)] = change
    path = tmp_path_factory.mktemp("glb") / "a.glb"
    path.write_bytes(bytes(content))
    try:
        motion = import_motion(path)
    except MotionFileError:
        return
    assert all(np.isfinite(motion[name]).all() for name in ("global_orient", "hand_pose", "transl"))


@pytest.fixture(scope="module")
def glb_bytes(make_motion, tmp_path_factory):
    return export_motion(tmp_path_factory.mktemp("glb") / "a.glb", make_motion(3)).read_bytes()


@pytest.fixture(scope="module")
def corrective_hand(tmp_path_factory):
    """The open hand with pose blend shapes such as MANO has: a few millimetres, smooth over the mesh."""
    from hand_geometry.assets import ASSETS, load_asset

    folder = tmp_path_factory.mktemp("hand")
    rng = np.random.default_rng(0)
    with np.load(ASSETS / "MANO_RIGHT.npz", allow_pickle=False) as stored:
        arrays = dict(stored)
    smooth = load_asset().weights[:, 1:].repeat(9, 1)  # (V, 135): each joint moves its own surroundings
    arrays["posedirs"] = smooth[:, None] * rng.normal(0, 3e-3, (1, 3, 135))
    for side in ("LEFT", "RIGHT"):
        np.savez(folder / f"MANO_{side}.npz", **arrays)
    return folder


def glb(path):
    """The tree and a reader of accessors, written for these tests from the specification."""
    content = path.read_bytes()
    size = struct.unpack_from("<I", content, 12)[0]
    tree = json.loads(content[20 : 20 + size])
    kinds = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
    widths = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}

    def arrays(number):
        accessor = tree["accessors"][number]
        view = tree["bufferViews"][accessor["bufferView"]]
        width = widths[accessor["type"]]
        values = np.frombuffer(content, kinds[accessor["componentType"]], accessor["count"] * width,
                               28 + size + view["byteOffset"])  # fmt: skip
        return values.reshape(-1, width)

    return tree, arrays


def skinned(tree, arrays, mesh, frame):
    local = {k: (np.array(n.get("translation", [0, 0, 0.0])), np.array(n.get("rotation", [0, 0, 0, 1.0])))
             for k, n in enumerate(tree["nodes"])}  # fmt: skip
    for channel in tree["animations"][0]["channels"]:
        values = arrays(tree["animations"][0]["samplers"][channel["sampler"]]["output"])
        place, turn = local[channel["target"]["node"]]
        changed = {"translation": (values[frame], turn), "rotation": (place, values[frame])}
        local[channel["target"]["node"]] = changed[channel["target"]["path"]]

    world = {}

    def walk(node, above):
        here = np.eye(4)
        here[:3, :3], here[:3, 3] = Rotation.from_quat(local[node][1]).as_matrix(), local[node][0]
        world[node] = above @ here
        for child in tree["nodes"][node].get("children", []):
            walk(child, world[node])

    for root in tree["scenes"][0]["nodes"]:
        walk(root, np.eye(4))
    skin, attributes = tree["skins"][mesh], tree["meshes"][mesh]["primitives"][0]["attributes"]
    inverse = arrays(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
    bones = np.stack([world[joint] for joint in skin["joints"]]) @ inverse
    points = np.pad(arrays(attributes["POSITION"]), ((0, 0), (0, 1)), constant_values=1)
    blended = np.einsum("vk,vkij->vij", arrays(attributes["WEIGHTS_0"]), bones[arrays(attributes["JOINTS_0"])])
    return np.einsum("vij,vj->vi", blended, points)[:, :3]


def test_the_pose_module_s_fist_is_a_fist_in_the_file(joints_of, tmp_path):
    """A pose that a person can name: the fingertips of a fist are nearer to the palm than those of a flat hand."""
    gaps = {}
    for name in ("flat", "fist"):
        pose = np.stack([np.zeros((15, 3)), load_pose(name).numpy()])[None]
        motion = {"global_orient": np.zeros((1, 2, 3)), "hand_pose": pose, "transl": np.zeros((1, 2, 3))}
        again = joints_of(import_motion(export_motion(tmp_path / f"{name}.glb", motion)))[0, 1]
        gaps[name] = np.linalg.norm(again[[8, 12, 16, 20]] - again[0], axis=1).mean()
    assert gaps["fist"] < 0.7 * gaps["flat"]
