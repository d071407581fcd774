"""hand-geometry beside smplx: the same hand, the same parameters, one process, ratios of medians.

    python benchmarks/hand-geometry.py            everything, some minutes
    python benchmarks/hand-geometry.py model fit  some parts of: model memory fit render
    python benchmarks/hand-geometry.py --device cuda model

Threads are torch's (set OMP_NUM_THREADS). smplx is timed with the open hand's own file, which it reads.
"""

from __future__ import annotations

import argparse
import platform
import resource
import statistics
import threading
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hand_geometry import HandModel, HandPair, features_to_joints, fit_keypoints, params_to_features, relaxed_hand
from hand_geometry.assets import ASSETS, load_asset, mirror_asset

BATCH = 1024
Row = tuple[str, str, str, str, str]


def median_ms(run: Callable[[], object], rounds: int, device: str) -> float:
    """Median wall time of a call, milliseconds, after one call to warm up."""
    run()
    times = []
    for _ in range(rounds):
        if device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def side_by_side(
    name: str, ours: Callable[[], object], theirs: Callable[[], object], goal: float, rounds: int, device: str
) -> Row:
    """Time both in turns, so that a busy neighbour slows both, and take the ratio of the medians."""
    a, b = [], []
    for _ in range(rounds):
        a.append(median_ms(ours, 1, device))
        b.append(median_ms(theirs, 1, device))
    us, them = statistics.median(a), statistics.median(b)
    return name, f"{them:.1f} ms", f"{us:.2f} ms", f"{them / us:.1f} x", f"{goal:g} x"


def random_hand(batch: int, seed: int, device: str) -> list[torch.Tensor]:
    """Random orientation, pose, shape and translation."""
    generator = torch.Generator().manual_seed(seed)
    kinds = (((3,), 1.0), ((15, 3), 0.4), ((10,), 1.0), ((3,), 1.0))
    return [(scale * torch.randn(batch, *tail, generator=generator)).to(device) for tail, scale in kinds]


def smplx_hand(side: str, batch: int, folder: Path) -> torch.nn.Module:
    """smplx's MANO layer over the open hand's arrays."""
    import smplx

    file = ASSETS / "MANO_RIGHT.npz"
    if side == "left":
        left = mirror_asset(load_asset())
        with np.load(file) as stored:
            arrays = {name: stored[name] for name in stored.files}
        arrays |= {"v_template": left.v_template, "f": left.faces, "shapedirs": left.shapedirs}
        arrays |= {"hands_components": left.hands_components, "hands_mean": left.hands_mean, "J": left.rest_joints}
        file = folder / "MANO_LEFT.npz"
        np.savez(file, **arrays)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return smplx.MANO(
            str(file), is_rhand=side == "right", ext="npz", use_pca=False, flat_hand_mean=True, batch_size=batch
        )


def model_rows(device: str, rounds: int) -> list[Row]:
    """Agreement with smplx and speed against it."""
    import tempfile

    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for side in ("left", "right"):
            theirs = smplx_hand(side, BATCH, Path(folder)).to(device)
            ours = HandModel.load("default", side).to(device)
            orient, pose, betas, transl = random_hand(BATCH, 1, device)
            with torch.no_grad():
                expected = theirs(global_orient=orient, hand_pose=pose.flatten(1), betas=betas, transl=transl)
                found = ours(orient, pose, betas, transl)
            mesh = (found.vertices - expected.vertices).abs().max().item()
            to_smplx = [0, 5, 6, 7, 9, 10, 11, 17, 18, 19, 13, 14, 15, 1, 2, 3]
            joints = (found.joints[:, to_smplx] - expected.joints[:, :16]).abs().max().item()
            rows.append(
                (f"largest difference, {side}: mesh, joints", "-", f"{mesh:.1e}, {joints:.1e} m", "-", "1e-5 m")
            )

    def smplx_call() -> object:
        return theirs(global_orient=orient, hand_pose=pose.flatten(1), betas=betas, transl=transl)

    with torch.no_grad():
        rows.append(
            side_by_side("mesh, forward", lambda: ours(orient, pose, betas, transl), smplx_call, 5, rounds, device)
        )
        bare = side_by_side(
            "joints only, forward",
            lambda: ours(orient, pose, betas, transl, vertices=False),
            smplx_call,
            40,
            rounds,
            device,
        )
        rows.append(bare)
    leaves = [orient.requires_grad_(), pose.requires_grad_()]
    upstream = {"vertices": torch.randn_like(expected.vertices), "joints": torch.randn_like(found.joints)}
    upstream["their joints"] = torch.randn_like(expected.joints)

    def our_gradient(name: str) -> object:
        out = getattr(ours(orient, pose, betas, transl, vertices=name == "vertices"), name)
        return torch.autograd.grad(out, leaves, upstream[name])

    def their_gradient(name: str) -> object:
        weight = upstream["vertices" if name == "vertices" else "their joints"]
        return torch.autograd.grad(getattr(smplx_call(), name), leaves, weight)

    for name, goal in (("vertices", 4), ("joints", 20)):
        label = f"{'mesh' if name == 'vertices' else 'joints'}, forward and backward to pose"
        rows.append(
            side_by_side(label, partial(our_gradient, name), partial(their_gradient, name), goal, rounds, device)
        )
    return rows


