"""Tiny files in datasets' own layouts, made of known parameters by each dataset's own convention.

Each writer computes the true joints by the formula by which that dataset poses its hands; nothing of the readers
is used.
"""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from .mano_files import SIDES, PlainHand, random_motion, turned

FRAMES = 12
MIRROR = np.array([-1.0, 1, 1])


@dataclass
class Written:
    """What was written: the true joints, and what else must come out.

    Attributes:
        folder: the dataset's.
        file: one that is damaged in a test.
        joints: (T, 2, 21, 3); of hands that are not seen, anything.
        valid: (T, 2).
        fps: of the files.
        clip: the one clip's name.
        captions: that its captions must begin with.
        makers: who said them.
        group: None if it has none.
        split: that the dataset states.
    """

    folder: Path
    file: Path
    joints: np.ndarray
    valid: np.ndarray
    fps: float
    clip: str
    captions: list[str] = field(default_factory=list)
    makers: list[str] = field(default_factory=list)
    group: str | None = None
    split: str = ""


Writer = Callable[[Path, Path], Written]


def save_object(path: Path, value: Any) -> Path:
    """As np.save of a dict does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.array(value, dtype=object), allow_pickle=True)
    return path


def dump(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def hands_of(mano: Path, mirrored: bool = False) -> list[PlainHand]:
    return [PlainHand(mano, side, mirrored) for side in SIDES]


def smplx_joints(hands: list[PlainHand], m: dict[str, np.ndarray], transl: np.ndarray) -> np.ndarray:
    """smplx: v = R (v_l - J0) + J0 + t."""
    out = np.zeros((len(transl), 2, 21, 3))
    for t in range(len(transl)):
        for s, hand in enumerate(hands):
            betas = m["betas"][s]
            rest = hand.rest(betas)[0]
            points = hand.local(m["pose"][t, s], betas)
            out[t, s] = turned(m["orient"][t, s], points - rest) + rest + transl[t, s]
    return out


def wrist_joints(hands: list[PlainHand], m: dict[str, np.ndarray]) -> np.ndarray:
    """manopth with center_idx=0: v = R (v_l - J0) + t, so that t is the wrist."""
    out = np.zeros((len(m["place"]), 2, 21, 3))
    for t in range(len(out)):
        for s, hand in enumerate(hands):
            points = hand.local(m["pose"][t, s], m["betas"][s])
            out[t, s] = turned(m["orient"][t, s], points - points[0]) + m["place"][t, s]
    return out


def write_hawor(folder: Path, mano: Path) -> Written:
    m = random_motion(FRAMES, 1)
    valid = np.ones((FRAMES, 2))
    arrays = [
        m["place"].swapaxes(0, 1),
        m["orient"].swapaxes(0, 1),
        m["pose"].swapaxes(0, 1).reshape(2, FRAMES, 45),
        np.repeat(m["betas"][:, None], FRAMES, 1),
        valid.T,
    ]
    path = folder / "kitchen" / "world_space_res.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps([torch.tensor(a, dtype=torch.float32) for a in arrays]))
    seen = np.ones((FRAMES, 2), bool)
    seen[4:7, 0] = False  # HaWoR filled these in: valid is 1, but no chunk holds them
    for side, chunks in enumerate([[(0, 4), (7, 12)], [(0, 12)]]):
        for first, end in chunks:
            name = f"{first}_{end - 1}.json"
            dump(
                path.parent / "cam_space" / str(side) / name, json.dumps({"init_trans": [[[0.0] * 3] * (end - first)]})
            )
    joints = smplx_joints(hands_of(mano, mirrored=True), m, m["place"])
    return Written(folder, path, joints, seen, 30, "kitchen")


def write_clutch(folder: Path, mano: Path) -> Written:
    m = random_motion(FRAMES, 2)
    m["betas"] = np.zeros((2, 10))
    keys = {"pred_trans": "place", "pred_rot": "orient", "pred_hand_pose": "pose"}
    tree = {key: torch.tensor(m[name].swapaxes(0, 1).copy(), dtype=torch.float32) for key, name in keys.items()}
    path = save_object(folder / "seq_1" / "mano_smoothened.npy", tree)
    dump(path.parent / "vila.json", json.dumps({"summary": "The person peels a carrot."}))
    joints = smplx_joints(hands_of(mano, mirrored=True), m, m["place"])
    return Written(folder, path, joints, np.ones((FRAMES, 2), bool), 30, "seq_1/mano_smoothened",
                   ["The person peels a carrot."], ["clutch summary"])  # fmt: skip


def write_vitra(folder: Path, mano: Path) -> Written:
    """The left hand is the right model, mirrored in x, then turned: v = R (S (v_r - J0_r)) + wrist."""
    m = random_motion(FRAMES, 3)
    right = PlainHand(mano, "right")
    valid = np.ones((FRAMES, 2), bool)
    valid[5:8, 1] = False
    joints = np.zeros((FRAMES, 2, 21, 3))
    for t in range(FRAMES):
        for s in range(2):
            points = right.local(m["pose"][t, s], m["betas"][s])
            points = (points - points[0]) * (MIRROR if s == 0 else 1)
            joints[t, s] = turned(m["orient"][t, s], points) + m["place"][t, s]
    episode: dict[str, Any] = {
        "video_name": "03cc49c3",
        "video_decode_frame": np.arange(100, 100 + FRAMES),
        "extrinsics": np.tile(np.eye(4), (FRAMES, 1, 1)),
        "intrinsics": np.eye(3),
        "anno_type": "right",
        "text": {"left": [], "right": [("Pick up the cup.", (0, FRAMES))]},
        "text_rephrase": {"left": [], "right": [(["The right hand lifts a cup."], (0, FRAMES))]},
    }
    for s, side in enumerate(SIDES):
        kept = valid[:, s]
        pose = Rotation.from_rotvec(m["pose"][:, s].reshape(-1, 3)).as_matrix().reshape(FRAMES, 15, 3, 3)
        orient = Rotation.from_rotvec(m["orient"][:, s]).as_matrix()
        pose[~kept], orient[~kept] = np.eye(3), np.eye(3)
        episode[side] = {
            "beta": m["betas"][s],
            "hand_pose": pose,
            "global_orient_worldspace": orient,
            "transl_worldspace": m["place"][:, s],
            "kept_frames": kept.astype(int),
        }
    path = save_object(folder / "Ego4D/episodic_annotations/Ego4D_03cc49c3_ep_000000.npy", episode)
    return Written(folder, path, joints, valid, 15, "Ego4D/episodic_annotations/Ego4D_03cc49c3_ep_000000",
                   ["Pick up the cup.", "The right hand lifts a cup."],
                   ["vitra text (right)", "vitra text_rephrase (right)"], "03cc49c3")  # fmt: skip


def write_ply(path: Path, vertices: np.ndarray, binary: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = "binary_little_endian" if binary else "ascii"
    head = f"ply\nformat {kind} 1.0\nelement vertex {len(vertices)}\n"
    head += "property double x\nproperty double y\nproperty double z\n"
    head += "element face 0\nproperty list uchar int vertex_indices\nend_header\n"
    body = (
        vertices.astype("<f8").tobytes()
        if binary
        else "\n".join(" ".join(map(repr, v)) for v in vertices.tolist()).encode()
    )
    path.write_bytes(head.encode() + body)


def write_grab(folder: Path, mano: Path) -> Written:
    """The subject's template takes the place of the mean shape."""
    frames = 16  # at 120 a second
    m = random_motion(frames, 4)
    m["betas"] = np.zeros((2, 10))
    hands, stored = [], {}
    for s, (key, side) in enumerate(zip(("lhand", "rhand"), SIDES, strict=True)):
        plain = PlainHand(mano, side)
        template = plain.template * 1.07 + [0.002, 0, 0]
        hands.append(PlainHand(mano, side, template=template))
        name = f"tools/subject_meshes/male/s1_{key}.ply"
        write_ply(folder / name, template, binary=s == 0)
        flat = m["pose"][:, s].reshape(frames, 45)
        params = {
            "global_orient": m["orient"][:, s].astype(np.float32),
            "hand_pose": (flat @ plain.components.T)[:, :24].astype(np.float32),
            "fullpose": flat.astype(np.float32),
            "transl": m["place"][:, s].astype(np.float32),
        }
        stored[key] = {"params": params, "vtemp": name}
    rest = {
        "gender": "male", "sbj_id": "s1", "obj_name": "mug", "motion_intent": "drink", "framerate": 120.0,
        "n_frames": frames, "n_comps": 24, "body": {"params": {}},
        "contact": {"object": np.zeros((frames, 3), np.int8)},
    }  # fmt: skip
    path = folder / "grab/s1/mug_drink_1.npz"
    path.parent.mkdir(parents=True)
    np.savez(path, **{k: np.array(v, dtype=object) for k, v in (rest | stored).items()})
    joints = smplx_joints(hands, m, m["place"])
    return Written(folder, path, joints, np.ones((frames, 2), bool), 120, "grab/s1/mug_drink_1",
                   ["drink mug"], ["grab file name"], "object mug", "test")  # fmt: skip


