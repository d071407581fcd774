"""More of `dataset_files`: trackers' results, sets by camera or frame, and devices that give joints alone."""

from __future__ import annotations

import csv
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hand_geometry import HandPair, relaxed_hand
from scipy.spatial.transform import Rotation

from .dataset_files import (
    FRAMES,
    MIRROR,
    Writer,
    Written,
    dump,
    hands_of,
    smplx_joints,
    wrist_joints,
)
from .mano_files import SIDES, PlainHand, random_motion, turned

ALL_SEEN = np.ones((FRAMES, 2), bool)


def write_hamer(folder: Path, mano: Path) -> Written:
    """Every crop is a right hand; a left one's mesh, with its translation of the crop, is mirrored in x before it."""
    m, right = random_motion(FRAMES, 11), PlainHand(mano, "right")
    joints = np.zeros((FRAMES, 2, 21, 3))
    rows: dict[str, list[Any]] = {
        key: [] for key in ("frame", "is_right", "global_orient", "hand_pose", "betas", "cam_t")
    }
    valid = ALL_SEEN.copy()
    valid[6, 1] = False
    for t in range(FRAMES):
        for s in range(2):
            betas = m["betas"][s]
            rest = right.rest(betas)[0]
            points = turned(m["orient"][t, s], right.local(m["pose"][t, s], betas) - rest) + rest
            joints[t, s] = points * (MIRROR if s == 0 else 1) + m["place"][t, s]
            if valid[t, s]:
                rows["frame"].append(t)
                rows["is_right"].append(s)
                rows["global_orient"].append(Rotation.from_rotvec(m["orient"][t, s]).as_matrix()[None])
                rows["hand_pose"].append(Rotation.from_rotvec(m["pose"][t, s]).as_matrix())
                rows["betas"].append(betas)
                rows["cam_t"].append(m["place"][t, s])
    path = folder / "clip.npz"
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{key: np.array(value) for key, value in rows.items()}, fps=np.array(25.0))
    return Written(folder, path, joints, valid, 25, "clip")


def write_wilor_mini(folder: Path, mano: Path) -> Written:
    """Rotation vectors of the left model; a second, smaller right hand is somebody else's."""
    m = random_motion(FRAMES, 12)
    frames = []
    for t in range(FRAMES):
        hands = []
        for s in (0, 1, 1):
            extra = len(hands) == 2
            predictions = {
                "global_orient": m["orient"][t, s][None, None],
                "hand_pose": m["pose"][t, s][None],
                "betas": m["betas"][s][None],
                "pred_cam_t_full": m["place"][t, s][None] + 0.3 * extra,
                "scaled_focal_length": 5000.0,
            }
            box = [10.0, 10.0, 40.0, 50.0] if extra else [10.0, 10.0, 90.0, 95.0]
            hands.append({"hand_bbox": box, "is_right": float(s), "wilor_preds": predictions})
        frames.append(hands)
    path = folder / "videos/clip.pkl"
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps(frames))
    joints = smplx_joints(hands_of(mano, mirrored=True), m, m["place"])
    return Written(folder, path, joints, ALL_SEEN, 15, "videos/clip")


def write_h2o(folder: Path, mano: Path) -> Written:
    """Each file in the frame of a camera that moves; the truth is in the world."""
    m, hands = random_motion(FRAMES, 13), hands_of(mano)
    in_camera = smplx_joints(hands, m, m["place"])
    joints, valid = np.zeros_like(in_camera), ALL_SEEN.copy()
    valid[2, 0] = False
    base = folder / "subject3/k2/0/cam4"
    for t in range(FRAMES):
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_rotvec([0.1 * t, 0.5, -0.2]).as_matrix()
        pose[:3, 3] = [0.2, 0.01 * t, 1.0]
        joints[t] = in_camera[t] @ pose[:3, :3].T + pose[:3, 3]
        line = []
        for s in range(2):
            hand = [m["place"][t, s], m["orient"][t, s], m["pose"][t, s].ravel(), m["betas"][s]]
            line += [float(valid[t, s]), *np.concatenate(hand)]
        dump(base / f"hand_pose_mano/{t:06d}.txt", " ".join(map(repr, map(float, line))))
        dump(base / f"cam_pose/{t:06d}.txt", " ".join(map(repr, pose.ravel().tolist())))
        dump(folder / f"subject3/k2/0/cam0/hand_pose_mano/{t:06d}.txt", "0 " * 124)
    labels = "id path action_label start_act end_act start_frame end_frame\n1 subject3/k2/0 23 0 11 0 11\n"
    dump(folder / "action_labels/action_val.txt", labels)
    return Written(folder, base / "hand_pose_mano/000000.txt", joints, valid, 30, "subject3/k2/0/00",
                   ["pour milk"], ["h2o action label"], split="val")  # fmt: skip


