"""Files against numbers written by hand: units, axes, rate, side. Round trips alone would not notice a wrong one.

The motion, in this package's axes (x right, y down, z forward): two frames, 30 a second. The left wrist stands at
(-0.2, 0.1, 0.5) m, then 3 cm farther right, 2 cm higher and 1 cm nearer; in the second frame the left hand is turned by
30 degrees about x, its index knuckle by 90 about z, its middle knuckle by 40 about y, and about x the end joint of the
little finger by 11, the ring finger's knuckle by 12, the thumb's by 13. The right hand is flat and still, its wrist at
(0.2, 0.1, 0.5).
"""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from hand_geometry import export_motion, import_motion
from hand_geometry.assets import ASSETS
from hand_geometry.exporting.bvh import nearest_euler
from scipy.spatial.transform import Rotation

# Of the shipped file, by its regressor and template: J_regressor @ v_template, metres, right hand.
RIGHT_WRIST, RIGHT_INDEX1 = (-0.0025, -0.0007, 0.0000), (-0.1134, -0.0043, 0.0283)


@pytest.fixture(scope="module")
def rest():
    """Rest joints of both hands, straight from the shipped arrays; the left is the mirror image in x."""
    with np.load(ASSETS / "MANO_RIGHT.npz", allow_pickle=False) as arrays:
        right = arrays["J_regressor"].astype(float) @ arrays["v_template"]
    return {"left": right * [-1, 1, 1], "right": right}


@pytest.fixture(scope="module")
def motion(rest):
    params = {name: np.zeros((2, 2, *tail)) for name, tail in
              (("global_orient", (3,)), ("hand_pose", (15, 3)), ("transl", (3,)))}  # fmt: skip
    params["transl"][:, 0] = np.array([[-0.2, 0.1, 0.5], [-0.17, 0.08, 0.49]]) - rest["left"][0]
    params["transl"][:, 1] = np.array([0.2, 0.1, 0.5]) - rest["right"][0]
    params["global_orient"][1, 0] = [np.radians(30), 0, 0]
    params["hand_pose"][1, 0, 0] = [0, 0, np.radians(90)]  # index1
    params["hand_pose"][1, 0, 3] = [0, np.radians(40), 0]  # middle1
    for joint, degrees in ((8, 11), (9, 12), (12, 13)):  # MANO's order: index, middle, pinky, ring, thumb
        params["hand_pose"][1, 0, joint] = [np.radians(degrees), 0, 0]
    return params


def test_the_shipped_hand_is_a_right_hand_in_metres(rest):
    np.testing.assert_allclose(rest["right"][0], RIGHT_WRIST, atol=5e-4)
    np.testing.assert_allclose(rest["right"][1], RIGHT_INDEX1, atol=5e-4)


def bvh(path):
    """Offsets, (joint, channel) of each column, rows, frame time: a reader of a dozen lines."""
    head, tail = path.read_text().split("MOTION")
    name, offsets, columns = "", {}, []
    for words in map(str.split, head.splitlines()):
        if words[:1] in (["ROOT"], ["JOINT"]):
            name = words[1]
        elif words[:1] == ["End"]:
            name = ""
        elif words[:1] == ["OFFSET"] and name:
            offsets[name] = [float(word) for word in words[1:]]
        elif words[:1] == ["CHANNELS"]:
            columns += [(name, channel) for channel in words[2:]]
    lines = tail.strip().splitlines()
    rows = np.array([[float(word) for word in line.split()] for line in lines[2:]])
    return offsets, {key: rows[:, k].tolist() for k, key in enumerate(columns)}, float(lines[1].split()[-1])


def test_bvh_is_in_centimetres_and_degrees_with_y_up_at_thirty_frames_a_second(motion, tmp_path):
    offsets, curves, seconds = bvh(export_motion(tmp_path / "a.bvh", motion, fps=30))
    assert seconds == pytest.approx(1 / 30, abs=1e-8)

    def curve(joint, channel):
        return pytest.approx(curves[joint, channel], abs=1e-5)

    # y down becomes y up, z forward becomes z backward; a turn about y or z turns the other way.
    assert curve("left_wrist", "Xposition") == [-20.0, -17.0]
    assert curve("left_wrist", "Yposition") == [-10.0, -8.0]
    assert curve("left_wrist", "Zposition") == [-50.0, -49.0]
    assert curve("right_wrist", "Xposition") == [20.0, 20.0]
    assert curve("left_wrist", "Xrotation") == [0.0, 30.0]
    assert curve("left_index1", "Zrotation") == [0.0, -90.0]
    assert curve("left_middle1", "Yrotation") == [0.0, -40.0]
    assert curve("left_pinky3", "Xrotation") == [0.0, 11.0]
    assert curve("left_ring1", "Xrotation") == [0.0, 12.0]
    assert curve("left_thumb1", "Xrotation") == [0.0, 13.0]
    assert curve("right_index1", "Zrotation") == [0.0, 0.0]
    assert curve("clock_30fps", "Yrotation") == [0.0, 0.1]
    # At rest the wrists lie where they are first seen, 40 cm apart, not both at the origin.
    np.testing.assert_allclose(offsets["left_wrist"], [-20, -10, -50], atol=1e-5)
    np.testing.assert_allclose(offsets["right_wrist"], [20, -10, -50], atol=1e-5)
    bone = (np.array(RIGHT_INDEX1) - RIGHT_WRIST) * [100, -100, -100]
    np.testing.assert_allclose(offsets["right_index1"], bone, atol=0.1)


