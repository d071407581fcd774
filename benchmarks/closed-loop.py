"""How well known motions and a real video are recovered: MediaPipe's hand landmarker, then hand-geometry.

    python benchmarks/closed-loop.py --task hand_landmarker.task
    python benchmarks/closed-loop.py --task hand_landmarker.task --video somebody.mp4
    python benchmarks/closed-loop.py --task hand_landmarker.task --palms --seeds 401 402 403
    python benchmarks/closed-loop.py --task hand_landmarker.task --calibrate mediapipe_landmarks.npz

Known two-handed motions are drawn with forearms, tracked, and fitted with the landmark table that ships with the
package; the result is compared with what was drawn. Drawing and calibration share the open hand and the kind of views,
so this measures the road, not the tracker on people. A video has no known motion: there the distance in the image is
told. --calibrate makes the table, from other seeds than those that are measured. Needs the package mediapipe and its
model file (a .task).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hand_geometry import (
    KeypointFit,
    KnownMotion,
    LandmarkTable,
    calibrate_table,
    features_to_joints,
    fit_keypoints,
    load_pose,
    mpjpe,
    pa_mpjpe,
    params_to_features,
)
from hand_geometry.assets import load_asset
from hand_geometry.rendering import Camera, render_motion
from scipy.spatial.transform import Rotation

SIZE = (640, 480)
FOCAL = 500.0
SIDES = ("left", "right")
SKIN = ((0.80, 0.55, 0.43), (0.80, 0.55, 0.43))
TEST_SEEDS, TABLE_SEEDS = range(101, 105), range(201, 225)  # settings were chosen on 301 to 306
FIT: dict[str, Any] = {"landmark_offsets": "mediapipe", "smoothness": (0.05, 0.10, 0.01)}  # at 30 frames a second


def camera_matrix(focal: float, size: tuple[int, int]) -> np.ndarray:
    return np.array([[focal, 0, size[0] / 2], [0, focal, size[1] / 2], [0, 0, 1]])


def smooth_noise(frames: int, count: int, rng: np.random.Generator, period: int) -> np.ndarray:
    knots = rng.normal(size=(max(4, frames // period + 3), count))
    at = np.linspace(0, len(knots) - 2.01, frames)
    first, share = at.astype(int), (at - at.astype(int))[:, None]
    share = share * share * (3 - 2 * share)
    return knots[first] * (1 - share) + knots[first + 1] * share


def known_motion(frames: int, seed: int, palms: bool = False) -> dict[str, np.ndarray]:
    """Two hands half a metre before a head camera that wander between poses; or that show it their palms."""
    rng = np.random.default_rng(seed)
    parts: dict[str, list[np.ndarray]] = {"global_orient": [], "hand_pose": [], "transl": []}
    for side in SIDES:
        sign, asset = (1.0 if side == "right" else -1.0), load_asset("default", side)
        share = np.exp(1.6 * smooth_noise(frames, 3, rng, 18))
        share /= share.sum(1, keepdims=True)
        poses = np.stack([load_pose(name, side).numpy() for name in ("flat", "fist", "pinch")])
        pose = np.einsum("tk,kja->tja", share, poses)
        bend, spread = 0.22 * smooth_noise(frames, 5, rng, 15), 0.10 * smooth_noise(frames, 5, rng, 25)
        for finger in range(5):
            for joint in range(3 * finger, 3 * finger + 3):
                pose[:, joint] += (1.0 if finger < 4 else 0.5) * bend[:, finger, None] * asset.joint_axes[joint + 1, 0]
            pose[:, 3 * finger] += spread[:, finger, None] * asset.joint_axes[3 * finger + 1, 1]
        along = np.array([0.0, -1.0, 0.0] if palms else [-0.25 * sign, -0.75, 0.6])
        along /= np.linalg.norm(along)
        back = np.array([0.0, 0.1, 1.0] if palms else [0.15 * sign, -0.55, -0.8])
        back -= along * (back @ along)
        back /= np.linalg.norm(back)
        base = np.stack([-sign * along, back, -sign * np.cross(along, back)], 1)
        reach = [0.5, 0.5, 0.5] if palms else [0.35, 0.35, 0.45]
        turn = Rotation.from_rotvec(smooth_noise(frames, 3, rng, 30) * reach)
        place = np.array([0.13 * sign, 0.12, 0.5]) + smooth_noise(frames, 3, rng, 30) * [0.035, 0.03, 0.04]
        parts["global_orient"].append((turn * Rotation.from_matrix(base)).as_rotvec())
        parts["hand_pose"].append(pose)
        parts["transl"].append(place - asset.rest_joints[0])
    return {name: np.stack(values, 1).astype(np.float32) for name, values in parts.items()}


def drawn(motion: dict[str, np.ndarray]) -> np.ndarray:
    """Pictures of a motion, (T, 480, 640, 3)."""
    camera = Camera(np.eye(3), np.zeros(3), FOCAL / min(SIZE))
    return render_motion(motion, size=SIZE, camera=camera, background=(0.45, 0.42, 0.40), colors=SKIN)


def track(frames: np.ndarray, fps: float, task: Path, hands: int) -> np.ndarray:
    """Image landmarks with depths, shape (T, 2, 21, 3), pixels; NaN where a hand was not found."""
    import mediapipe as mp
    from mediapipe.tasks import python
    from mediapipe.tasks.python import vision

    options = vision.HandLandmarkerOptions(
        base_options=python.BaseOptions(model_asset_path=str(task)),
        num_hands=hands,
        running_mode=vision.RunningMode.VIDEO,
    )
    image = np.full((len(frames), 2, 21, 3), np.nan)
    with vision.HandLandmarker.create_from_options(options) as landmarker:
        for t, frame in enumerate(frames):
            picture = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(frame))
            found = landmarker.detect_for_video(picture, int(1000 * t / fps))
            height, width = frame.shape[:2]
            for kinds, points in zip(found.handedness, found.hand_landmarks, strict=True):
                hand = int(kinds[0].category_name == "Right")
                image[t, hand] = [[p.x * width, p.y * height, p.z * width] for p in points]
    return image


def calibrated(task: Path, seeds: Iterable[int], frames: int) -> LandmarkTable:
    """The table of the tracker, learned from drawn motions."""
    motions = []
    for seed in seeds:
        motion = known_motion(frames, seed)
        seen = track(drawn(motion), 30.0, task, 2)
        for hand, side in enumerate(SIDES):
            known = {name: values[:, hand] for name, values in motion.items()}
            motions.append(KnownMotion(side, **known, keypoints_2d=seen[:, hand], camera=camera_matrix(FOCAL, SIZE)))
    return calibrate_table(motions)


def closed_loop(task: Path, seeds: list[int], frames: int, palms: bool = False) -> tuple[float, float]:
    """Mean root-aligned and PA-MPJPE over hands and seeds, millimetres."""
    matrix = camera_matrix(FOCAL, SIZE)
    print(
        f"{'seed':>6} {'hand':>6} {'found':>6} {'root-aligned, mm':>17} {'PA, mm':>7} {'image, px':>10} {'ms/frame':>9}"
    )
    totals = []
    for seed in seeds:
        motion = known_motion(frames, seed, palms)
        truth = features_to_joints(params_to_features(motion))
        seen = track(drawn(motion), 30.0, task, 2)
        for hand, side in enumerate(SIDES):
            started = time.process_time()
            fit = fit_keypoints(side=side, keypoints_2d=seen[:, hand], camera=matrix, **FIT)
            ms = 1e3 * (time.process_time() - started) / frames
            fitted = np.stack([fit.global_orient, fit.global_orient], 1)
            both = {"global_orient": fitted, "hand_pose": np.stack([fit.hand_pose] * 2, 1)}
            both["transl"] = np.stack([fit.transl] * 2, 1)
            joints = features_to_joints(params_to_features(both))[:, hand : hand + 1]
            valid = torch.tensor(fit.valid)[:, None]
            root = 1e3 * mpjpe(joints, truth[:, hand : hand + 1], valid, align="root").item()
            aligned = 1e3 * pa_mpjpe(joints, truth[:, hand : hand + 1], valid).item()
            totals.append((root, aligned))
            pixels = np.nanmean(fit.reprojection)
            print(
                f"{seed:>6} {side:>6} {fit.valid.mean():>6.0%} {root:>17.1f} {aligned:>7.1f} {pixels:>10.1f} {ms:>9.2f}"
            )
    root, aligned = np.mean(totals, axis=0)
    print(f"{'mean':>6} {'':>6} {'':>6} {root:>17.1f} {aligned:>7.1f}")
    return float(root), float(aligned)


def real_video(task: Path, video: Path) -> KeypointFit:
    """The fit of a video of one hand."""
    import av

    with av.open(str(video)) as container:
        fps = float(container.streams.video[0].average_rate)
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    seen = track(frames, fps, task, 1)
    counts = np.isfinite(seen[..., 0, 0]).sum(0)
    hand = int(counts.argmax())  # handedness by majority
    height, width = frames.shape[1:3]
    started = time.process_time()
    fit = fit_keypoints(
        side=SIDES[hand],
        keypoints_2d=seen[:, hand],
        camera=camera_matrix(float(max(height, width)), (width, height)),
        **FIT,
    )
    ms = 1e3 * (time.process_time() - started) / len(frames)
    error = fit.reprojection[fit.valid]
    print(
        f"{video.name}: {SIDES[hand]} hand in {fit.valid.sum()} of {len(frames)} frames, image distance mean "
        f"{error.mean():.2f}, median {np.median(error):.2f}, 95% {np.percentile(error, 95):.1f} px; {ms:.2f} ms a frame"
    )
    return fit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", type=Path, required=True, help="MediaPipe's hand landmarker, a .task file")
    parser.add_argument("--video", type=Path, help="a video of one hand")
    parser.add_argument("--calibrate", type=Path, metavar="TABLE", help="make the landmark table, an .npz, and stop")
    parser.add_argument("--seeds", type=int, nargs="*", help="of the drawn motions")
    parser.add_argument("--palms", action="store_true", help="palms to the camera: views that the table does not know")
    parser.add_argument("--frames", type=int, default=90)
    arguments = parser.parse_args()
    if arguments.calibrate is not None:
        calibrated(arguments.task, arguments.seeds or TABLE_SEEDS, arguments.frames).save(arguments.calibrate)
        return
    seeds = list(TEST_SEEDS) if arguments.seeds is None else arguments.seeds
    if seeds:
        closed_loop(arguments.task, seeds, arguments.frames, arguments.palms)
    if arguments.video is not None:
        real_video(arguments.task, arguments.video)


if __name__ == "__main__":
    sys.exit(main())
