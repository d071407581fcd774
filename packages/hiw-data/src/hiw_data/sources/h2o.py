"""H2O: two hands that manipulate objects, one text file a frame and camera.

Rules: F+, C1, C4 (each file is in its camera's frame; `cam_pose` is camera to world), left shape components as shipped.
A line holds 124 numbers: for the left, then the right hand a flag, 3 of translation, 48 of pose and 10 betas. Of the
cameras of a sequence one is read: cam4, the wearer's, before the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from hiw_data.sources.hand_recording import LAYOUT_ONLY, Context, Dataset, HandRecording, Narration
from hiw_data.sources.mano_rules import change_frame, wrist_of_transl
from hiw_data.sources.plain_files import numbers

FPS = 30.0
ACTIONS = [
    "background",
    "grab book",
    "grab espresso",
    "grab lotion",
    "grab spray",
    "grab milk",
    "grab cocoa",
    "grab chips",
    "grab cappuccino",
    "place book",
    "place espresso",
    "place lotion",
    "place spray",
    "place milk",
    "place cocoa",
    "place chips",
    "place cappuccino",
    "open lotion",
    "open milk",
    "open chips",
    "close lotion",
    "close milk",
    "close chips",
    "pour milk",
    "take out espresso",
    "take out cocoa",
    "take out chips",
    "take out cappuccino",
    "put in espresso",
    "put in cocoa",
    "put in cappuccino",
    "apply lotion",
    "apply spray",
    "read book",
    "read espresso",
    "spray spray",
    "squeeze lotion",
]
_CAMERAS = ("cam4", "cam0", "cam1", "cam2", "cam3")
_NAMES = ("hand_pose_mano", "hand_pose_MANO")
_VAL = ("k2", "o1", "o2")


def read_h2o(path: Path, context: Context) -> Iterator[HandRecording]:
    """The sequence whose camera's folder of hand poses is given: one recording an action, or the whole."""
    files = sorted(path.glob("*.txt"), key=lambda file: int(file.stem))
    ids = np.array([int(file.stem) for file in files])
    rows, frames = ids - ids[0], int(ids[-1] - ids[0]) + 1
    if frames > 10 * len(files) + 100:
        raise ValueError(f"{len(files)} files over {frames} frames")
    table = np.stack([numbers(_floats(file), 124) for file in files])
    poses = _camera_poses(path.parent / "cam_pose", files)
    name = path.parents[1].relative_to(context.folder).as_posix()
    subject, scene = path.parents[3].name, path.parents[2].name
    split = _split(subject, scene)
    whole = HandRecording.empty(
        name,
        context.fps or FPS,
        frames,
        split=split,
        group=None if split else subject,
        attributes={"subject": subject, "camera": path.parent.name},
        notes=() if poses is not None else ("no cam_pose, so hands are in the camera's own frame",),
    )
    for side in range(2):
        hand = table[:, 62 * side : 62 * side + 62]
        wrist = wrist_of_transl(hand[:, 1:4], context.hands().rest_wrist(side, hand[:, 52:]))
        orient = hand[:, 4:7]
        if poses is not None:
            orient, wrist = change_frame(orient, wrist, poses[:, :3, :3], poses[:, :3, 3])
        seen = hand[:, 0] != 0
        betas = hand[seen, 52:].mean(0) if seen.any() else None
        whole.put_rows(side, rows, orient, hand[:, 7:52].reshape(-1, 15, 3), wrist, valid=seen, betas=betas)
    yield from _actions(whole, int(ids[0]), f"{subject}/{scene}/{path.parents[1].name}", context.folder)


def _floats(path: Path) -> list[float]:
    return [float(word) for word in path.read_text(encoding="ascii").split()]


def _camera_poses(folder: Path, files: list[Path]) -> np.ndarray | None:
    if not folder.is_dir():
        return None
    return np.stack([numbers(_floats(folder / file.name), 16).reshape(4, 4) for file in files])


def _split(subject: str, scene: str) -> str:
    """As the authors split poses; "" for folders of other names."""
    if subject in ("subject1", "subject2"):
        return "train"
    if subject == "subject3":
        return "val" if scene in _VAL else "train"
    return "test" if subject == "subject4" else ""


def _actions(whole: HandRecording, first: int, sequence: str, folder: Path) -> Iterator[HandRecording]:
    rows = [row for row in _labels(folder) if row[0] == sequence]
    if not rows:
        yield whole
    for number, (_, label, start, end) in enumerate(rows):
        words = (Narration(ACTIONS[label], "h2o action label", label=True),)
        if whole.valid[max(start - first, 0) : end + 1 - first].any():
            yield whole.cut(f"{whole.name}/{number:02d}", start - first, end + 1 - first, words)


@lru_cache(maxsize=2)
def _labels(folder: Path) -> tuple[tuple[str, int, int, int], ...]:
    """Sequence, action, first and last frame of each row of action_labels/action_*.txt."""
    rows = []
    for root in (folder, folder.parent):
        for path in sorted((root / "action_labels").glob("action_*.txt")):
            for line in path.read_text(encoding="utf-8").splitlines()[1:]:
                words = line.split()
                if len(words) >= 5 and words[2].lstrip("-").isdigit():
                    rows.append((words[1].strip("/"), int(words[2]), int(words[3]), int(words[4])))
        if rows:
            break
    return tuple(rows)


def _find(folder: Path) -> list[Path]:
    best: dict[Path, Path] = {}
    found = [path for name in _NAMES for path in folder.rglob(name) if path.is_dir() and any(path.glob("*.txt"))]
    for path in sorted(found):
        sequence, rank = path.parents[1], _rank(path)
        if sequence not in best or rank < _rank(best[sequence]):
            best[sequence] = path
    return sorted(best.values())


def _rank(path: Path) -> int:
    return _CAMERAS.index(path.parent.name) if path.parent.name in _CAMERAS else len(_CAMERAS)


H2O = Dataset(
    name="h2o",
    title="H2O",
    find=_find,
    read=read_h2o,
    needs="subject*/<scene>/<n>/cam*/{hand_pose_mano,cam_pose}/<frame>.txt (v1.1), action_labels/action_*.txt",
    licence="not stated; registration with the authors",
    hands="MANO, camera turned into the world, 30 fps (not stated)",
    mano="needed",
    rules="F+ C1 C4, left as shipped",
    met=LAYOUT_ONLY,
    certainty="high",
    limits="MANO labels before v1.1 are wrong.",
)
