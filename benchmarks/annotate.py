"""How well and how fast videos of hands become motion: detection, reprojection, speed, views, closed loop.

    python benchmarks/annotate.py --data DATA                   everything that is there
    python benchmarks/annotate.py --data DATA --only stereo     or store, signs, loop

DATA holds human_hand_video.mp4 (one right hand), real/signs/*.mp4 (one person, both hands in every frame) and
real/stereo (one right hand from two calibrated cameras); what is missing is left out. Needs hiw-data[tracking] and
MediaPipe's model (HIW_HAND_MODEL, or the cached one). Times are given as processor time and as wall time: on a machine
that others use, the latter says little.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from hand_geometry import features_to_joints, fit_keypoints, mpjpe, pa_mpjpe, params_to_features
from hiw_data import annotate
from hiw_data.sources.video_file import VideoReader
from hiw_data.tracking import Frame, MediaPipeTracker, TwoHands, even_hands, fit_hands, two_hands
from scipy.spatial.transform import Rotation


def tracked(path: Path) -> TwoHands:
    return two_hands(MediaPipeTracker().track(VideoReader(path)))


def file_to_store(path: Path) -> None:
    """Speed and reprojection of the whole way."""
    with tempfile.TemporaryDirectory() as folder:
        wall, processor = time.perf_counter(), time.process_time()
        store = annotate(path, Path(folder) / "out.zarr")
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        seen = sum(clip["valid"].sum(0) for clip in store.clips())
        pixels = [row["attributes"]["reprojection_px"] for row in store.metadata]
        lengths = [len(clip["features"]) for clip in store.clips()]
    frames = sum(1 for _ in VideoReader(path))
    print(f"{path.name}: {frames} frames, {len(pixels)} clips; seen at 15 fps: left {seen[0]}, right {seen[1]}")
    print(f"  reprojection {np.average(pixels, weights=lengths):.2f} px in the mean over clips")
    print(f"  file to store: {frames / processor:.0f} frames/s of processor time, {frames / wall:.0f} of wall time")


def both_hands(path: Path) -> None:
    """In how many frames both hands are found, with and without the second look."""
    for name, look in (("one look", False), ("second look", True)):
        started = time.process_time()
        hands = two_hands(MediaPipeTracker(second_look=look).track(VideoReader(path)))
        ms = 1e3 * (time.process_time() - started) / len(hands.seen)
        share = hands.seen.all(1).mean()
        print(f"{path.name}, {name}: both in {share:.0%} of {len(hands.seen)} frames; {ms:.0f} ms; {hands.counts}")


def stereo(folder: Path) -> None:
    """Each view's fit against the triangulation of both."""
    views = [tracked(folder / f"cam{k}.mp4").landmarks[:, 1] for k in range(2)]
    cameras = [intrinsics(folder / f"c{k}.dat") for k in range(2)]
    poses = [extrinsics(folder / f"rot_trans_c{k}.dat") for k in range(2)]
    world = triangulated(views, [k @ np.c_[r, t] for k, (r, t) in zip(cameras, poses, strict=True)])
    ok = np.isfinite(world).all((1, 2))
    points = world[ok] * 0.041  # metres, about
    floor = fit_keypoints(points, side="right", landmark_offsets="mediapipe", along_ray=False, smoothness=None)
    print(f"stereo: {ok.sum()} frames triangulated; the hand model fitted to these themselves is off by")
    print(
        f"  {1e3 * floor.residual.mean():.1f} mm (tracker and shape, not the fit, bound what follows); each view alone:"
    )
    for name, seen, camera, (r, t) in zip(("above", "side"), views, cameras, poses, strict=True):
        truth = world @ r.T + t
        started = time.process_time()
        fit = fit_keypoints(
            side="right", keypoints_2d=seen, camera=camera, landmark_offsets="mediapipe", smoothness=(0.05, 0.10, 0.01)
        )
        ms = 1e3 * (time.process_time() - started) / len(seen)
        got = fit.keypoints.astype(float)
        use = ok & fit.valid
        got, truth = got[use], truth[use]
        truth = truth * np.median(span(got) / span(truth))  # the unit of the calibration is not the metre
        root = np.linalg.norm((got - got[:, :1]) - (truth - truth[:, :1]), axis=-1).mean()
        aligned = np.mean([procrustes(a, b) for a, b in zip(got, truth, strict=True)])
        turned = [Rotation.from_matrix(palm(a) @ palm(b).T).magnitude() for a, b in zip(got, truth, strict=True)]
        print(
            f"  {name:>5}: root-aligned {1e3 * root:.1f} mm, PA {1e3 * aligned:.1f} mm, palm rotation median "
            f"{np.degrees(np.median(turned)):.1f}, 90% {np.degrees(np.percentile(turned, 90)):.0f} degrees; {ms:.1f} ms"
        )


