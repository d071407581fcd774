"""What actions are written with: a cue that tells time, and a track that holds one hand's movement.

Convention:
    Actions are written for a right hand, in the frame of a head camera: x out (away from the other hand),
    y down, z forward. A left hand does the mirror image. Metres, seconds, radians.
    The wrist turns in its own frame: `twist` > 0 turns the thumb outward (supination), `swing` > 0 moves the
    fingers towards the thumb's side (radial deviation), `bend` > 0 moves them towards the palm (flexion).
    With fingers forward and palm down, `bend=+pi/2` makes the fingers point down, `twist=+pi/2` turns the
    palm inward with the thumb up.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SPEEDS = {"slow": 0.65, "medium": 1.0, "fast": 1.6}
SIZES = {"small": 0.6, "medium": 1.0, "large": 1.5}
REST_WRIST = (0.13, 0.0, 0.0)

_AXES = {
    "out": (1.0, 0.0, 0.0),
    "in": (-1.0, 0.0, 0.0),
    "up": (0.0, -1.0, 0.0),
    "down": (0.0, 1.0, 0.0),
    "forward": (0.0, 0.0, 1.0),
    "back": (0.0, 0.0, -1.0),
}


def axis(name: str) -> Array:
    """The unit vector of "out", "in", "up", "down", "forward" or "back", shape (3,)."""
    return np.array(_AXES[name])


def smoothstep(x: Array) -> Array:
    """0 below 0, 1 above 1, and smooth between."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


@dataclass(frozen=True)
class Cue:
    """When and how a hand acts.

    Attributes:
        t: (T,) time of each frame.
        start: when the first repetition begins.
        rate: repetitions a second.
        count: number of repetitions.
        size: factor of amplitude, see SIZES.
        direction: one of the family's directions.
        side: +1 right hand, -1 left hand.
    """

    t: Array
    start: float
    rate: float
    count: int
    size: float
    direction: str
    side: int

    @property
    def done(self) -> Array:
        """(T,) repetitions done so far, from 0 to `count`."""
        return np.clip((self.t - self.start) * self.rate, 0, self.count)

    @property
    def duration(self) -> float:
        """Seconds from the first repetition's start to the last one's end."""
        return self.count / self.rate

    def beats(self, width: float = 1.0, *, late: float = 0.0) -> Array:
        """(T,) one smooth bump from 0 to 1 and back per repetition.

        Args:
            width: above 1 makes bumps wider, with a plateau; below 1 narrower.
            late: delay in repetitions (0.5: in the gaps of the other hand).
        """
        phase = np.clip((self.t - self.start) * self.rate - late, 0, self.count)
        return (0.5 - 0.5 * np.cos(2 * np.pi * phase)) ** (1 / width)

    def swings(self) -> Array:
        """(T,) one period of a sine per repetition, in [-1, 1]."""
        return np.sin(2 * np.pi * self.done)

    def circles(self) -> tuple[Array, Array]:
        """One turn per repetition: (T,) sideways and (T,) ahead, clockwise unless the direction says other.

        Clockwise as the wearer sees it from above (or from behind): ahead, right, back, left. Sideways is in
        the hand's frame, out > 0.
        """
        sign = -1 if self.direction == "counterclockwise" else 1
        angle = 2 * np.pi * self.done
        inside = smoothstep((self.t - self.start + 0.25) / 0.3)
        inside = inside * (1 - smoothstep((self.t - self.start - self.duration) / 0.3))
        return sign * self.side * np.sin(angle) * inside, np.cos(angle) * inside

    def rises(self, after: float, duration: float) -> Array:
        """(T,) from 0 to 1 within `duration` seconds, beginning `after` seconds past the start."""
        return smoothstep((self.t - self.start - after) / duration)

    def towards(self, name: str | None = None) -> Array:
        """(3,) a world direction in the hand's frame: "left" is out for a left hand and in for a right one."""
        name = name or self.direction
        if name in ("left", "right"):
            return axis("out" if (name == "right") == (self.side > 0) else "in")
        return axis(name)


@dataclass
class HandTrack:
    """One hand over T frames; actions change it in place.

    Attributes:
        position: (T, 3) of the wrist.
        twist, swing, bend: (T,) angles, see the module.
        curl: (T, 5) thumb to pinky, 0 open, 1 fist.
        pinch: (T,) 0 none, 1 thumb and index finger touch.
        fingers, palm: (3,) where the fingers point and the palm faces before twist, swing and bend.
    """

    position: Array
    twist: Array
    swing: Array
    bend: Array
    curl: Array
    pinch: Array
    fingers: Array = field(default_factory=lambda: axis("forward"))
    palm: Array = field(default_factory=lambda: axis("down"))

    @classmethod
    def at_rest(cls, frames: int) -> HandTrack:
        """A relaxed hand: wrist beside the origin, fingers forward, palm down, slightly curled."""
        position = np.tile(REST_WRIST, (frames, 1))
        twist, swing, bend, pinch = np.zeros((4, frames))
        return cls(position, twist, swing, bend, np.full((frames, 5), 0.25), pinch)

    def hold(self, *, fingers: str, palm: str) -> None:
        """Sets where the fingers point and the palm faces; the two are perpendicular."""
        self.fingers, self.palm = axis(fingers), axis(palm)

    def move(self, direction: Array, amount: Array | float) -> None:
        """Moves the wrist along a direction (3,) by (T,) or constant metres."""
        self.position += np.multiply.outer(np.broadcast_to(amount, len(self.position)), direction)

    def shape(self, *curl: float | Array) -> None:
        """Sets the curl: one value for all fingers, or five from thumb to pinky; each constant or (T,)."""
        values = curl * 5 if len(curl) == 1 else curl
        self.curl = np.stack([np.broadcast_to(v, len(self.curl)) for v in values], 1).astype(float)
