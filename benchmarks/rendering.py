"""Pictures a second of two hands with forearms, 640x480, on one core.

    python benchmarks/rendering.py              ours, and VTK beside it if it is installed (pip install vtk)
    python benchmarks/rendering.py --rounds 9   steadier medians

Ours is `render_motion` as a whole: skinning, forearms, shadow, occlusion, 2x2 samples a pixel. VTK gets finished
vertices and no shadow, and its time is updating the mesh, drawing with 4 samples a pixel, and reading the picture back.
Both are timed in turns in one process that is kept to one core, in processor time and by the clock; the clock also
counts what busy neighbours take.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

SIZE = (640, 480)
FRAMES = 60
GOAL = 60.0
NAMES = ("global_orient", "hand_pose", "transl")


def wave(frames: int) -> dict[str, np.ndarray]:
    """Two hands before the viewer that curl, turn and move."""
    from hand_geometry import load_pose, relaxed_hand

    t = np.arange(frames)[:, None] / 15
    hands = []
    for k, side in enumerate(("left", "right")):
        rest = {name: value.numpy() for name, value in relaxed_hand(side).items()}
        curl = (0.5 + 0.4 * np.sin(3 * t + k))[..., None]
        hands.append((
            rest["global_orient"] + 0.2 * np.sin(2 * t + [k, 1, 2]),
            curl * load_pose("fist", side).numpy(),
            rest["transl"] + 0.04 * np.sin(2 * t + [1, k, 2]),
        ))  # fmt: skip
    names = ("global_orient", "hand_pose", "transl")
    return {
        name: np.stack(pair, 1).astype(np.float32) for name, pair in zip(names, zip(*hands, strict=True), strict=True)
    }


def ours(motion: dict[str, np.ndarray], **options: Any) -> Callable[[], object]:
    from hand_geometry import render_motion

    return lambda: render_motion(motion, size=SIZE, **options)


def vtk_peer(motion: dict[str, np.ndarray]) -> Callable[[], object] | None:
    """The same meshes through VTK's off-screen window, or None without VTK."""
    try:
        import vtk
        from vtk.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray, vtk_to_numpy
    except ImportError:
        return None
    meshes = arms(motion)
    renderer, window = vtk.vtkRenderer(), vtk.vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetMultiSamples(4)
    window.SetSize(*SIZE)
    window.AddRenderer(renderer)
    renderer.SetBackground(0.965, 0.957, 0.945)
    data = []
    for vertices, faces, colors in meshes:
        mesh, points, cells = vtk.vtkPolyData(), vtk.vtkPoints(), vtk.vtkCellArray()
        points.SetData(numpy_to_vtk(vertices[0], deep=1))
        triangles = np.pad(faces.astype(np.int64), ((0, 0), (1, 0)), constant_values=3)
        cells.ImportLegacyFormat(numpy_to_vtkIdTypeArray(triangles.ravel(), 1))
        mesh.SetPoints(points)
        mesh.SetPolys(cells)
        mesh.GetPointData().SetScalars(numpy_to_vtk((colors * 255).astype(np.uint8), deep=1))
        mapper, actor = vtk.vtkPolyDataMapper(), vtk.vtkActor()
        mapper.SetInputData(mesh)
        actor.SetMapper(mapper)
        actor.GetProperty().SetInterpolationToPhong()
        renderer.AddActor(actor)
        data.append((mesh, points, vertices))
    camera = renderer.GetActiveCamera()
    camera.SetViewUp(0, -1, 0)
    camera.SetPosition(0, -0.45, -0.5)
    camera.SetFocalPoint(0, 0, 0.08)

    def run() -> np.ndarray:
        out = np.empty((FRAMES, SIZE[1], SIZE[0], 3), np.uint8)
        pixels = vtk.vtkUnsignedCharArray()
        for t in range(FRAMES):
            for mesh, points, vertices in data:
                points.SetData(numpy_to_vtk(vertices[t], deep=1))
                points.Modified()
                mesh.Modified()
            renderer.ResetCameraClippingRange()
            window.Render()
            window.GetPixelData(0, 0, SIZE[0] - 1, SIZE[1] - 1, 0, pixels, 0)
            out[t] = vtk_to_numpy(pixels).reshape(SIZE[1], SIZE[0], 3)[::-1]
        return out

    return run


def arms(motion: dict[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Vertices (T, V, 3), faces and colours of each hand with its forearm."""
    import torch
    from hand_geometry import HandModel
    from hand_geometry.rendering.arms import LEFT_COLOR, RIGHT_COLOR, build_arm, posed_vertices
    from hand_geometry.rotations import axis_angle_to_matrix

    out = []
    sides: list[tuple[Literal["left", "right"], Any]] = [("left", LEFT_COLOR), ("right", RIGHT_COLOR)]
    for hand, (side, color) in enumerate(sides):
        orient, pose, transl = (
            torch.tensor(motion[name][:, hand]) for name in ("global_orient", "hand_pose", "transl")
        )
        vertices = HandModel.load("default", side)(orient, pose, transl=transl).vertices.double().numpy()
        arm = build_arm(side, color)
        turned = axis_angle_to_matrix(orient).double().numpy()
        out.append((posed_vertices(vertices, turned, arm, side).astype(np.float32), arm.faces, arm.colors))
    return out


def measure(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, float]]:
    """Median pictures a second of each, by processor time and by the clock; taken in turns."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            clock, processor = time.perf_counter(), time.process_time()
            run()
            times[name].append((time.process_time() - processor, time.perf_counter() - clock))
    return {name: tuple(FRAMES / statistics.median(column) for column in zip(*taken, strict=True))
            for name, taken in times.items()}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    import torch

    torch.set_num_threads(1)
    motion = wave(FRAMES)
    runs = {
        "hand-geometry": ours(motion),
        "  without shadow": ours(motion, shadow=False),
        "  one sample a pixel": ours(motion, samples=1),
    }
    peer = vtk_peer(motion)
    if peer is None:
        print("VTK is not installed: no peer.")
    else:
        if np.ptp(np.asarray(peer())) < 100:
            raise SystemExit("VTK draws an empty picture here: its time would mean nothing.")
        runs["VTK, off screen"] = peer
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, one core")
    print(f"{FRAMES} pictures of {SIZE[0]}x{SIZE[1]}, two hands with forearms, medians of {rounds}\n")
    print(f"{'':24s}{'pictures/s, processor':>22s}{'by the clock':>14s}")
    results = measure(runs, rounds)
    for name, (processor, clock) in results.items():
        print(f"{name:24s}{processor:22.0f}{clock:14.0f}")
    fps = results["hand-geometry"][0]
    print(f"\ngoal {GOAL:g} pictures/s: {'reached' if fps >= GOAL else 'missed'} ({fps:.0f})")
    if peer is not None:
        print(f"{fps / results['VTK, off screen'][0]:.1f} x VTK")


if __name__ == "__main__":
    main()
