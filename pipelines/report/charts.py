"""Line charts as inline SVG.

A few hundred bytes each, coloured by the page's style sheet, readable without a script.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

Series = Mapping[str, Sequence[tuple[float, float]]]

WIDTH, HEIGHT = 300, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 10, 10, 22
_MAX_POINTS = 160
_LOG_RATIO = 20.0


def format_number(value: float) -> str:
    """Short text of a number for an axis or a label: three significant digits."""
    if value == 0:
        return "0"
    if abs(value) >= 10000 or abs(value) < 0.001:
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def nice_ticks(low: float, high: float, count: int = 3) -> list[float]:
    """About ``count`` round numbers between ``low`` and ``high``; [low] where there is no range.

    >>> nice_ticks(0, 1.0)
    [0.0, 0.5, 1.0]
    """
    if not high > low:
        return [low]
    raw = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)] or [low]


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
    ticks = [10.0**p for p in powers]
    return ticks if len(ticks) >= 2 else [low, math.sqrt(low * high), high]


def thin(points: Sequence[tuple[float, float]], most: int = _MAX_POINTS) -> list[tuple[float, float]]:
    """Finite points, at most about ``most`` of them: means of neighbours, and the last point as it is."""
    finite = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    if len(finite) <= most:
        return finite
    size = math.ceil(len(finite) / most)
    groups = [finite[i : i + size] for i in range(0, len(finite), size)]
    means = [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]
    return [*means, finite[-1]]


class _Scale:
    """Maps values to pixels, linear or logarithmic."""

    def __init__(self, low: float, high: float, start: float, end: float, *, log: bool = False) -> None:
        self.log = log
        self.low, self.high = (math.log10(low), math.log10(high)) if log else (low, high)
        self.start, self.end = start, end

    def __call__(self, value: float) -> float:
        v = math.log10(value) if self.log else value
        span = self.high - self.low
        return self.start + (self.end - self.start) * ((v - self.low) / span if span else 0.5)


def line_chart(title: str, series: Series, *, x_label: str = "step") -> Markup:
    """A chart of up to four series, or an empty string where there is nothing to draw.

    Args:
        title: what the values are; also the chart's accessible name.
        series: points (x, y) by series name; the y axis turns logarithmic where positive values span more
            than a factor of 20.
        x_label: what x counts.

    Returns:
        An ``<svg>`` element: classes ``series-0`` .. ``series-3`` carry the colours.
    """
    drawn = {name: thin(points) for name, points in series.items()}
    drawn = {name: points for name, points in drawn.items() if len(points) >= 2}
    if not drawn:
        return Markup("")
    xs = [x for points in drawn.values() for x, _ in points]
    ys = [y for points in drawn.values() for _, y in points]
    log = min(ys) > 0 and max(ys) / min(ys) > _LOG_RATIO
    low, high = min(ys), max(ys)
    if low == high:
        low, high, log = low - 0.5, high + 0.5, False
    sx = _Scale(min(xs), max(xs), _LEFT, WIDTH - _RIGHT)
    sy = _Scale(low, high, HEIGHT - _BOTTOM, _TOP, log=log)
    parts = [_y_axis(sy, _log_ticks(low, high) if log else nice_ticks(low, high, 4))]
    parts.append(_x_axis(sx, nice_ticks(min(xs), max(xs)), x_label))
    for i, points in enumerate(drawn.values()):
        path = " ".join(f"{sx(x):.1f},{sy(y):.1f}" for x, y in points)
        parts.append(f'<polyline class="series-{i % 4}" points="{path}"/>')
    last = ", ".join(f"{name} ends at {format_number(points[-1][1])}" for name, points in drawn.items())
    label = escape(f"{title} over {x_label}: {last}")
    opening = f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
    return Markup(opening + "".join(parts) + "</svg>")


def _y_axis(scale: _Scale, ticks: Sequence[float]) -> str:
    out = []
    for tick in ticks:
        y = scale(tick)
        out.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        out.append(f'<text x="{_LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{format_number(tick)}</text>')
    return "".join(out)


def _x_axis(scale: _Scale, ticks: Sequence[float], label: str) -> str:
    bottom = HEIGHT - _BOTTOM
    out = [f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{bottom}" y2="{bottom}"/>']
    for tick in ticks:
        x, anchor = scale(tick), "end" if scale(tick) > WIDTH - 30 else "middle"
        text = format_number(tick)
        out.append(f'<text x="{x:.1f}" y="{bottom + 14}" text-anchor="{anchor}">{text}</text>')
    out.append(f"<title>{escape(label)}</title>")
    return "".join(out)