def write_arctic(folder: Path, mano: Path) -> Written:
    m, hands = random_motion(FRAMES, 5), hands_of(mano)
    stored = {
        side: {
            "rot": m["orient"][:, s],
            "pose": m["pose"][:, s].reshape(FRAMES, 45) - hands[s].mean,
            "trans": m["place"][:, s],
            "shape": m["betas"][s] if side == "right" else np.tile(m["betas"][s], (FRAMES, 1)),
            "fitting_err": np.zeros(FRAMES),
        }
        for s, side in enumerate(SIDES)
    }
    path = save_object(folder / "raw_seqs/s05/box_grab_01.mano.npy", stored)
    joints = smplx_joints(hands, m, m["place"])
    return Written(folder, path, joints, np.ones((FRAMES, 2), bool), 30, "s05/box_grab_01",
                   ["grab box"], ["arctic file name"], "s05")  # fmt: skip


def write_gigahands(folder: Path, mano: Path) -> Written:
    """EasyMocap: v = R v_l + t, about the template's origin; rows are the sorted union of the frames of both hands."""
    m, hands = random_motion(FRAMES, 6), hands_of(mano)
    chosen = {"left": [11, 2, 1, 0, 3, 4, 8, 9, 10], "right": [0, 1, 2, 3, 4, 5, 6, 10, 11]}  # frame 7: neither
    union = sorted(set(chosen["left"]) | set(chosen["right"]))
    valid = np.array([[t in chosen[side] for side in SIDES] for t in range(FRAMES)])
    joints = np.zeros((FRAMES, 2, 21, 3))
    stored = {}
    for s, (hand, side) in enumerate(zip(hands, SIDES, strict=True)):
        for t in range(FRAMES):
            joints[t, s] = turned(m["orient"][t, s], hand.local(m["pose"][t, s], m["betas"][s])) + m["place"][t, s]
        poses = m["pose"][union, s].reshape(-1, 45) - hand.mean
        stored[side] = {
            "poses": np.concatenate([np.full((len(union), 3), 7.0), poses], 1).tolist(),
            "Rh": m["orient"][union, s].tolist(),
            "Th": m["place"][union, s].tolist(),
            "shapes": m["betas"][s][None].tolist(),
        }
        dump(folder / f"hand_poses/p001-tea/keypoints_3d/003/chosen_frames_{side}.json", json.dumps(chosen[side]))
    path = dump(folder / "hand_poses/p001-tea/params/003.json", json.dumps(stored))
    row = {"scene": "p001-tea", "sequence": ["003"], "start_frame_id": 0, "end_frame_id": -1,
           "clarify_annotation": "Stir the tea.",
           "rewritten_annotation": ["A spoon goes round in the cup."]}  # fmt: skip
    bad = row | {"clarify_annotation": "Buggy"}
    dump(folder / "annotations_v2.jsonl", "\n".join(map(json.dumps, [row, bad])))
    return Written(folder, path, joints, valid, 30, "p001-tea/003/000",
                   ["Stir the tea.", "A spoon goes round in the cup."],
                   ["gigahands clarify_annotation", "gigahands rewritten_annotation"], "p001-tea")  # fmt: skip


