"""Movements: from when to when a hand is at work, how often it repeats, where it goes, how fast and how far.

A movement is weighed in spans (see ``CodeThresholds``): travel of the wrist, turning of the palm and flexing of the
fingers, each over what counts as one span of it. The first principal component of all channels is its phase:
its turning points are counted as repetitions, and every channel's displacement is read off by regression on it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hand_geometry.codes.contact import ContactDistances
from hand_geometry.codes.geometry import Measurements
from hand_geometry.codes.paths import Path, path_of
from hand_geometry.codes.phase import burst_phase, flutter_rate, flutters, phase_of, turning_points
from hand_geometry.codes.runs import close_gaps, runs_of
from hand_geometry.codes.thresholds import CodeThresholds

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Vector = tuple[float, ...]

SPEED_CLASSES = ("slow", "medium", "fast")
SIZE_CLASSES = ("small", "medium", "large")
CHANNELS = ("travel", "turn", "flex")
_CIRCLE_SHARE = 0.6
"""Extent of a circle over the range of the whole movement, below which it is not what the hand does."""
_STEP_SPANS = 2.0
"""A finger that flexes by this much takes a step of its own where fingers move one after the other."""


@dataclass(frozen=True)
class Movement:
    """One hand at work. Seconds, metres, degrees; hands and axes as in ``geometry``.

    Attributes:
        hand: "left" or "right".
        start, end: Seconds.
        count: Repetitions; 0 for a movement that goes one way.
        count_low, count_high: The least and most that the measurement allows.
        tempo_hz: Repetitions a second (of a flutter, ups of each finger a second); 0.6 of one for a movement that goes
            one way.
        speed: "slow", "medium" or "fast", by ``tempo_hz``.
        spans: The range of the phase.
        size: "small", "medium" or "large", by ``spans``.
        peak_speed: Of the wrist, metres a second.
        channel: What moves most: "travel", "turn" or "flex".
        fluttering: The fingers go up and down one by one, fast; bursts of it are what is counted.
        two_sided: It goes to both sides of where it rests.
        one_way: It ends elsewhere than it began.
        travel: (3,) displacement of the wrist from rest to the far end, world.
        travel_body: (3,) the same in the palm's own axes: fingers, thumb, palm.
        net: (3,) displacement from start to end, world.
        turn: (3,) twist, swing, bend from rest to the far end.
        turn_world: (3,) rotation about the world's axes.
        flex: (5,) flexing of thumb to pinky.
        palm_change, pointing_change: (3,) change of the palm's normal and of the fingers' direction.
        path: "line", "arc", "circle", "zigzag", "curve" or "none" (the wrist hardly travels).
        circling: "clockwise" or "counterclockwise" as the wearer sees it, "forward" or "back" over the top of a
            circle beside the wearer; "" without a circle.
        plane: The axis that the circle goes about: "x", "y", "z" or "".
        extent: Greatest distance between two ends of the wrist's path.
    """

    hand: str
    start: float
    end: float
    count: int
    count_low: int
    count_high: int
    tempo_hz: float
    speed: str
    spans: float
    size: str
    peak_speed: float
    channel: str
    fluttering: bool
    two_sided: bool
    one_way: bool
    travel: Vector
    travel_body: Vector
    net: Vector
    turn: Vector
    turn_world: Vector
    flex: Vector
    palm_change: Vector
    pointing_change: Vector
    path: str
    circling: str
    plane: str
    extent: float


@dataclass(frozen=True)
class Span:
    """Where a movement lies in a clip, and its channels in spans there, shape (12, L), for comparing hands."""

    hand: int
    first: int
    stop: int
    channels: Floats


def activity(m: Measurements, fps: float, t: CodeThresholds) -> Bools:
    """Where each hand is at work, (2, N, T): pauses up to ``rest_s`` are closed, short bursts are dropped."""
    frames = m.valid.shape[-1]
    if frames < 2:
        return np.zeros_like(m.valid)
    fast = _speed(m.wrist, fps) > t.active_m_s
    fast |= _speed(m.turn, fps) > t.active_deg_s
    fast |= np.abs(np.diff(m.flex, axis=-1)).max(0) * fps > t.active_flex_deg_s
    fast &= m.valid[..., 1:] & m.valid[..., :-1]
    active = np.zeros_like(m.valid)
    active[..., 1:] |= fast
    active[..., :-1] |= fast
    rows = close_gaps(active.reshape(-1, frames), int(t.rest_s * fps)) & m.valid.reshape(-1, frames)
    found = runs_of(rows.view(np.int8))
    short = (found.value == 1) & (found.stop - found.start < t.movement_s * fps)
    for row, start, stop in zip(found.row[short], found.start[short], found.stop[short], strict=True):
        rows[row, start:stop] = False
    return rows.reshape(active.shape)


def channels_of(m: Measurements, contact: ContactDistances, t: CodeThresholds) -> Floats:
    """All channels in spans, (12, 2, N, T): wrist, turn, fingers, and the thumb's distance to the index fingertip."""
    return np.concatenate(
        [
            m.wrist / np.float32(t.span_m),
            m.turn / np.float32(t.span_deg),
            m.flex / np.float32(t.span_flex_deg),
            contact.thumb_tips[:1] / np.float32(t.span_m),
        ]
    )


