"""Project Aria's hand tracking by Machine Perception Services: `hand_tracking_results.csv`, one and two (with normals).

Landmarks are in the device's frame, which moves with the head; with `closed_loop_trajectory.csv` of the same recording
they are turned into the world. The thumb's first joint is not among them and stays hidden. -1 is missing.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from hiw_data.sources.hand_recording import Context, Dataset, KeypointRecording
from hiw_data.sources.mano_rules import SIDES
from hiw_data.sources.time_grid import time_grid

LANDMARK = (5, None, 6, 7, 0, 8, 9, 10, 1, 11, 12, 13, 2, 14, 15, 16, 3, 17, 18, 19, 4)
"""Keypoint k (OpenPose order) is this landmark of Aria's 21; 20 is the palm."""

_NEAR_US = 50_000


def read_aria(path: Path, context: Context) -> Iterator[KeypointRecording]:
    """The recording in one `hand_tracking_results*.csv`."""
    names, table = _table(path)
    rows, fps = time_grid(table[:, names.index("tracking_timestamp_us")].tolist(), 1e6)
    keypoints, seen = np.zeros((rows[-1] + 1, 2, 21, 3)), np.zeros((rows[-1] + 1, 2, 21), bool)
    poses = _trajectory(path.parent, table[:, names.index("tracking_timestamp_us")])
    for side, name in enumerate(SIDES):
        at = names.index(f"{name}_tracking_confidence")
        points = table[:, at + 1 : at + 64].reshape(-1, 21, 3)
        good = (table[:, at] > 0) & np.isfinite(points).all((1, 2))
        if poses is not None:
            turns, moves, near = poses
            points = np.einsum("tij,tkj->tki", turns, points) + moves[:, None]
            good &= near
        for k, landmark in enumerate(LANDMARK):
            if landmark is not None:
                keypoints[rows[good], side, k] = points[good, landmark]
                seen[rows[good], side, k] = True
    note = "no closed_loop_trajectory.csv, so hands are in the frame of the moving device"
    yield KeypointRecording(
        context.stem(path),
        fps,
        keypoints,
        seen,
        attributes={"device": "Project Aria", "frame": "device" if poses is None else "world"},
        notes=(note,) if poses is None else (),
    )


def _table(path: Path) -> tuple[list[str], np.ndarray]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        lines = list(csv.reader(file))
    if not lines:
        raise ValueError("an empty table")
    names = [name.strip() for name in lines[0]]
    return names, np.array([[float(x) for x in line] for line in lines[1:]]).reshape(len(lines) - 1, len(names))


def _trajectory(folder: Path, stamps: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """World from device at each stamp: (T, 3, 3), (T, 3), and whether a pose was near, (T,)."""
    where = [folder / "closed_loop_trajectory.csv", folder.parent / "slam/closed_loop_trajectory.csv"]
    path = next((p for p in where if p.is_file()), None)
    if path is None:
        return None
    wanted = ["tracking_timestamp_us", *(f"t{a}_world_device" for a in "xyz"), *(f"q{a}_world_device" for a in "xyzw")]
    with open(path, encoding="utf-8-sig", newline="") as file:
        table = np.array([[float(row[name]) for name in wanted] for row in csv.DictReader(file)])
    nearest = np.abs(table[:, 0] - stamps[:, None]).argmin(1)
    turns = Rotation.from_quat(table[nearest, 4:8]).as_matrix()
    return turns, table[nearest, 1:4], np.abs(table[nearest, 0] - stamps) <= _NEAR_US


ARIA = Dataset(
    name="aria",
    title="Project Aria MPS hand tracking",
    find=lambda folder: sorted(folder.rglob("hand_tracking_results*.csv")),
    read=read_aria,
    needs="hand_tracking_results.csv, and closed_loop_trajectory.csv beside it or in ../slam",
    licence="yours; the tools are Apache-2.0",
    hands="20 landmarks a hand, fitted to the open hand; device frame, 5 to 10 fps in samples",
    mano="not used",
    rules="fitted, first thumb joint hidden",
    met="layout decoded from public sample files, no whole set met",
    certainty="high",
    limits="Few frames a second and gaps of seconds; no words come with it.",
)