def resident_mib() -> float:
    """Memory of this process that is in RAM, MiB."""
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * resource.getpagesize() / 2**20


def memory_rows() -> list[Row]:
    """100,000 frames of two hands: what is held beyond inputs and result."""
    rows: list[Row] = []
    pair, frames = HandPair.load(), 100_000
    orient, pose, _, transl = (torch.stack([v, v], 1) for v in random_hand(frames, 2, "cpu"))
    betas = torch.randn(2, 10, generator=torch.Generator().manual_seed(3))
    for vertices in (False, True):
        pair(orient[:64], pose[:64], betas, transl[:64], vertices=vertices)
        before, peak, done = resident_mib(), [0.0], threading.Event()

        def watch(peak: list[float] = peak, done: threading.Event = done) -> None:
            while not done.wait(0.01):
                peak[0] = max(peak[0], resident_mib())

        watcher = threading.Thread(target=watch)
        watcher.start()
        start = time.perf_counter()
        out = pair(orient, pose, betas, transl, vertices=vertices)
        seconds = time.perf_counter() - start
        done.set()
        watcher.join()
        size = sum(t.numel() * t.element_size() for t in out if t is not None) / 2**20
        what = "joints and mesh" if vertices else "joints"
        extra = peak[0] - before - size
        rows.append(
            (
                f"100,000 frames x 2 hands, {what}: result, beyond it",
                "-",
                f"{size:.0f} + {extra:.0f} MiB, {seconds:.1f} s",
                "-",
                "-",
            )
        )
        del out
    return rows


def clip(frames: int, seed: int) -> dict[str, np.ndarray]:
    """A smooth made-up motion of two hands half a metre before the camera."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames) / 15
    params: dict[str, list[np.ndarray]] = {"global_orient": [], "hand_pose": [], "transl": []}
    for side in ("left", "right"):
        rest = {name: value.numpy() for name, value in relaxed_hand(side).items()}
        waves = [np.sin(rng.uniform(1, 3) * t + rng.uniform(0, 6)) for _ in range(7)]
        params["global_orient"].append(rest["global_orient"] + 0.25 * np.stack(waves[:3], 1))
        params["hand_pose"].append((1 + 0.8 * waves[3])[:, None, None] * rest["hand_pose"])
        params["transl"].append(rest["transl"] + [0, 0, 0.5] + 0.04 * np.stack(waves[4:], 1))
    return {name: np.stack(values, 1).astype(np.float32) for name, values in params.items()}


def fit_rows(rounds: int) -> list[Row]:
    """Milliseconds a frame and hand of fitting, and how well known poses come back."""
    frames, camera = 120, np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]])
    truth = features_to_joints(params_to_features(clip(frames, 0)))[:, 1]
    rng = np.random.default_rng(1)
    noisy = truth + rng.normal(0, 0.004, truth.shape)
    pixels = truth[..., :2] / truth[..., 2:] * 600 + [320, 240] + rng.normal(0, 2.0, (frames, 21, 2))
    cases: dict[str, dict[str, Any]] = {
        "3D, exact keypoints": {"keypoints": truth},
        "3D, 4 mm of noise": {"keypoints": noisy},
        "3D and 2D, 4 mm and 2 px of noise": {"keypoints": noisy, "keypoints_2d": pixels, "camera": camera},
    }
    rows: list[Row] = []
    for name, case in cases.items():
        run = partial(fit_keypoints, side="right", **case)
        fit = run()
        error = 1e3 * float(np.mean(np.linalg.norm(fit.keypoints - truth, axis=-1)))
        ms = median_ms(run, rounds, "cpu") / frames
        rows.append((f"fit, {name}: a frame; error", "-", f"{ms:.2f} ms; {error:.1f} mm", "-", "3 ms"))
    return rows


def render_rows() -> list[Row]:
    """Frames a second of two hands with forearms, 640x480."""
    from hand_geometry import render_motion

    motion = clip(60, 0)
    motion["transl"] -= np.array([0, 0, 0.5], np.float32)
    features = params_to_features(motion)
    render_motion(features[:2], size=(640, 480))
    start = time.perf_counter()
    render_motion(features, size=(640, 480))
    fps = len(features) / (time.perf_counter() - start)
    return [("render, two hands with forearms, 640x480", "-", f"{fps:.0f} frames/s", "-", "60 frames/s")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=["model", "memory", "fit", "render", []], default=[])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    parts = arguments.parts or ["model", "memory", "fit", "render"]
    rows: list[Row] = []
    if "memory" in parts:  # first: memory freed by the others would hide what this takes
        rows += memory_rows()
    if "model" in parts:
        rows += model_rows(arguments.device, arguments.rounds)
    if "fit" in parts:
        rows += fit_rows(min(arguments.rounds, 7))
    if "render" in parts:
        rows += render_rows()
    print(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} thread(s), torch {torch.__version__}"
    )
    print(f"batch {BATCH}, device {arguments.device}\n")
    table = [("", "smplx", "hand-geometry", "ratio", "goal"), *rows]
    widths = [max(len(row[k]) for row in table) for k in range(5)]
    for row in table:
        print(" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))


if __name__ == "__main__":
    main()