def closed_loop(seeds: list[int], frames: int) -> None:
    """Drawn motions through tracker, identity and fit; drawing and landmark table share the open hand."""
    spec = importlib.util.spec_from_file_location("closed_loop", Path(__file__).with_name("closed-loop.py"))
    assert spec is not None
    assert spec.loader is not None
    loop = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loop)
    totals = []
    for seed in seeds:
        motion = loop.known_motion(frames, seed)
        truth = features_to_joints(params_to_features(motion))
        pictures = (Frame(k / 30, image) for k, image in enumerate(loop.drawn(motion)))
        even = even_hands(two_hands(MediaPipeTracker().track(pictures)))
        fitted = fit_hands(even, loop.camera_matrix(loop.FOCAL, loop.SIZE)).motion
        params = {name: getattr(fitted, name) for name in ("global_orient", "hand_pose", "transl")}
        joints, valid = features_to_joints(params_to_features(params)), torch.tensor(fitted.valid)
        root, aligned = mpjpe(joints, truth, valid, align="root"), pa_mpjpe(joints, truth, valid)
        totals.append((1e3 * float(root), 1e3 * float(aligned), fitted.valid.all(1).mean()))
        print("closed loop, seed {}: root-aligned {:.1f} mm, PA {:.1f} mm, both in {:.1%}".format(seed, *totals[-1]))
    print("closed loop, mean: root-aligned {:.1f} mm, PA {:.1f} mm, both in {:.1%}".format(*np.mean(totals, 0)))


def intrinsics(path: Path) -> np.ndarray:
    lines = path.read_text().split("\n")
    return np.array([[float(x) for x in lines[i].split()] for i in (1, 2, 3)])


def extrinsics(path: Path) -> tuple[np.ndarray, np.ndarray]:
    lines = [line.strip() for line in path.read_text().split("\n")]
    first, second = lines.index("R:") + 1, lines.index("T:") + 1
    rotation = np.array([[float(x) for x in line.split()] for line in lines[first : first + 3]])
    return rotation, np.array([float(line) for line in lines[second : second + 3]])


def triangulated(views: list[np.ndarray], projections: list[np.ndarray]) -> np.ndarray:
    """Linear triangulation, (T, 21, 3); NaN where a view has no hand."""
    rows = []
    for seen, matrix in zip(views, projections, strict=True):
        rows += [seen[..., k, None] * matrix[2] - matrix[k] for k in range(2)]
    equations = np.stack(rows, -2)
    known = np.isfinite(equations).all((-1, -2))
    points = np.full((*known.shape, 3), np.nan)
    last = np.linalg.svd(equations[known])[2][:, -1]
    points[known] = last[:, :3] / last[:, 3:]
    return points


def span(points: np.ndarray) -> np.ndarray:
    """A hand's size, (T,): along the middle finger, and across the palm."""
    along = np.linalg.norm(np.diff(points[:, [0, 9, 10, 11, 12]], axis=1), axis=-1).sum(-1)
    return along + np.linalg.norm(points[:, 5] - points[:, 17], axis=-1)


def palm(points: np.ndarray) -> np.ndarray:
    along = points[9] - points[0]
    normal = np.cross(along, points[17] - points[5])
    axes = [v / np.linalg.norm(v) for v in (along, normal, np.cross(along, normal))]
    return np.stack(axes, -1)


def procrustes(points: np.ndarray, truth: np.ndarray) -> float:
    """Mean distance after rotation, translation and scale."""
    a, b = points - points.mean(0), truth - truth.mean(0)
    u, s, vt = np.linalg.svd(b.T @ a)
    flip = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
    turned = (s * np.diag(flip)).sum() / (a**2).sum() * a @ (u @ flip @ vt).T
    return float(np.linalg.norm(turned - b, axis=-1).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", choices=["store", "signs", "stereo", "loop"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102, 103, 104], help="of the drawn motions")
    arguments = parser.parse_args()
    video, signs, pair = (arguments.data / n for n in ("human_hand_video.mp4", "real/signs", "real/stereo"))
    if video.is_file() and arguments.only in (None, "store"):
        file_to_store(video)
    if signs.is_dir() and arguments.only in (None, "signs"):
        for path in sorted(signs.glob("*.mp4")):
            both_hands(path)
    if pair.is_dir() and arguments.only in (None, "stereo"):
        stereo(pair)
    if arguments.only in (None, "loop"):
        closed_loop(arguments.seeds, 90)


if __name__ == "__main__":
    main()
