"""DexYCB: one hand that grasps an object, ten subjects.

Rules: PCA 45, F-, C1, master camera's frame, left shape components as shipped; betas of
`calibration/mano_<id>/mano.yml`. A row of zeros is a frame without a hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hiw_data.sources.hand_recording import LAYOUT_ONLY, Context, Dataset, HandRecording
from hiw_data.sources.mano_rules import SIDES, from_pca, wrist_of_transl
from hiw_data.sources.plain_files import numbers, read_npz_objects, read_yaml

FPS = 30.0


def read_dexycb(path: Path, context: Context) -> Iterator[HandRecording]:
    """The sequence of one `pose.npz`."""
    meta, hands = read_yaml(path.with_name("meta.yml")), context.hands()
    poses = numbers(read_npz_objects(path)["pose_m"], None, None, 51)
    subject = path.parents[1].name
    recording = HandRecording.empty(
        f"{subject}/{path.parent.name}",
        context.fps or FPS,
        len(poses),
        group=subject,
        attributes={"subject": subject},
    )
    for number, (name, calibration) in enumerate(zip(meta["mano_sides"], meta["mano_calib"], strict=True)):
        side = SIDES.index(str(name))
        betas = numbers(read_yaml(_calibration(path, str(calibration)))["betas"], 10)
        rows = poses[:, number]
        wrist = wrist_of_transl(rows[:, 48:], hands.rest_wrist(side, betas))
        pose = from_pca(rows[:, 3:48], hands[side].hands_components, hands[side].hands_mean)
        recording.put(side, rows[:, :3], pose, wrist, np.any(rows != 0, axis=1), betas)
    yield recording


def _calibration(path: Path, name: str) -> Path:
    if "/" in name or name.startswith("."):
        raise ValueError(f"a calibration named {name!r}")
    return path.parents[2] / "calibration" / f"mano_{name}" / "mano.yml"


DEXYCB = Dataset(
    name="dexycb",
    title="DexYCB",
    find=lambda folder: sorted(folder.rglob("pose.npz")),
    read=read_dexycb,
    needs="<date>-subject-NN/<seq>/{pose.npz,meta.yml}, calibration/mano_*/mano.yml",
    licence="CC BY-NC 4.0 (not verified); toolkit GPL-3",
    hands="MANO, one hand, master camera's frame, 30 fps (streamed; the effective rate is not stated)",
    axes="camera",
    mano="needed",
    rules="PCA F- C1, left as shipped",
    met=LAYOUT_ONLY,
    certainty="high",
    extra="dexycb",
    limits="No words come with it; one hand alone.",
)