def write_interhand(folder: Path, mano: Path) -> Written:
    m, hands = random_motion(FRAMES, 14), hands_of(mano, mirrored=True)
    valid = ALL_SEEN.copy()
    valid[3, 1] = valid[7, 0] = False
    frames: dict[str, Any] = {}
    for t in range(FRAMES):
        both: dict[str, Any] = {}
        for s, (side, hand) in enumerate(zip(SIDES, hands, strict=True)):
            pose = np.concatenate([m["orient"][t, s], m["pose"][t, s].ravel() - hand.mean])
            stored = {"pose": pose.tolist(), "shape": m["betas"][s].tolist(), "trans": m["place"][t, s].tolist()}
            if valid[t, s]:
                both[side] = stored
            elif s == 1:
                both[side] = None  # the other way to say missing: no such key
        frames[str(3000 + 6 * t)] = both
    base = folder / "annotations/val"
    path = dump(base / "InterHand2.6M_val_MANO_NeuralAnnot.json", json.dumps({"0": frames}))
    images = [{"capture": 0, "frame_idx": int(f), "seq_name": "0266_dh_pray", "camera": "400262"} for f in frames]
    dump(base / "InterHand2.6M_val_data.json", json.dumps({"images": images}))
    joints = smplx_joints(hands, m, m["place"])
    return Written(folder, path, joints, valid, 5, "val/Capture0/0266_dh_pray",
                   ["pray, both hands"], ["interhand sequence name"], "val/Capture0", "val")  # fmt: skip


def write_dexycb(folder: Path, mano: Path) -> Written:
    """One left hand, whose betas stand in a YAML with Python tuples near by."""
    m, hands = random_motion(FRAMES, 15), hands_of(mano)
    pose = np.zeros((FRAMES, 1, 51), np.float32)
    for t in range(FRAMES):
        coefficients = (m["pose"][t, 0].ravel() - hands[0].mean) @ hands[0].components.T
        pose[t, 0] = np.concatenate([m["orient"][t, 0], coefficients, m["place"][t, 0]])
    pose[4] = 0
    valid = np.zeros((FRAMES, 2), bool)
    valid[:, 0] = True
    valid[4] = False
    base = folder / "20200813-subject-02/20200813_145653"
    path = base / "pose.npz"
    base.mkdir(parents=True)
    np.savez(path, pose_m=pose, pose_y=np.zeros((FRAMES, 1, 7), np.float32))
    meta = "serials: !!python/tuple ['836212060125']\nnum_frames: 12\n"
    meta += "mano_sides: [left]\nmano_calib: ['20200813-subject-02_left']\n"
    dump(base / "meta.yml", meta)
    betas = "\n".join(f"- {x!r}" for x in m["betas"][0].tolist())
    dump(folder / "calibration/mano_20200813-subject-02_left/mano.yml", f"betas:\n{betas}\n")
    joints = smplx_joints(hands, m, m["place"])
    return Written(folder, path, joints, valid, 30, "20200813-subject-02/20200813_145653", group="20200813-subject-02")