def test_glb_is_in_metres_and_seconds_under_a_node_that_turns_y_up(motion, tmp_path):
    content = export_motion(tmp_path / "a.glb", motion, fps=30).read_bytes()
    size = struct.unpack_from("<I", content, 12)[0]
    tree = json.loads(content[20 : 20 + size])
    names = {node["name"]: k for k, node in enumerate(tree["nodes"])}
    root = tree["nodes"][names["motion"]]
    assert root["rotation"] == [1.0, 0.0, 0.0, 0.0]  # half a turn about x
    assert {names["left_wrist"], names["right_wrist"]} == set(root["children"])

    def numbers(index):
        accessor = tree["accessors"][index]
        view = tree["bufferViews"][accessor["bufferView"]]
        width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[accessor["type"]]
        values = np.frombuffer(content, "<f4", accessor["count"] * width, 28 + size + view["byteOffset"])
        return values.reshape(-1, width)

    curves = {}
    for channel in tree["animations"][0]["channels"]:
        sampler = tree["animations"][0]["samplers"][channel["sampler"]]
        name = tree["nodes"][channel["target"]["node"]]["name"]
        np.testing.assert_allclose(numbers(sampler["input"]), [[0], [1 / 30]], atol=1e-7)
        curves[name, channel["target"]["path"]] = numbers(sampler["output"])
    # Below the root lies this package's frame: metres, y down, z forward; quaternions x, y, z, w.
    np.testing.assert_allclose(curves["left_wrist", "translation"], [[-0.2, 0.1, 0.5], [-0.17, 0.08, 0.49]], atol=1e-6)
    np.testing.assert_allclose(curves["right_wrist", "translation"], [[0.2, 0.1, 0.5]] * 2, atol=1e-6)
    np.testing.assert_allclose(curves["left_wrist", "rotation"], [[0, 0, 0, 1], [0.258819, 0, 0, 0.965926]], atol=1e-6)
    half = 0.70710678
    np.testing.assert_allclose(curves["left_index1", "rotation"], [[0, 0, 0, 1], [0, 0, half, half]], atol=1e-6)
    np.testing.assert_allclose(curves["left_middle1", "rotation"][1], [0, 0.342020, 0, 0.939693], atol=1e-6)
    np.testing.assert_allclose(curves["left_ring1", "rotation"][1], [0.104528, 0, 0, 0.994522], atol=1e-6)
    for finger in ("thumb", "index", "middle", "ring", "pinky"):
        tip = names[f"right_{finger}_tip"]
        assert tip in tree["nodes"][names[f"right_{finger}3"]]["children"]
    # Nodes stand at rest, where the mesh was bound, not in the first frame.
    wrist = tree["nodes"][names["right_wrist"]]
    np.testing.assert_allclose(wrist["translation"], RIGHT_WRIST, atol=5e-4)
    assert wrist.get("rotation", [0, 0, 0, 1]) == [0, 0, 0, 1]


@pytest.mark.parametrize("suffix", [".bvh", ".glb"])
def test_reading_gives_the_parameters_back(suffix, motion, tmp_path):
    again = import_motion(export_motion(tmp_path / f"a{suffix}", motion, fps=30))
    assert again["fps"] == 30.0
    for name, value in motion.items():
        np.testing.assert_allclose(again[name], value, atol=1e-5)


def hierarchy(unit: float, turn, clock: str) -> str:
    """A right hand as somebody else would type it: offsets from the asset in another unit and axes."""
    with np.load(ASSETS / "MANO_RIGHT.npz", allow_pickle=False) as arrays:
        joints = arrays["J_regressor"].astype(float) @ arrays["v_template"]
    names = ["wrist", *(f"{f}{k}" for f in ("index", "middle", "pinky", "ring", "thumb") for k in (1, 2, 3))]
    lines = ["HIERARCHY", "ROOT right_wrist", "{", "OFFSET 0 0 0",
             "CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation"]  # fmt: skip
    for first in range(1, 16, 3):
        for k in range(first, first + 3):
            offset = turn(joints[k] - joints[k - 1 if k > first else 0]) * unit
            lines += [f"JOINT right_{names[k]}", "{", "OFFSET " + " ".join(f"{v:.7f}" for v in offset)]
            lines += ["CHANNELS 3 Zrotation Xrotation Yrotation"]
        lines += ["}"] * 3
    if clock:
        lines += [f"JOINT {clock}", "{", "OFFSET 0 0 0", "CHANNELS 3 Zrotation Xrotation Yrotation", "}"]
    return "\n".join([*lines, "}", "MOTION"])