def movements_of(
    m: Measurements, weighed: Floats, active: Bools, fps: float, t: CodeThresholds
) -> tuple[list[list[Movement]], list[list[Span]]]:
    """Movements of N clips, each list in order of start; and where they lie.

    Args:
        m: Measurements of N clips of T frames.
        weighed: Their ``channels_of``, shape (12, 2, N, T).
        active: Their ``activity``, shape (2, N, T).
        fps: Frames a second.
        t: Thresholds.
    """
    clips, frames = m.valid.shape[1:]
    others = np.concatenate(
        [m.wrist, m.body_path, m.turn, m.turn_world, m.flex, m.palm, m.fingers]
    )  # (23, 2, N, T): what Movement reads off, in its order
    found = runs_of(active.reshape(-1, frames).view(np.int8))
    movements: list[list[Movement]] = [[] for _ in range(clips)]
    spans: list[list[Span]] = [[] for _ in range(clips)]
    pad = int(0.3 * fps)
    on = found.value == 1
    for row, start, stop in zip(found.row[on].tolist(), found.start[on].tolist(), found.stop[on].tolist(), strict=True):
        hand, clip = divmod(row, clips)
        first, last = _padded(m.valid[hand, clip], start, stop, pad)
        span = Span(hand, first, last, weighed[:, hand, clip, first:last])
        movement = _analyse(
            span, others[:, hand, clip, first:last], m.wrist[:, hand, clip, first:last], start, stop, fps, t
        )
        if movement is not None:
            movements[clip].append(movement)
            spans[clip].append(span)
    for clip, several in enumerate(movements):
        order = sorted(range(len(several)), key=lambda i: (several[i].start, several[i].hand))
        movements[clip] = [several[i] for i in order]
        spans[clip] = [spans[clip][i] for i in order]
    return movements, spans


def _analyse(
    span: Span, others: Floats, wrist: Floats, start: int, stop: int, fps: float, t: CodeThresholds
) -> Movement | None:
    phase = phase_of(span.channels)
    spread = float(np.ptp(phase))
    if spread < t.movement_spans:
        return None
    fluttering = flutters(span.channels[6:11], t.reversal_share)
    if fluttering:
        phase = burst_phase(span.channels[6:11], fps) * spread
    path = path_of(wrist, t)
    if path.turns and path.extent < _CIRCLE_SHARE * spread * t.span_m:  # a tremor's loop beside a larger movement
        path = Path("curve", 0.0, 0.0, "", "", path.extent)
    count, low, high = _counts(phase, spread, path, t)
    rest, end = float(phase[:2].mean()), float(phase[-2:].mean())
    one_way = abs(end - rest) > 0.5 * spread
    lesser = min(float(phase.max()) - rest, rest - float(phase.min())) / spread
    two_sided = not one_way and lesser > t.two_sided_share
    tempo = _tempo(phase, span.channels[6:11], count, path, two_sided, fluttering, fps)
    centred = phase - phase.mean()
    moved = ((others - others.mean(1, keepdims=True)) @ centred) / (centred @ centred) * spread
    net = others[:3, -2:].mean(1) - others[:3, :2].mean(1)
    sizes = [
        float(np.linalg.norm(moved[:3])) / t.span_m,
        float(np.linalg.norm(moved[6:9])) / t.span_deg,
        float(np.linalg.norm(moved[12:17])) / t.span_flex_deg,
    ]
    step = np.diff(wrist, axis=1)
    return Movement(
        hand=("left", "right")[span.hand],
        start=round(start / fps, 4),
        end=round(stop / fps, 4),
        count=count,
        count_low=low,
        count_high=high,
        tempo_hz=round(tempo, 4),
        speed=SPEED_CLASSES[int(np.searchsorted([t.slow_hz, t.fast_hz], tempo))],
        spans=round(spread, 4),
        size=SIZE_CLASSES[int(np.searchsorted([t.small_spans, t.large_spans], spread))],
        peak_speed=round(float(np.sqrt((step**2).sum(0).max())) * fps, 4),
        channel=CHANNELS[int(np.argmax(sizes))],
        fluttering=fluttering,
        two_sided=two_sided,
        one_way=one_way,
        travel=_vector(moved[:3]),
        travel_body=_vector(moved[3:6]),
        net=_vector(net),
        turn=_vector(moved[6:9]),
        turn_world=_vector(moved[9:12]),
        flex=_vector(moved[12:17]),
        palm_change=_vector(moved[17:20]),
        pointing_change=_vector(moved[20:23]),
        path=path.shape,
        circling=path.circling,
        plane=path.plane,
        extent=round(path.extent, 4),
    )


