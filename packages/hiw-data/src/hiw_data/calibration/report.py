"""The report of a calibration: tables in Markdown, the same as JSON, and pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hand_geometry.errors import MissingDependencyError
from hand_geometry.rendering import side_by_side
from numpy.typing import NDArray

from hiw_data.atomic import write_beside
from hiw_data.calibration.loop import CIRCULARITY, Condition, settings_of
from hiw_data.calibration.measures import joints_of
from hiw_data.calibration.scenes import Scene, in_camera, known_motion

Row = Mapping[str, Any]

LOOP_COLUMNS = {
    "condition": "condition",
    "hand_px": "hand, px",
    "both": "both found, %",
    "found": "hands found, %",
    "labels": "tracker's sides right, %",
    "sides": "sides right, %",
    "mpjpe_mm": "MPJPE, mm",
    "pa_mpjpe_mm": "PA-MPJPE, mm",
    "wrist_deg": "wrist, degrees",
    "acceleration_m_s2": "acceleration error, m/s²",
}
WIDE_COLUMNS = {
    "scene": "view",
    "off_axis_deg": "off the axis, degrees",
    "landmarks": "landmarks",
    "camera": "camera",
    "mpjpe_mm": "MPJPE, mm",
    "pa_mpjpe_mm": "PA-MPJPE, mm",
    "wrist_deg": "wrist, degrees",
    "reprojection_px": "image distance, px",
}
STEREO_COLUMNS = {
    "hand": "hand",
    "view": "view",
    "hand_frames": "frames",
    "mpjpe_mm": "MPJPE, mm",
    "pa_mpjpe_mm": "PA-MPJPE, mm",
    "wrist_deg": "palm, degrees",
    "wrist_90_deg": "palm, 90%",
    "acceleration_m_s2": "acceleration error, m/s²",
    "triangulation_px": "triangulation, px",
    "model_floor_mm": "hand model alone, mm",
}
TRUTH_COLUMNS = {
    "clip": "clip",
    "hand_frames": "hand-frames",
    "found": "found, %",
    "swapped": "swapped, %",
    "mpjpe_mm": "MPJPE, mm",
    "pa_mpjpe_mm": "PA-MPJPE, mm",
    "wrist_deg": "palm, degrees",
    "acceleration_m_s2": "acceleration error, m/s²",
}
_SHARES = {"both", "found", "labels", "sides", "swapped"}
_BONES = [(0, 1), (0, 5), (0, 17), (5, 9), (9, 13), (13, 17), *((k, k + 1) for k in range(1, 20) if k % 4)]
_TRUE, _FITTED = (40, 200, 90), (255, 130, 20)


def table(rows: Sequence[Row], columns: Mapping[str, str]) -> str:
    """A Markdown table: one line a row, one column a key."""
    lines = ["| " + " | ".join(columns.values()) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(_cell(key, row[key]) for key in columns) + " |" for row in rows]
    return "\n".join(lines)


def _cell(key: str, value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return "-"
    return f"{100 * value:.1f}" if key in _SHARES else f"{value:.1f}"


def loop_rows(conditions: Sequence[Condition]) -> list[dict[str, Any]]:
    """Figures of each condition, with its name."""
    return [{"condition": condition.scene.name, **condition.figures()} for condition in conditions]


def loop_text(rows: Sequence[Row]) -> str:
    """The closed loop's table with its circularity."""
    note = (
        "MPJPE is root-aligned; wrist is the median angle between the fitted and the drawn wrist rotation; a side is "
        "right where the hand lies on the drawn hand of that side, first as the tracker names each detection, then "
        "after identity over time. Motion is smoothed as `hiw annotate` smooths it."
    )
    return f"# Closed loop\n\n{CIRCULARITY}\n\n{table(rows, LOOP_COLUMNS)}\n\n{note}\n"


def write_report(folder: Path, name: str, text: str, data: Mapping[str, Any]) -> list[Path]:
    """Writes NAME.md and NAME.json; numbers that are not finite become null."""
    out = [folder / f"{name}.md", folder / f"{name}.json"]
    for path, content in zip(out, (text, json.dumps(_plain(data), indent=2, allow_nan=False) + "\n"), strict=True):
        with write_beside(path) as staged:
            staged.write_text(content, encoding="utf-8")
    return out


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def loop_data(conditions: Sequence[Condition], tracker: Any, seeds: Sequence[int], frames: int) -> dict[str, Any]:
    """Everything of a closed loop as JSON values."""
    return {
        "circularity": CIRCULARITY,
        "tracker": {"name": tracker.name, "version": tracker.version, "options": tracker.options},
        "seeds": list(seeds),
        "frames": frames,
        "conditions": loop_rows(conditions),
        "scenes": {condition.scene.name: settings_of(condition) for condition in conditions},
    }


def write_pictures(path: Path, conditions: Sequence[Condition], seeds: Sequence[int], frames: int) -> Path:
    """One sheet: for each condition the middle picture of its first motion, drawn hands green, fitted ones orange.

    Raises:
        MissingDependencyError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingDependencyError("pillow", "Writing pictures") from error
    tiles, titles = [], []
    for condition in conditions:
        scene, run = condition.scene, condition.runs[0]
        motion = in_camera(known_motion(frames, seeds[0], scene.palms, scene.speed), scene)
        middle = frames // 2
        picture = Image.fromarray(run.example)
        drawn = [(joints_of(motion)[middle], [True, True], _TRUE)]
        if run.fitted is not None:
            params = {name: getattr(run.fitted, name) for name in motion}
            drawn.append((joints_of(params)[middle], run.found[middle].tolist(), _FITTED))
        for joints, there, colour in drawn:
            _skeleton(picture, joints, there, scene, colour)
        tiles.append(_tile(picture))
        figures = condition.figures()
        titles.append(f"{scene.name}: {figures['mpjpe_mm']:.0f} mm, both {figures['both']:.0%}")
    sheet = side_by_side(tiles, titles, columns=4)[0]
    with write_beside(path) as staged:
        Image.fromarray(sheet).save(staged)
    return path


def _skeleton(picture: Any, joints: NDArray[np.float64], there: Sequence[bool], scene: Scene, colour: Any) -> None:
    from PIL import ImageDraw

    pen, matrix = ImageDraw.Draw(picture), scene.matrix
    width = max(1, round(scene.size[0] / 320))
    for hand in range(2):
        if not there[hand]:
            continue
        points = joints[hand] / joints[hand, :, 2:] @ matrix.T
        for a, b in _BONES:
            pen.line([*points[a, :2], *points[b, :2]], fill=colour, width=width)


def _tile(picture: Any, size: tuple[int, int] = (320, 240)) -> NDArray[np.uint8]:
    """A picture as one frame (1, height, width, 3) of this size, on black where its shape differs."""
    from PIL import Image

    picture.thumbnail(size) if picture.width > size[0] else None
    out = Image.new("RGB", size)
    out.paste(picture, ((size[0] - picture.width) // 2, (size[1] - picture.height) // 2))
    return np.asarray(out, np.uint8)[None]
