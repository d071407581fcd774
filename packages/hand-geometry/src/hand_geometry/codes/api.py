"""The front door: motion codes of joints, one clip or a batch, and the object that holds them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hand_geometry.codes.claims import Claim
from hand_geometry.codes.contact import contact_distances
from hand_geometry.codes.events import change_events, contact_events
from hand_geometry.codes.geometry import Floats, measure
from hand_geometry.codes.movement import Movement, activity, channels_of, movements_of
from hand_geometry.codes.relation import Pairing, pairings_of
from hand_geometry.codes.states import state_runs
from hand_geometry.codes.summary import HandSummary, summaries
from hand_geometry.codes.table import Columns, Event, State, events_of, joined, split_by_clip, states_of
from hand_geometry.codes.thresholds import CodeThresholds
from hand_geometry.errors import InputError, ShapeError

_CHUNK_FRAMES = 4096


@dataclass(frozen=True)
class MotionCodes:
    """What two hands do in one clip.

    Attributes:
        fps: Frames a second.
        frames: Length of the clip.
        event_table, state_table: Columns, see ``table``; ``events`` and ``states`` are the same as records.
        movements: In order of their start; see ``movement``.
        pairings: Movements of both hands at the same time; see ``relation``.
        hands: Left and right: how much each was seen, where it faces and points.
        thresholds: What the codes were made with.
    """

    fps: float
    frames: int
    event_table: Columns = field(repr=False, compare=False)
    state_table: Columns = field(repr=False, compare=False)
    movements: tuple[Movement, ...]
    pairings: tuple[Pairing, ...]
    hands: tuple[HandSummary, HandSummary]
    thresholds: CodeThresholds

    @property
    def seconds(self) -> float:
        """Length of the clip."""
        return self.frames / self.fps

    @property
    def events(self) -> list[Event]:
        """All events, by start."""
        return events_of(self.event_table, self.fps)

    @property
    def states(self) -> list[State]:
        """All states, by start."""
        return states_of(self.state_table, self.fps)

    def claims(self, every: float | None = None, *, wanted: Callable[[Claim], bool] | None = None) -> list[Claim]:
        """What a caption could truly say of this clip, as claims; each of them is fulfilled by these codes.

        Args:
            every: None for claims of the whole clip; or seconds, for claims of each stretch of so many of them
                (hands, fingers, handshape, facing, contact, place), whose ``when`` says which.
            wanted: Of the whole clip, which claims are looked at, where few of them are needed; None for all.

        Raises:
            InputError: If ``every`` is below 0.1.
        """
        from hand_geometry.codes.derive import claims_by_time, derive_claims

        return derive_claims(self, wanted) if every is None else claims_by_time(self, every)

    def to_json(self) -> str:
        """The codes as JSON text; ``from_json`` gives equal ones back."""
        from hand_geometry.codes.serialisation import to_json

        return to_json(self)

    @staticmethod
    def from_json(text: str) -> MotionCodes:
        """Codes of JSON text.

        Raises:
            InputError: If the text is no JSON of motion codes.
        """
        from hand_geometry.codes.serialisation import from_json

        return from_json(text)


def motion_codes(
    joints: Any, valid: Any = None, fps: float = 15.0, thresholds: CodeThresholds | None = None
) -> MotionCodes | list[Any]:
    """Events, states, movements and relations of two hands (after PoseScript's posecodes and HandX).

    Args:
        joints: Shape (T, 2, 21, 3), metres, hands left then right, keypoints in OpenPose/MediaPipe order, world axes
            x right, y down, z forward. Or a batch (..., T, 2, 21, 3). NumPy or torch.
        valid: Which hands were seen, shape (T, 2) or (..., T, 2) bool; None for all. Unseen frames may hold
            anything, make no event and are in no state.
        fps: Frames a second.
        thresholds: Where measurements become codes; None for the defaults.

    Returns:
        ``MotionCodes``; for a batch a list of them, nested as the leading axes are.

    Raises:
        ShapeError: If a shape does not fit.
        InputError: If ``fps`` is not positive, there are no frames, or a seen frame holds NaN or infinity.
    """
    x, seen = checked_joints(joints, valid, fps)
    t = thresholds or CodeThresholds()
    lead, frames = x.shape[:-4], x.shape[-4]
    x, seen = x.reshape(-1, *x.shape[-4:]), seen.reshape(-1, frames, 2)
    size = max(1, _CHUNK_FRAMES // frames)
    flat: list[Any] = []
    for first in range(0, len(x), size):
        flat += _coded(x[first : first + size], seen[first : first + size], float(fps), t)
    return _nested(flat, lead)


def codes_of_clips(
    joints: Sequence[Any], valid: Sequence[Any] | None = None, fps: float | Sequence[float] = 15.0
) -> list[MotionCodes]:
    """``motion_codes`` of clips of any lengths; those of a length and rate are measured together.

    Args:
        joints: Shape (T_i, 2, 21, 3) of each, see ``motion_codes``.
        valid: Shape (T_i, 2) of each; None for all.
        fps: One rate for all, or one for each.
    """
    rates = [float(fps)] * len(joints) if isinstance(fps, float | int) else [float(rate) for rate in fps]
    alike: dict[tuple[int, float], list[int]] = {}
    for i, own in enumerate(joints):
        alike.setdefault((len(own), rates[i]), []).append(i)
    found: dict[int, MotionCodes] = {}
    for (_, rate), members in alike.items():
        seen = None if valid is None else np.stack([valid[i] for i in members])
        many: Any = motion_codes(np.stack([joints[i] for i in members]), seen, rate)  # of a batch: a list
        found |= dict(zip(members, many, strict=True))
    return [found[i] for i in range(len(joints))]


def _coded(joints: Floats, valid: NDArray[np.bool_], fps: float, t: CodeThresholds) -> list[MotionCodes]:
    clips, frames = valid.shape[:2]
    m = measure(joints, valid, fps, t.smoothing_s)
    contact = contact_distances(m)
    active = activity(m, fps, t)
    events = joined([change_events(m, contact, fps, t), *contact_events(m, contact, t)])
    states = joined([state_runs(m, contact, active, fps, t)])
    channels = channels_of(m, contact, fps, t)
    movements, spans = movements_of(m, channels, active, fps, t)
    tables = zip(split_by_clip(events, clips), split_by_clip(states, clips), strict=True)
    return [
        MotionCodes(
            fps=fps,
            frames=frames,
            event_table=event_table,
            state_table=state_table,
            movements=tuple(movements[clip]),
            pairings=tuple(pairings_of(movements[clip], spans[clip], channels[:, :, clip], t)),
            hands=hands,
            thresholds=t,
        )
        for clip, ((event_table, state_table), hands) in enumerate(zip(tables, summaries(m), strict=True))
    ]


def checked_joints(joints: Any, valid: Any, fps: float) -> tuple[Floats, NDArray[np.bool_]]:
    """Joints (..., T, 2, 21, 3) float32 and validity (..., T, 2), or the errors that ``motion_codes`` lists."""
    x = np.asarray(joints.detach().cpu() if hasattr(joints, "detach") else joints, np.float32)
    if x.ndim < 4 or x.shape[-3:] != (2, 21, 3):
        raise ShapeError("joints", "(..., T, 2, 21, 3)", x.shape, "Frames, hands, joints, xyz.")
    if valid is None:
        seen = np.ones(x.shape[:-2], np.bool_)
    else:
        seen = np.asarray(valid.detach().cpu() if hasattr(valid, "detach") else valid).astype(np.bool_)
    if seen.shape != x.shape[:-2]:
        raise ShapeError("valid", str(x.shape[:-2]), seen.shape, "One flag a frame and hand.")
    if not (np.isfinite(fps) and fps > 0):
        raise InputError(f"fps: Expected a positive rate, got {fps}. Pass frames per second.")
    if x.shape[-4] == 0:
        raise InputError("joints: Expected at least one frame, got none. Leave empty clips out.")
    if not np.isfinite(x[seen]).all():
        raise InputError("joints: Expected finite numbers in seen frames, got NaN or infinity. Mark them in `valid`.")
    return x, seen


def _nested(flat: list[Any], lead: Sequence[int]) -> Any:
    if not lead:
        return flat[0]
    for size in reversed(lead[1:]):
        flat = [flat[i : i + size] for i in range(0, len(flat), size)]
    return flat