def _counts(phase: Floats, spread: float, path: Path, t: CodeThresholds) -> tuple[int, int, int]:
    """Repetitions, and the least and most of them."""
    if path.turns:
        whole = round(path.turns)
        return whole, int(np.floor(path.turns + 0.3)), max(whole, int(np.ceil(path.turns - 0.3)))
    shares = (t.reversal_share, t.reversal_low_share, t.reversal_high_share)
    counts = [max(len(side) for side in turning_points(phase, share * spread)) for share in shares]
    return counts[0], min(counts), max(counts)


def _tempo(phase: Floats, flex: Floats, count: int, path: Path, two_sided: bool, fluttering: bool, fps: float) -> float:
    """Repetitions a second.

    From when the phase is first and last away from its rest by a fifth of its range: a bump of a raised cosine is so
    for 0.7 of its length, a sine for all but 0.13. A circle's is its angular speed, a flutter's that of its fingers. A
    movement that goes one way counts as 0.6 of a repetition (a stroke and a pause); fingers that move one after the
    other count one each.
    """
    if path.turns:
        return path.turns_a_frame * fps
    rest, end = float(phase[:2].mean()), float(phase[-2:].mean())
    if fluttering:
        return flutter_rate(flex, fps)
    least = 0.2 * float(np.ptp(phase))
    if count:
        first, last = _crossings(np.abs(phase - rest), least)
        return (count - (0.13 if two_sided else 0.3)) * fps / max(last - first, 1.0)
    middles = [_crossings(np.abs(f - f[:2].mean()), 0.5 * float(np.ptp(f)))[0] for f in flex if np.ptp(f) > _STEP_SPANS]
    if len(middles) > 1 and np.ptp(middles) > 0.1 * fps:
        return (len(middles) - 1) * fps / float(np.ptp(middles))
    first, last = _crossings(np.abs(phase - rest), least)[0], _crossings(np.abs(phase - end), least)[1]
    return 0.6 * 0.45 * fps / max(last - first, 1.0)  # a fifth to four fifths of a smooth step take 0.45 of it


def _crossings(signal: Floats, level: float) -> tuple[float, float]:
    """When a signal first rises above and last falls below a level, in frames, between frames by a straight line."""
    above = np.flatnonzero(signal > level)
    if not len(above):
        return 0.0, float(len(signal) - 1)
    first, last = int(above[0]), int(above[-1])
    early = (signal[first] - level) / (signal[first] - signal[first - 1]) if first else 0.0
    late = (signal[last] - level) / (signal[last] - signal[last + 1]) if last + 1 < len(signal) else 0.0
    return first - float(early), last + float(late)


def _speed(signal: Floats, fps: float) -> Floats:
    step = np.diff(signal, axis=-1)
    return np.sqrt(step[0] ** 2 + step[1] ** 2 + step[2] ** 2) * np.float32(fps)


def _padded(valid: Bools, start: int, stop: int, pad: int) -> tuple[int, int]:
    """The range widened by up to `pad` frames on both sides, as far as the hand was seen."""
    before, after = valid[max(start - pad, 0) : start], valid[stop : stop + pad]
    first = start - (len(before) if before.all() else int(before[::-1].argmin()))
    return first, stop + (len(after) if after.all() else int(after.argmin()))


def _vector(values: Floats) -> Vector:
    return tuple(round(float(v), 4) for v in values)
