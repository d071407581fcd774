"""Words for a hand shape, measured from the motion: which fingers are extended, where the palm faces.

Convention:
    Joints (..., 21, 3) in OpenPose order, metres, camera axes (x right, y down, z away from the camera).
    "Toward the viewer" is toward the camera. Everything is measured on the frames in which the hand is held
    most still, by medians, so that the same motion always gives the same words. What touches, is extended, curled,
    spread or together is what the motion codes say it is: `CodeThresholds`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from hand_geometry.codes import CodeThresholds
from numpy.typing import NDArray

Array = NDArray[np.float64]

FINGERS = ("index", "middle", "ring", "pinky")
SIDES = ("left", "right")

_BASES, _TIPS = np.array([5, 9, 13, 17]), np.array([8, 12, 16, 20])
_CODES = CodeThresholds()
_THUMB_ACROSS, _TRAVEL, _TURNED = -0.008, 0.06, np.radians(50.0)
"""What only these words tell apart: metres of the thumb's tip beyond the index knuckle, metres and radians of a clip's
movement."""

_FACING = {
    (0, 1): "right",
    (0, -1): "left",
    (1, 1): "down",
    (1, -1): "up",
    (2, 1): "away",
    (2, -1): "toward the viewer",
}


@dataclass(frozen=True)
class HandShape:
    """What a hand does, in words.

    Attributes:
        fingers: for index, middle, ring, pinky: "extended", "bent" (at the knuckle), "hooked" (at the outer
            joints), "curved" (at both) or "curled".
        together: the extended fingers lie side by side, or (False) two neighbours of them are spread; None where they
            are neither, and with fewer than two neighbours extended.
        crossed: index and middle finger are crossed.
        thumb: "out", "along the side", "across the palm", or "touching the ... finger".
        palm: where the palm faces.
        pointing: where the fingers would point if extended.
        movement: "held still", "moving ...", "turning" or "moving a little".
    """

    fingers: tuple[str, ...]
    together: bool | None
    crossed: bool
    thumb: str
    palm: str
    pointing: str
    movement: str

    def words(self) -> str:
        """The shape as a phrase, in a fixed order."""
        parts = [_finger_words(self.fingers)]
        if self.crossed:
            parts.append("index and middle crossed")
        elif self.together is not None:
            parts.append("fingers together" if self.together else "fingers spread")
        parts += [f"thumb {self.thumb}", f"palm facing {self.palm}", f"pointing {self.pointing}", self.movement]
        return ", ".join(parts)


def measure_shape(joints: Array, valid: NDArray[np.bool_], side: int) -> HandShape:
    """Measures one hand.

    Args:
        joints: (T, 21, 3).
        valid: (T,) bool with at least one True.
        side: 0 left, 1 right.

    Returns:
        The shape in the frames held most still, and the movement over all valid frames.

    Raises:
        ValueError: no valid frame.
    """
    if not valid.any():
        raise ValueError("Expected at least one valid frame, got none.")
    joints = np.asarray(joints, float)
    held = joints[_held_frames(joints, valid)]
    forward, across, normal = _palm_axes(held, side)
    knuckle, outer = _bends(held, forward, normal)
    states = tuple(_state(k, o) for k, o in zip(np.median(knuckle, 0), np.median(outer, 0), strict=True))
    together, crossed = _spread(held, across, states)
    return HandShape(
        fingers=states,
        together=together,
        crossed=crossed,
        thumb=_thumb(held, across, states),
        palm=_direction(normal),
        pointing=_direction(forward),
        movement=_movement(joints[valid], side),
    )


def describe_hands(joints: NDArray[np.floating], valid: NDArray[np.bool_]) -> str:
    """Words for all hands that were seen, the one seen longer first.

    Args:
        joints: (T, 2, 21, 3).
        valid: (T, 2) bool.

    Raises:
        ValueError: no hand was seen.
    """
    seen = [side for side in np.argsort(-valid.sum(0), kind="stable") if valid[:, side].any()]
    if not seen:
        raise ValueError("Expected at least one hand seen, got none.")
    points = np.asarray(joints, float)
    shapes = [measure_shape(points[:, side], valid[:, side], int(side)).words() for side in seen]
    if len(seen) == 1:
        return shapes[0]
    return "; ".join(f"the {SIDES[side]} hand {words}" for side, words in zip(seen, shapes, strict=True))


def _held_frames(joints: Array, valid: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The valid frames of least motion: a third of them, at least three."""
    frames = np.flatnonzero(valid)
    speed = np.linalg.norm(np.gradient(joints[frames], axis=0), axis=-1).mean(1) if len(frames) > 1 else np.zeros(1)
    smooth = np.convolve(np.pad(speed, 1, mode="edge"), np.ones(3) / 3, "valid")
    return np.sort(frames[np.argsort(smooth, kind="stable")[: max(3, len(frames) // 3)]])


def _unit(v: Array) -> Array:
    return np.asarray(v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9))


def _palm_axes(joints: Array, side: int) -> tuple[Array, Array, Array]:
    """(T, 3) each: along the middle metacarpal, across towards the thumb, out of the palm."""
    forward = _unit(joints[:, 9] - joints[:, 0])
    across = joints[:, 5] - joints[:, 17]
    across = _unit(across - (across * forward).sum(-1, keepdims=True) * forward)
    normal = np.cross(across, forward)
    return forward, across, normal if side == 1 else -normal


def _bends(joints: Array, forward: Array, normal: Array) -> tuple[Array, Array]:
    """Degrees, (T, 4) each: flexion of the knuckles, and of the two outer joints together."""
    bones = [_unit(joints[:, _BASES + k + 1] - joints[:, _BASES + k]) for k in range(3)]
    first = bones[0]
    knuckle = np.arctan2((first * normal[:, None]).sum(-1), (first * forward[:, None]).sum(-1))
    outer = sum(np.arccos(np.clip((bones[k] * bones[k + 1]).sum(-1), -1, 1)) for k in range(2))
    return np.degrees(knuckle), np.degrees(outer)


def _state(knuckle: float, outer: float) -> str:
    if outer > _CODES.outer_deg and knuckle + outer > _CODES.curled_deg:
        return "curled"
    if knuckle + outer < _CODES.extended_deg:
        return "extended"
    if outer < _CODES.outer_deg and knuckle > _CODES.knuckle_deg:
        return "bent"
    return "hooked" if outer > 3 * abs(knuckle) else "curved"


def _spread(joints: Array, across: Array, states: Sequence[str]) -> tuple[bool | None, bool]:
    directions = _unit(joints[:, _BASES + 1] - joints[:, _BASES])
    neighbours = [k for k in range(3) if states[k] == states[k + 1] == "extended"]
    if not neighbours:
        return None, False
    angle = np.arccos(np.clip((directions[:, :-1] * directions[:, 1:]).sum(-1), -1, 1))  # (T, 3)
    gap = ((joints[:, _TIPS[0]] - joints[:, _TIPS[1]]) * across).sum(-1)
    crossed = 0 in neighbours and float(np.median(gap)) < -0.002
    widest = float(np.degrees(np.median(angle[:, neighbours].max(1))))
    together = True if widest < _CODES.together_deg else False if widest > _CODES.open_deg else None
    return together, crossed


def _thumb(joints: Array, across: Array, states: Sequence[str]) -> str:
    tip = joints[:, 4]
    to_tips = np.median(np.linalg.norm(joints[:, _TIPS] - tip[:, None], axis=-1), 0)
    nearest = int(to_tips.argmin())
    if to_tips[nearest] < _CODES.tip_contact_m and states[nearest] != "extended":
        return f"touching the {FINGERS[nearest]} finger"
    sideways = float(np.median(((tip - joints[:, 5]) * across).sum(-1)))
    if sideways > _CODES.thumb_out_m:
        return "out"
    return "along the side" if sideways > _THUMB_ACROSS else "across the palm"


def _direction(vectors: Array) -> str:
    """The main axis of a mean direction, and the second one where it is nearly as strong."""
    mean = _unit(vectors.mean(0))
    order = np.argsort(-np.abs(mean), kind="stable")
    names = [_FACING[(int(k), 1 if mean[k] >= 0 else -1)] for k in order]
    return f"{names[0]} and {names[1]}" if abs(mean[order[1]]) > 0.6 * abs(mean[order[0]]) else names[0]


def _movement(joints: Array, side: int) -> str:
    """Over the middle of the clip: hands come up before a sign and go down after it."""
    margin = len(joints) // 5
    joints = joints[margin : len(joints) - margin]
    wrist = joints[:, 0]
    forward, _, normal = _palm_axes(joints, side)
    turned = max(np.arccos(np.clip((a @ a.T).min(), -1, 1)) for a in (forward, normal))
    travel = np.ptp(wrist, axis=0)
    axis = int(travel[:2].argmax())
    if travel[axis] > _TRAVEL:
        step = wrist[-1, axis] - wrist[0, axis]
        if abs(step) > 0.5 * np.abs(np.diff(wrist[:, axis])).sum():
            return f"moving {_FACING[(axis, 1 if step > 0 else -1)]}"
        return "moving from side to side" if axis == 0 else "moving up and down"
    if turned > _TURNED:
        return "turning"
    return "held still" if travel.max() < _CODES.move_m else "moving a little"


def _finger_words(states: Sequence[str]) -> str:
    """ "index and middle extended, ring and pinky curled"."""
    if len(set(states)) == 1:
        return f"all fingers {states[0]}"
    groups: dict[str, list[str]] = {}
    for finger, state in zip(FINGERS, states, strict=True):
        groups.setdefault(state, []).append(finger)
    return ", ".join(f"{_join(names)} {state}" for state, names in groups.items())


def _join(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
