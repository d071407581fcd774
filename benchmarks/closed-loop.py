"""How well the fit alone recovers known motions and a real video from MediaPipe's landmarks; and the landmark table.

    python benchmarks/closed-loop.py --task hand_landmarker.task
    python benchmarks/closed-loop.py --task hand_landmarker.task --video somebody.mp4
    python benchmarks/closed-loop.py --task hand_landmarker.task --palms --seeds 401 402 403
    python benchmarks/closed-loop.py --task hand_landmarker.task --calibrate mediapipe_landmarks.npz

Known two-handed motions are drawn with forearms, tracked, and fitted with the landmark table that ships with the
package; the result is compared with what was drawn, each hand given to the fit as it was detected. The whole pipeline,
with identity over time, is measured under many conditions by `hiw calibrate loop`, which draws the same motions.
Drawing and calibration share the open hand and the kind of views, so this measures the road, not the tracker on people.
A video has no known motion: there the distance in the image is told. --calibrate makes the table, from other seeds than
those that are measured. Needs the package mediapipe and its model file (a .task).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from hand_geometry import (
    KeypointFit,
    KnownMotion,
    LandmarkTable,
    calibrate_table,
    fit_keypoints,
)
from hiw_data.calibration import Scene, draw, hand_errors, known_motion, summary_of
from hiw_data.calibration.measures import joints_of
from hiw_data.calibration.scenes import FPS, SIDES
from hiw_data.tracking import CameraModel

SCENE = Scene("plain")
TEST_SEEDS, TABLE_SEEDS = range(101, 105), range(201, 225)  # settings were chosen on 301 to 306
FIT: dict[str, Any] = {"landmark_offsets": "mediapipe", "smoothness": (0.05, 0.10, 0.01)}  # at 30 frames a second


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
        seen = track(draw(motion, SCENE), FPS, task, 2)
        for hand, side in enumerate(SIDES):
            known = {name: values[:, hand] for name, values in motion.items()}
            motions.append(KnownMotion(side, **known, keypoints_2d=seen[:, hand], camera=SCENE.matrix))
    return calibrate_table(motions)


def closed_loop(task: Path, seeds: list[int], frames: int, palms: bool = False) -> tuple[float, float]:
    """Mean root-aligned and PA-MPJPE over hands and seeds, millimetres."""
    print(
        f"{'seed':>6} {'hand':>6} {'found':>6} {'root-aligned, mm':>17} {'PA, mm':>7} {'image, px':>10} {'ms/frame':>9}"
    )
    totals = []
    for seed in seeds:
        motion = known_motion(frames, seed, palms)
        truth = joints_of(motion)
        seen = track(draw(motion, SCENE), FPS, task, 2)
        for hand, side in enumerate(SIDES):
            started = time.process_time()
            fit = fit_keypoints(side=side, keypoints_2d=seen[:, hand], camera=SCENE.matrix, **FIT)
            ms = 1e3 * (time.process_time() - started) / frames
            both = {name: np.stack([getattr(fit, name)] * 2, 1) for name in motion}
            own = slice(hand, hand + 1)
            errors = hand_errors(joints_of(both)[:, own], truth[:, own], fit.valid[:, None], FPS)
            summary = summary_of([errors])
            root, aligned = summary["mpjpe_mm"], summary["pa_mpjpe_mm"]
            totals.append((root, aligned))
            pixels = np.nanmean(reprojection_of(fit))
            print(
                f"{seed:>6} {side:>6} {fit.valid.mean():>6.0%} {root:>17.1f} {aligned:>7.1f} {pixels:>10.1f} {ms:>9.2f}"
            )
    root, aligned = np.mean(totals, axis=0)
    print(f"{'mean':>6} {'':>6} {'':>6} {root:>17.1f} {aligned:>7.1f}")
    return float(root), float(aligned)


def reprojection_of(fit: KeypointFit) -> np.ndarray:
    """The image distances of a fit to image points."""
    if fit.reprojection is None:
        raise SystemExit("Expected a fit to image points, got one to points in space.")
    return fit.reprojection


def real_video(task: Path, video: Path) -> KeypointFit:
    """The fit of a video of one hand."""
    import av

    with av.open(str(video)) as container:
        fps = float(container.streams.video[0].average_rate or FPS)
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    seen = track(frames, fps, task, 1)
    counts = np.isfinite(seen[..., 0, 0]).sum(0)
    hand = int(counts.argmax())  # handedness by majority
    height, width = frames.shape[1:3]
    started = time.process_time()
    fit = fit_keypoints(
        side=SIDES[hand],
        keypoints_2d=seen[:, hand],
        camera=CameraModel().pinhole(width, height),
        **FIT,
    )
    ms = 1e3 * (time.process_time() - started) / len(frames)
    error = reprojection_of(fit)[fit.valid]
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
    main()
