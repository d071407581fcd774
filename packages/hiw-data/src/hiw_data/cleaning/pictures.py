"""What cleaning did to a source, as JSON and as pictures: of each step the worst clip kept and the best one dropped."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from hand_geometry import features_to_joints
from numpy.typing import NDArray

from hiw_data.cleaning.steps import STEPS, CleaningReport

FOLDER = "quality"
"""Where in a store the pictures lie."""

_MOMENTS = 6
_SIZE = (180, 150)
_TITLES = {"worst_kept": "worst kept", "best_dropped": "best dropped", "repeated": "which repeats this one"}


@dataclass(frozen=True)
class Shown:
    """A clip as it is drawn.

    Attributes:
        features: (T, 198).
        valid: (T, 2) bool.
        fps: frames a second.
    """

    features: NDArray[np.float32]
    valid: NDArray[np.bool_]
    fps: float


@dataclass
class Cleaned:
    """What cleaning did to a source; filled while the source streams.

    Attributes:
        report: of the steps, once it is known.
        clips: those that pictures are made of, by name.
    """

    report: CleaningReport | None = None
    clips: dict[str, Shown] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """See `CleaningReport.lines`; none before it is known."""
        return [] if self.report is None else self.report.lines()

    def wanted(self) -> set[str]:
        """Names of the clips that are to be shown."""
        return {name for step in STEPS for name in self._shown(step).values()}

    def _shown(self, step: str) -> dict[str, str]:
        if self.report is None:
            return {}
        worst, best = self.report.borderline(step)
        found = {"worst_kept": worst, "best_dropped": best}
        if step == "near-duplicates" and best is not None:
            found["repeated"] = self.report.dropped[best][1].removeprefix("Repeats ").removesuffix(".")
        return {kind: name for kind, name in found.items() if name is not None}

    def to_json(self, source: str) -> dict[str, Any]:
        """For the quality report: counts, and of each step the clips at its border with what is said of them."""
        if self.report is None:
            return {}
        steps = {}
        for step in STEPS:
            shown = self._shown(step)
            told = {kind: {"clip_id": name, "told": self._told(step, name)} for kind, name in shown.items()}
            picture = f"{FOLDER}/{_file_name(source, step)}" if shown and can_draw() else None
            steps[step] = {"dropped": self.report.counts[step], **told, "picture": picture}
        return {"clips": self.report.counts["clips"], "kept": self.report.counts["kept"], "steps": steps}

    def _told(self, step: str, name: str) -> str:
        assert self.report is not None
        by, reason = self.report.dropped.get(name, ("", ""))
        if by == step:
            return reason
        margin, config = self.report.margins[step].get(name), self.report.config
        if margin is None:
            return "The first of its kind."
        if step == "visibility":
            return f"Seen in {config['visible'] + margin:.0%} of the frames."
        if step == "outliers":
            return f"Peak acceleration of z {config['most_z'] - margin:.2f}."
        return f"{(config['duplicate'] + margin) * 1000:.1f} mm from the nearest clip before it."

    def draw(self, folder: Path, source: str) -> list[Path]:
        """Writes a picture a step into the folder `quality` of a store; none where the renderer is not installed.

        A row a clip, six moments of it: evenly over the clip, or, where it is about jerks, about the largest one.
        """
        from hand_geometry.rendering import side_by_side

        written = []
        for step in STEPS:
            rows = {kind: name for kind, name in self._shown(step).items() if name in self.clips}
            if not rows or not can_draw():
                continue
            from PIL import Image

            strips = [_strip(self.clips[name], jerk=step == "outliers") for name in rows.values()]
            titles = [f"{_TITLES[kind]}: {name}" for kind, name in rows.items()]
            sheet = side_by_side([strip[None] for strip in strips], titles, columns=1)[0]
            path = folder / FOLDER / _file_name(source, step)
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(sheet).save(path)
            written.append(path)
        return written


def can_draw() -> bool:
    """Whether what draws hands is installed (extra `calibrate`, or `hand-geometry[render]`)."""
    return all(find_spec(name) is not None for name in ("numba", "PIL"))


def _strip(clip: Shown, *, jerk: bool) -> NDArray[np.uint8]:
    """Six moments of a clip beside each other, (height, width, 3) uint8, seen by one camera."""
    from hand_geometry.rendering import render_motion

    at = _around_jerk(clip) if jerk else _evenly(clip)
    frames = render_motion(clip.features[at], fps=clip.fps, valid=clip.valid[at], size=_SIZE)
    return np.concatenate(list(frames), axis=1)


def _evenly(clip: Shown) -> NDArray[np.int64]:
    return np.linspace(0, len(clip.features) - 1, _MOMENTS).round().astype(np.int64)


def _around_jerk(clip: Shown) -> NDArray[np.int64]:
    """Frames that follow each other, with the largest acceleration of a fingertip or wrist in their middle."""
    joints = np.asarray(features_to_joints(clip.features))[:, :, [0, 4, 8, 12, 16, 20]]
    moved = np.linalg.norm(np.diff(joints, 2, axis=0), axis=-1).max(-1)  # (T - 2, 2)
    runs = clip.valid[2:] & clip.valid[1:-1] & clip.valid[:-2]
    if not runs.any():
        return _evenly(clip)
    middle = int(np.where(runs, moved, 0).max(1).argmax()) + 1
    first = min(max(middle - _MOMENTS // 2, 0), max(len(clip.features) - _MOMENTS, 0))
    return np.minimum(np.arange(first, first + _MOMENTS), len(clip.features) - 1)


def _file_name(source: str, step: str) -> str:
    return f"{re.sub('[^A-Za-z0-9_-]', '_', source)}-{step}.png"