def write_hot3d(folder: Path, mano: Path) -> Written:
    m, hands = random_motion(FRAMES, 7), hands_of(mano, mirrored=True)
    m["betas"][1] = m["betas"][0]
    coefficients = np.random.default_rng(7).normal(scale=0.3, size=(FRAMES, 2, 15))
    for s, hand in enumerate(hands):
        m["pose"][:, s] = (coefficients[:, s] @ hand.components[:15] + hand.mean).reshape(FRAMES, 15, 3)
    valid = np.ones((FRAMES, 2), bool)
    valid[3:5, 0] = False
    lines = []
    for t in range(FRAMES):
        poses = {}
        for s in range(2):
            if valid[t, s]:
                x, y, z, w = Rotation.from_rotvec(m["orient"][t, s]).as_quat()
                xform = {"t_xyz": m["place"][t, s].tolist(), "q_wxyz": [w, x, y, z]}
                poses[str(s)] = {
                    "pose": coefficients[t, s].tolist(),
                    "betas": m["betas"][s].tolist(),
                    "wrist_xform": xform,
                }
        stamp = 1_000_000_000 + round(t * 1e9 / 30)
        lines.append({"timestamp_ns": stamp, "hand_poses": poses})
        twin = json.loads(json.dumps(lines[-1]))  # the other camera's stamp, with another pose
        twin["timestamp_ns"] += 90_000
        for hand_pose in twin["hand_poses"].values():
            hand_pose["wrist_xform"]["t_xyz"][0] += 0.01
        lines.append(twin)
    path = dump(folder / "P0003_c701bd11/mano_hand_pose_trajectory.jsonl", "\n".join(map(json.dumps, lines)))
    dump(path.parent / "metadata.json", json.dumps({"headset": "Aria", "recording_name": "P0003_c701bd11"}))
    joints = smplx_joints(hands, m, m["place"])
    return Written(folder, path, joints, valid, 30, "P0003_c701bd11", group="P0003")