def write_taco(folder: Path, mano: Path) -> Written:
    m = random_motion(FRAMES, 16)
    m["betas"][0] = 0  # no shape file: zeros
    base = folder / "Hand_Poses/(stir, spoon, bowl)/20230927_027"
    base.mkdir(parents=True)
    valid = ALL_SEEN.copy()
    valid[5, 1] = False
    for s, side in enumerate(SIDES):
        frames = {
            f"{t:05d}": {
                "hand_pose": torch.tensor(np.concatenate([m["orient"][t, s], m["pose"][t, s].ravel()])),
                "hand_trans": torch.tensor(m["place"][t, s]),
            }
            for t in range(FRAMES)
            if valid[t, s]
        }
        (base / f"{side}_hand.pkl").write_bytes(pickle.dumps(frames))
    shape = {"hand_shape": torch.tensor(m["betas"][1])}
    (base / "right_hand_shape.pkl").write_bytes(pickle.dumps(shape))
    return Written(folder, base / "left_hand.pkl", wrist_joints(hands_of(mano), m), valid, 30,
                   "(stir, spoon, bowl)/20230927_027", ["stir the bowl with the spoon"], ["taco folder name"],
                   "20230927")  # fmt: skip


def write_oakink2(folder: Path, mano: Path) -> Written:
    m = random_motion(16, 17)
    ids = list(range(40, 56))
    raw: dict[int, Any] = {}
    for t, frame in enumerate(ids):
        raw[frame] = {}
        for s, key in enumerate(("lh", "rh")):
            turns = np.concatenate([m["orient"][t, s][None], m["pose"][t, s]])
            wxyz = np.roll(Rotation.from_rotvec(turns).as_quat(), 1, axis=1)
            raw[frame] |= {
                f"{key}__pose_coeffs": torch.tensor(wxyz[None]),
                f"{key}__tsl": torch.tensor(m["place"][t, s][None]),
                f"{key}__betas": torch.tensor(m["betas"][s][None]),
            }
    name = "scene_01__A001++seq__0a1b__2023-04-11"
    path = folder / f"anno_preview/{name}.pkl"
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps({"mocap_frame_id_list": ids, "frame_id_list": ids[::4], "raw_mano": raw}))
    described = {"((0, 10), (2, 16))": {"seg_desc": "Screw the lid on."}, "(None, (90, 99))": {"seg_desc": "Later."}}
    dump(folder / f"program/desc_info/{name}.json", json.dumps(described))
    return Written(folder, path, wrist_joints(hands_of(mano), m), np.ones((16, 2), bool), 120, f"{name}/00",
                   ["Screw the lid on."], ["oakink2 desc_info"], "scene_01__A001")  # fmt: skip


def write_ho3d(folder: Path, mano: Path) -> Written:
    """Parameters in OpenGL's camera (y up, the hand at negative z); the truth with y down, z ahead."""
    m = random_motion(FRAMES, 18)
    m["place"] = m["place"] * [1, 1, -1]
    hands = hands_of(mano)
    joints = smplx_joints(hands, m, m["place"]) * [1, -1, -1]
    valid = np.zeros((FRAMES, 2), bool)
    valid[:, 1] = True
    valid[6, 1] = False
    for t in range(FRAMES):
        frame: dict[str, Any] = {"camMat": np.eye(3), "objName": "010_potted_meat_can", "handPose": None}
        if valid[t, 1]:
            frame |= {
                "handPose": np.concatenate([m["orient"][t, 1], m["pose"][t, 1].ravel()]),
                "handTrans": m["place"][t, 1],
                "handBeta": m["betas"][1],
            }
        path = folder / f"train/MC1/meta/{t:04d}.pkl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(frame, protocol=2))
    return Written(folder, path, joints, valid, 30, "train/MC1", group="MC")


def open_joints(frames: int, seed: int) -> np.ndarray:
    """Keypoints (T, 2, 21, 3) of open hands near rest, which move."""
    rng = np.random.default_rng(seed)
    time = torch.linspace(0, 1, frames)[:, None]
    orient, pose, transl = [], [], []
    for side in SIDES:
        rest = relaxed_hand(side)
        orient.append(rest["global_orient"] + 0.3 * time * torch.tensor(rng.normal(size=3)).float())
        pose.append(rest["hand_pose"] * (1 + 0.3 * time[..., None]))
        transl.append(rest["transl"] + 0.05 * time * torch.tensor(rng.normal(size=3)).float())
    stacked = [torch.stack(parts, 1) for parts in (orient, pose, transl)]
    return HandPair.load()(stacked[0], stacked[1], None, stacked[2], vertices=False).joints.double().numpy()


