"""Measures the norms of actions on scripted clips: `python -m hiw_data.captioning.calibrate` writes `norms.json`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from hand_geometry.codes import Claim, MotionCodes, Norm
from hand_geometry.codes.lookup import busy_hands, main_movement
from hand_geometry.codes.measures import SIZES

from hiw_data.captioning.norms import CALIBRATION_CLIPS, CALIBRATION_SEED
from hiw_data.sources.procedural import ProceduralSource, codes_of

_CLASSES = {"speed": ("slow", "medium", "fast"), "size": ("small", "medium", "large")}
_MOST_WRONG = 0.15
"""A measure that puts more clips than this on the wrong side of a border does not tell the size."""


def fit_norms(clips: Iterable[tuple[Mapping[str, Any], MotionCodes]]) -> dict[str, Norm]:
    """Norms from the attributes and codes of scripted clips: the borders that fewest of them are on the wrong side of.

    The size is told by whichever of spans, travel, turn and flexing tells the classes apart best.
    """
    values: dict[str, dict[str, list[tuple[int, int, float]]]] = {}  # action -> measure -> speed, size, value
    for attributes, codes in clips:
        classes = [_CLASSES[fact].index(attributes[fact]) for fact in ("speed", "size")]
        for measure, value in _measured(codes, attributes["hand"]).items():
            for name in (f"{attributes['family']}/{attributes['direction']}", attributes["family"]):
                values.setdefault(name, {}).setdefault(measure, []).append((classes[0], classes[1], value))
    return {name: _norm(of) for name, of in values.items()}


def _norm(values: Mapping[str, list[tuple[int, int, float]]]) -> Norm:
    tempo = [_border([(c, v) for c, _, v in values["tempo_hz"]], k)[0] for k in (0, 1)]
    sizes = {}
    for measure in SIZES:
        borders = [_border([(c, v) for _, c, v in values[measure]], k) for k in (0, 1)]
        sizes[measure] = (borders[0][1] + borders[1][1], borders[0][0], borders[1][0])
    best = min(sizes, key=lambda measure: sizes[measure][0])
    if sizes[best][0] > _MOST_WRONG * len(values[best]):
        return Norm(tempo[0], tempo[1], 0.0, 0.0, "")
    return Norm(tempo[0], tempo[1], *sizes[best][1:], best)


def _measured(codes: MotionCodes, hand: str) -> dict[str, float]:
    claim = Claim("hands", hand, "moves")
    hands = (0, 1) if hand == "both" else busy_hands(claim, codes)
    found = [m for h in hands if (m := main_movement(claim, codes, h))]
    if not found:
        return {}
    values = {name: float(np.mean([measure(m) for m in found])) for name, measure in SIZES.items()}
    return {**values, "tempo_hz": float(np.mean([m.tempo_hz for m in found]))}


def _border(values: list[tuple[int, float]], k: int) -> tuple[float, int]:
    """The border between class k and k + 1 (in the middle of the best range), and how many are on the wrong side."""
    low, high = (np.log(np.maximum([v for c, v in values if c == i], 1e-6)) for i in (k, k + 1))
    points = np.sort(np.concatenate([low, high]))
    middles = (points[1:] + points[:-1]) / 2
    wrong = (low[:, None] > middles).sum(0) + (high[:, None] < middles).sum(0)
    best = middles[wrong == wrong.min()]
    return round(float(np.exp((best.min() + best.max()) / 2)), 4), int(wrong.min())


def coded_clips() -> Iterator[tuple[Mapping[str, Any], MotionCodes]]:
    """Attributes and codes of the calibration's clips, a block at a time."""
    stream = (c for c in ProceduralSource(CALIBRATION_CLIPS, CALIBRATION_SEED).stream(15.0) if isinstance(c, dict))
    while block := list(islice(stream, 540)):
        codes = codes_of([clip["features"] for clip in block], 15.0)
        yield from ((clip["attributes"], code) for clip, code in zip(block, codes, strict=True))


def main() -> None:
    """Measures the norms and writes `norms.json` beside this module."""
    norms = fit_norms(coded_clips())
    rows = [
        f'  "{name}": [{n.slow_hz}, {n.fast_hz}, {n.small}, {n.large}, "{n.size_by}"]'
        for name, n in sorted(norms.items())
    ]
    Path(__file__).with_name("norms.json").write_text("{\n" + ",\n".join(rows) + "\n}\n", "utf-8")


if __name__ == "__main__":
    main()