def write_hot3d_clip(folder: Path, mano: Path) -> Written:
    """As HOT3D-Clips: one archive a clip, an entry a frame; a frame whose hands are not seen has an empty one."""
    m, hands = random_motion(FRAMES, 8), hands_of(mano, mirrored=True)
    m["betas"][1] = m["betas"][0]
    coefficients = np.random.default_rng(8).normal(scale=0.3, size=(FRAMES, 2, 15))
    for s, hand in enumerate(hands):
        m["pose"][:, s] = (coefficients[:, s] @ hand.components[:15] + hand.mean).reshape(FRAMES, 15, 3)
    valid = np.ones((FRAMES, 2), bool)
    valid[3:5, 0] = valid[7] = False
    path = folder / "train_aria/clip-001849.tar"
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w") as archive:
        for t in reversed(range(FRAMES)):
            poses = {
                side: {
                    "mano_pose": {
                        "thetas": coefficients[t, s].tolist(),
                        "wrist_xform": [*m["orient"][t, s].tolist(), *m["place"][t, s].tolist()],
                    },
                    "boxes_amodal": {},
                }
                for s, side in enumerate(SIDES)
                if valid[t, s]
            }
            add_entry(archive, f"{t:06d}.image_214-1.jpg", b"no picture")
            add_entry(archive, f"{t:06d}.hands.json", json.dumps(poses).encode())
            add_entry(archive, f"{t:06d}.info.json", b"{}")
        add_entry(
            archive, "__hand_shapes.json__", json.dumps({"mano": m["betas"][0].tolist(), "umetrack": {}}).encode()
        )
    known = {"1849": {"sequence_id": "P0003_c701bd11", "device": "Aria", "timestamps_ns": []}}
    dump(folder / "clip_definitions.json", json.dumps(known))
    joints = smplx_joints(hands, m, m["place"])
    return Written(folder, path, joints, valid, 30, "train_aria/clip-001849", group="P0003")


def add_entry(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def tensor_bytes(value: Any) -> bytes:
    """A plain pickle of tensors."""
    stream = io.BytesIO()
    pickle.dump(value, stream)
    return stream.getvalue()


WRITERS: dict[str, Writer] = {
    "hawor": write_hawor,
    "clutch": write_clutch,
    "vitra": write_vitra,
    "grab": write_grab,
    "arctic": write_arctic,
    "gigahands": write_gigahands,
    "hot3d": write_hot3d,
}