def leap_frames(joints: np.ndarray, valid: np.ndarray, fps: float) -> list[dict[str, Any]]:
    frames = []
    for t in range(len(joints)):
        frame: dict[str, Any] = {"id": t, "timestamp": 5_000_000 + round(t * 1e6 / fps), "hands": [], "pointables": []}
        for s, side in enumerate(SIDES):
            if valid[t, s]:
                frame["hands"].append({"id": 20 + s, "type": side})
                for finger in range(5):
                    names = ("mcpPosition", "pipPosition", "dipPosition", "tipPosition")
                    points = joints[t, s, 1 + 4 * finger : 5 + 4 * finger] * [1000, -1000, -1000]
                    frame["pointables"].append(
                        {"handId": 20 + s, "type": finger} | dict(zip(names, points.tolist(), strict=True))
                    )
        frames.append(frame)
    return frames


def write_leap(folder: Path, mano: Path) -> Written:
    joints, valid = open_joints(24, 21), np.ones((24, 2), bool)
    valid[20:, 0] = False
    metadata = {"title": "Clap", "description": "Both hands clap."}
    path = dump(folder / "clap.json", json.dumps({"metadata": metadata, "frames": leap_frames(joints, valid, 100)}))
    return Written(folder, path, joints, valid, 100, "clap", ["Both hands clap."], ["leap description"])


def write_egodex(folder: Path, mano: Path) -> Written:
    import h5py

    joints, valid = open_joints(FRAMES, 22), ALL_SEEN.copy()
    valid[4, 1] = False
    order = ["Hand", "ThumbKnuckle", "ThumbIntermediateBase", "ThumbIntermediateTip", "ThumbTip"]
    for finger in ("Index", "Middle", "Ring", "Little"):
        order += [f"{finger}Finger{part}" for part in ("Knuckle", "IntermediateBase", "IntermediateTip", "Tip")]
    path = folder / "part1/stack_cups/7.hdf5"
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        file["camera/intrinsic"] = np.eye(3)
        for s, side in enumerate(SIDES):
            for k, name in enumerate(order):
                transform = np.tile(np.eye(4, dtype=np.float32), (FRAMES, 1, 1))
                transform[:, :3, 3] = joints[:, s, k]
                file[f"transforms/{side}{name}"] = transform
                file[f"confidences/{side}{name}"] = valid[:, s].astype(np.float32) * 0.9
        file.attrs["llm_type"] = "reversible"
        file.attrs["llm_description"] = "Stack the cups."
        file.attrs["llm_description2"] = "Unstack the cups."
        file.attrs["which_llm_description"] = "2"
    return Written(folder, path, joints, valid, 30, "part1/stack_cups/7",
                   ["Unstack the cups."], ["egodex llm_description2"])  # fmt: skip


def write_holoassist(folder: Path, mano: Path) -> Written:
    joints, valid = open_joints(FRAMES, 23), ALL_SEEN.copy()
    valid[:3, 0] = False
    base = folder / "R007-7July-DSLR/Export_py/Hands"
    where = [1, 2, 3, 4, 5, 7, 8, 9, 10, 12, 13, 14, 15, 17, 18, 19, 20, 22, 23, 24, 25]  # 6, 11, 16, 21: metacarpals
    for s, side in enumerate(("Left", "Right")):
        lines = []
        for t in range(FRAMES):
            poses = np.tile(np.eye(4), (26, 1, 1))
            poses[where, :3, 3] = joints[t, s]
            if not valid[t, s]:
                poses[:] = np.nan
            flags = np.full(26, float(valid[t, s]))
            tracked = 1 - flags  # what the device infers is valid and not tracked
            stamp = 637_600_000_000_000_000 + round(t * 1e7 / 30)
            numbers = [float(t), float(stamp), 1.0, *poses.ravel(), *flags, *tracked]
            lines.append("\t".join(f"{x:.0f}" if x > 1e15 else repr(float(x)) for x in numbers))
        dump(base / f"{side}_sync.txt", "\n".join(lines))
    told = [
        ("Coarse grained action", 0.0, 9.0, {"Action sentence": "The student opens the camera."}),
        ("Fine grained action", 0.1, 0.3, {"Verb": "pull", "Noun": "lid"}),
        ("Narration", 50.0, 60.0, {"Long form description": "Much later."}),
    ]
    events = [dict(zip(("label", "start", "end", "attributes"), event, strict=True)) for event in told]
    videos = [{"video_name": "R007-7July-DSLR", "events": events}]
    dump(folder / "data-annotation-trainval-v1_1.json", json.dumps(videos))
    return Written(folder, base / "Left_sync.txt", joints, valid, 30, "R007-7July-DSLR",
                   ["The student opens the camera.", "pull lid"],
                   ["holoassist Coarse grained action", "holoassist Fine grained action"],
                   "R007-7July-DSLR")  # fmt: skip