@pytest.mark.parametrize(("unit", "name"), [(100.0, "centimetres"), (1.0, "metres"), (1000.0, "millimetres")])
def test_a_bvh_in_any_unit_is_read_in_metres(unit, name, tmp_path, rest):
    row = [0.2 * unit, -0.1 * unit, -0.5 * unit] + [0.0] * 48
    text = hierarchy(unit, lambda v: v * [1, -1, -1], "")
    (tmp_path / "a.bvh").write_text(f"{text}\nFrames: 1\nFrame Time: 0.04\n" + " ".join(map(str, row)) + "\n")
    again = import_motion(tmp_path / "a.bvh")
    assert again["fps"] == 25.0
    np.testing.assert_allclose(again["transl"][0, 1] + rest["right"][0], [0.2, 0.1, 0.5], atol=1e-5)


def test_a_bvh_with_z_up_is_turned_and_its_rate_read_from_the_clock(tmp_path, rest):
    """x right, y away, z up, as in Blender: 24 frames a second in the file, 30 by the clock, the last frame held."""
    rows = []
    for frame, step in enumerate((0, 1, 2, 2, 2)):
        clock = [0.1 * step, 0.0, 0.0]  # about z, which is up
        rows.append([20.0, 50.0, -10.0, 30.0 if frame else 0.0, 0, 0, *[0.0] * 45, *clock])
    text = hierarchy(100.0, lambda v: np.array([v[0], v[2], -v[1]]), "clock_30fps")
    lines = "\n".join(" ".join(map(str, row)) for row in rows)
    (tmp_path / "a.bvh").write_text(f"{text}\nFrames: 5\nFrame Time: 0.041667\n{lines}\n")
    again = import_motion(tmp_path / "a.bvh")
    assert again["fps"] == 30.0
    assert len(again["transl"]) == 3
    np.testing.assert_allclose(again["transl"][:, 1] + rest["right"][0], [[0.2, 0.1, 0.5]] * 3, atol=1e-5)
    # 30 degrees about up are -30 about y down.
    np.testing.assert_allclose(again["global_orient"][:, 1, 1], np.radians([0, -30, -30]), atol=1e-5)


def test_a_mirrored_or_swapped_skeleton_is_refused(tmp_path):
    from hand_geometry.errors import MotionFileError

    text = hierarchy(100.0, lambda v: v * [-1, -1, -1], "")
    (tmp_path / "a.bvh").write_text(f"{text}\nFrames: 1\nFrame Time: 0.04\n" + " ".join(["0"] * 51) + "\n")
    with pytest.raises(MotionFileError, match="mirrored"):
        import_motion(tmp_path / "a.bvh")
    (tmp_path / "b.bvh").write_text((tmp_path / "a.bvh").read_text().replace("right_", "left_"))
    assert import_motion(tmp_path / "b.bvh")["valid"].tolist() == [[True, False]]


def test_euler_curves_take_the_nearer_of_the_two_triples():
    """A wrist whose middle angle passes 90 degrees: the other triple would jump by half a turn and back."""
    angles = np.stack([np.full(60, 20.0), np.linspace(60, 120, 60), np.full(60, -10.0)], 1)
    found = nearest_euler(Rotation.from_euler("ZXY", angles, degrees=True))
    np.testing.assert_allclose(found, angles, atol=1e-6)


@pytest.mark.parametrize("order", ["ZXY", "ZYX", "XYZ", "XZY", "YXZ", "YZX"])
def test_where_angles_lock_the_outer_ones_stay_where_they_were(order):
    angles = np.array([[10.0, 80, 5], [12, 90, 7], [14, 90, 9], [16, 80, 11], [0, -89, 0], [3, -90, 4]])
    found = nearest_euler(Rotation.from_euler(order, angles, degrees=True), order)
    off = Rotation.from_euler(order, found, degrees=True) * Rotation.from_euler(order, angles, degrees=True).inv()
    assert off.magnitude().max() < 1e-7
    assert np.abs(np.diff(found[:4], axis=0)).max() < 20


def test_a_wrist_near_the_pole_of_one_order_is_written_in_another(tmp_path):
    """Turning by a few degrees a frame about the pole of ZXY, the curves turn by a few degrees as well."""
    t = np.linspace(0, 1, 30)[:, None]
    turns = Rotation.from_rotvec([[np.pi / 2, 0, 0]]) * Rotation.from_rotvec(0.4 * np.sin(6 * t + [0, 1, 2]))
    flip = np.array([1, -1, -1])
    motion = {"global_orient": np.tile(turns.as_rotvec()[:, None] * flip, (1, 2, 1)),
              "hand_pose": np.zeros((30, 2, 15, 3)), "transl": np.zeros((30, 2, 3))}  # fmt: skip
    path = export_motion(tmp_path / "a.bvh", motion, fps=30)
    _, curves, _ = bvh(path)
    wrist = np.array(
        [curve for (joint, channel), curve in curves.items() if joint == "left_wrist" and "rot" in channel]
    )
    true = np.degrees((turns[:-1].inv() * turns[1:]).magnitude())
    assert np.abs(np.diff(wrist, axis=1)).max() < 1.5 * true.max()
    np.testing.assert_allclose(import_motion(path)["global_orient"], motion["global_orient"], atol=1e-5)