def write_aria(folder: Path, mano: Path) -> Written:
    """Landmarks in the frame of a device that moves, beside its trajectory; the truth in the world."""
    joints, valid = open_joints(FRAMES, 24), ALL_SEEN.copy()
    valid[5, 0] = False
    landmark = [5, None, 6, 7, 0, 8, 9, 10, 1, 11, 12, 13, 2, 14, 15, 16, 3, 17, 18, 19, 4]
    head = ["tracking_timestamp_us"]
    for side in SIDES:
        head.append(f"{side}_tracking_confidence")
        head += [f"{axis}_{side}_landmark_{k}_device" for k in range(21) for axis in ("tx", "ty", "tz")]
        head += [f"{name}_{side}_device_wrist" for name in ("tx", "ty", "tz", "qx", "qy", "qz", "qw")]
    rows, path_rows = [], []
    for t in range(FRAMES):
        turn, move = Rotation.from_rotvec([0.02 * t, 0.3, 0.1]), np.array([0.1, 0.01 * t, 1.5])
        row: list[float] = [1_000_000 + 100_000 * t]
        for s in range(2):
            points = np.full((21, 3), -1.0)
            if valid[t, s]:
                device = turn.inv().apply(joints[t, s] - move)
                for k, target in enumerate(landmark):
                    if target is not None:
                        points[target] = device[k]
                points[20] = device[9]
            row += [0.9 if valid[t, s] else -1.0, *points.ravel(), *[0.0] * 7]
        rows.append(row)
        path_rows.append([1_000_000 + 100_000 * t + 300, *move, *turn.as_quat()])
    base = folder / "rec1"
    base.mkdir(parents=True)
    with open(base / "hand_tracking_results.csv", "w", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    names = ["tracking_timestamp_us", *(f"t{a}_world_device" for a in "xyz"), *(f"q{a}_world_device" for a in "xyzw")]
    with open(base / "closed_loop_trajectory.csv", "w", newline="") as file:
        csv.writer(file).writerows([names, *path_rows])
    return Written(folder, base / "hand_tracking_results.csv", joints, valid, 10, "rec1/hand_tracking_results")


def write_handx(folder: Path, mano: Path) -> Written:
    joints = open_joints(FRAMES, 25)
    order = [0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20]
    stored = np.zeros_like(joints)
    stored[:, :, order] = joints  # in MANO's order
    entry = {
        "motion": stored.astype(np.float32),
        "left_annotation": ["The left hand opens."],
        "right_annotation": ["The right hand turns."],
        "interaction_annotation": ["The hands come together."],
    }
    path = folder / "test_can_pos_all_wotextfeat.npz"
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{"0": np.array(entry, dtype=object)})
    return Written(folder, path, joints, ALL_SEEN, 30, "test/0",
                   ["The hands come together.", "The left hand opens.", "The right hand turns."],
                   ["handx interaction_annotation", "handx left_annotation", "handx right_annotation"],
                   split="test")  # fmt: skip


MANO_WRITERS: dict[str, Writer] = {
    "hamer": write_hamer,
    "wilor-mini": write_wilor_mini,
    "h2o": write_h2o,
    "interhand": write_interhand,
    "dexycb": write_dexycb,
    "taco": write_taco,
    "oakink2": write_oakink2,
    "ho3d": write_ho3d,
}

KEYPOINT_WRITERS: dict[str, Writer] = {
    "leap": write_leap,
    "egodex": write_egodex,
    "holoassist": write_holoassist,
    "aria": write_aria,
    "handx": write_handx,
}

__all__ = ["KEYPOINT_WRITERS", "MANO_WRITERS", "leap_frames", "open_joints"]
