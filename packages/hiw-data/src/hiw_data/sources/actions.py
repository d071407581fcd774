"""The scripted actions: one small function per family writes what one hand does.

Read `choreography` first for the words they are written in; `families` has the table that names them.
"""

from __future__ import annotations

import numpy as np

from hiw_data.sources.choreography import Cue, HandTrack, axis

FINGER_PHASES = (0.0, 0.37, 0.74, 0.11, 0.48)


def wave(hand: HandTrack, cue: Cue) -> None:
    """An open hand, palm forward, swings from the wrist."""
    hand.hold(fingers="up", palm="forward")
    hand.shape(0.05)
    hand.move(axis("up"), 0.10)
    if cue.direction == "from side to side":
        hand.swing -= 0.45 * cue.size * cue.swings()
        hand.move(axis("out"), 0.05 * cue.size * cue.swings())
    else:
        hand.bend += 0.45 * cue.size * cue.swings()
        hand.move(axis("down"), 0.04 * cue.size * cue.swings())


def fist(hand: HandTrack, cue: Cue) -> None:
    """All fingers close; a small movement closes them half."""
    hand.hold(fingers="up" if cue.direction == "forward" else "forward", palm=cue.direction)
    hand.shape(0.08 + min(0.65 * cue.size, 0.95) * cue.beats())


def point(hand: HandTrack, cue: Cue) -> None:
    """The index finger turns to the direction while the hand moves there."""
    target, reach = cue.towards(), cue.beats(width=2)
    hand.shape(0.8, 0.02, 0.95, 0.95, 0.95)
    hand.move(target, 0.12 * cue.size * reach)
    hand.swing -= 0.9 * target[0] * reach
    hand.bend += 0.9 * target[1] * reach


def pinch(hand: HandTrack, cue: Cue) -> None:
    """Thumb and index finger meet."""
    hand.hold(fingers=cue.direction, palm={"up": "forward", "forward": "down", "down": "back"}[cue.direction])
    hand.shape(0.1, 0.1, 0.3, 0.3, 0.3)
    hand.pinch += min(0.75 * cue.size, 1.0) * cue.beats()
    hand.move(cue.towards(), 0.03 * cue.size * cue.beats())


def clap(hand: HandTrack, cue: Cue) -> None:
    """Palms meet in the middle."""
    hand.hold(fingers=cue.direction, palm="in")
    hand.shape(0.06)
    hand.position[:, 0] = 0.035 + 0.09 * cue.size * (1 - cue.beats())
    hand.bend -= 0.1
    hand.move(axis("up"), 0.05)


def stir(hand: HandTrack, cue: Cue) -> None:
    """A spoon in the fist goes round in a pot."""
    sideways, ahead = cue.circles()
    hand.hold(fingers="forward", palm="in")
    hand.bend += 0.3
    hand.shape(0.6, 0.6, 0.75, 0.8, 0.8)
    hand.move(axis("out"), 0.05 * cue.size * sideways)
    hand.move(axis("forward"), 0.05 * cue.size * ahead)


def pour(hand: HandTrack, cue: Cue) -> None:
    """A cup in the hand is raised and tilted over."""
    tilt = cue.beats(width=1.6)
    hand.hold(fingers="forward", palm="in")
    hand.shape(0.55)
    hand.twist += 1.4 * cue.size**0.5 * cue.towards()[0] * tilt
    hand.move(axis("up"), 0.08 * tilt)


def knead(hand: HandTrack, cue: Cue) -> None:
    """Both heels of the hands press the dough in turn."""
    press = cue.beats(late=0.0 if cue.side > 0 else 0.5)
    hand.position[:, 0] = 0.07
    hand.shape(*[0.3 + 0.4 * (1 - press)] * 5)
    hand.bend -= 0.5 * press
    hand.move(cue.towards(), 0.07 * cue.size * press)


def type_keys(hand: HandTrack, cue: Cue) -> None:
    """Fingers flutter in bursts."""
    burst = cue.beats(width=3)
    flutter = [np.sin(2 * np.pi * (5 * cue.rate * cue.t + p + 0.2 * cue.side)) for p in FINGER_PHASES]
    hand.shape(*(0.3 + 0.3 * cue.size * burst * np.maximum(0, f) for f in flutter))
    hand.bend -= 0.15
    if cue.direction != "in place":
        drift = cue.rises(0.0, cue.duration) - 0.5
        hand.move(cue.towards(cue.direction.removeprefix("moving ")), 0.12 * cue.size * drift)


def piano(hand: HandTrack, cue: Cue) -> None:
    """Each run plays five keys, one finger after the other, while the hand travels."""
    upward = cue.direction == "up the keys"
    run = np.where(cue.done < cue.count, cue.done % 1, 0)
    order = range(5) if upward == (cue.side > 0) else range(4, -1, -1)
    press = [np.clip(1 - np.abs(run * 6 - 1 - k) / 0.9, 0, 1) for k in order]
    hand.shape(*(0.2 + 0.5 * cue.size**0.5 * p for p in press))
    hand.move(cue.towards("right" if upward else "left"), 0.16 * cue.size * (cue.beats() - 0.5))


def screw(hand: HandTrack, cue: Cue) -> None:
    """A pinched screwdriver turns by the forearm and is taken back."""
    sign = cue.side * (-1 if cue.direction == "counterclockwise" else 1)
    hand.hold(fingers="forward", palm="in")
    hand.shape(0.3, 0.3, 0.4, 0.5, 0.5)
    hand.pinch += 0.9
    hand.twist += 1.2 * cue.size**0.6 * sign * (cue.beats() - 0.3)


def cut(hand: HandTrack, cue: Cue) -> None:
    """A knife saws or chops."""
    hand.hold(fingers="forward", palm="in")
    hand.shape(0.7, 0.45, 0.9, 0.9, 0.9)
    if cue.direction == "back and forth":
        hand.move(axis("forward"), 0.07 * cue.size * cue.swings())
    else:
        hand.move(axis("up"), 0.08 * cue.size * (1 - cue.beats()))
        hand.swing += 0.5 * cue.size * (1 - cue.beats())


def knock(hand: HandTrack, cue: Cue) -> None:
    """Knuckles of a fist rap on a door (forward) or a table (down)."""
    rap = cue.beats(width=0.7)
    if cue.direction == "forward":
        hand.hold(fingers="up", palm="forward")
    hand.shape(0.95)
    hand.bend += 0.75 * cue.size * rap - 0.5
    hand.move(cue.towards(), 0.05 * cue.size * rap)


def wipe(hand: HandTrack, cue: Cue) -> None:
    """A flat hand wipes a table."""
    hand.shape(0.05)
    hand.move(axis("down"), 0.03)
    if cue.direction == "in circles":
        sideways, ahead = cue.circles()
        hand.move(axis("out"), 0.07 * cue.size * sideways)
        hand.move(axis("forward"), 0.07 * cue.size * ahead)
    else:
        line = axis("out") if cue.direction == "from side to side" else axis("forward")
        hand.move(line, 0.09 * cue.size * cue.swings())


def roll(hand: HandTrack, cue: Cue) -> None:
    """A ball between the palms, right above left."""
    above = cue.side > 0
    hand.hold(fingers="forward", palm="down" if above else "up")
    hand.shape(0.25)
    hand.position[:, 0] = 0.02
    hand.move(axis("up"), 0.045 if above else -0.045)
    if cue.direction == "back and forth":
        hand.move(axis("forward"), 0.06 * cue.size * cue.swings() * cue.side)
    else:
        sideways, ahead = cue.circles()
        hand.move(axis("out"), 0.04 * cue.size * sideways)
        hand.move(axis("forward"), 0.04 * cue.size * ahead * cue.side)


def count(hand: HandTrack, cue: Cue) -> None:
    """Fingers of a raised hand open one after the other, or close again."""
    curl = [np.full(len(cue.t), 0.95) for _ in range(5)]
    step = 1 / cue.rate
    for k, finger in enumerate((1, 2, 3, 4, 0)[: cue.count]):
        change = cue.rises(k * step, 0.6 * step)
        curl[finger] -= 0.92 * (change if cue.direction == "up to" else 1 - change)
    hand.hold(fingers="up", palm="forward")
    hand.shape(*curl)
    hand.move(axis("up"), 0.08 * cue.size)


def thumb(hand: HandTrack, cue: Cue) -> None:
    """A fist with the thumb out."""
    show = cue.beats(width=2)
    hand.hold(fingers="forward", palm="in" if cue.direction == "up" else "out")
    hand.shape(0.6 - 1.3 * show, *[0.4 + 0.58 * show] * 4)
    hand.twist += 0.35 * show
    hand.swing += 0.25 * show
    hand.move(cue.towards(), 0.09 * cue.size * show)


def lift(hand: HandTrack, cue: Cue) -> None:
    """The hand reaches down, grasps, lifts, puts back."""
    raised = cue.beats()
    hand.hold(fingers="forward", palm="in")
    hand.shape(0.05 + 0.6 * cue.beats(width=3))
    hand.move(axis("down"), 0.05)
    target = axis("up") if cue.direction == "up" else 0.8 * cue.towards() + 0.6 * axis("up")
    hand.move(target, 0.14 * cue.size * raised)


def push(hand: HandTrack, cue: Cue) -> None:
    """A flat palm faces where it pushes."""
    target = cue.towards()
    hand.shape(0.08)
    hand.fingers = axis("up") if cue.direction == "forward" else axis("forward")
    hand.palm = target
    hand.move(target, 0.13 * cue.size * cue.beats())


def pull(hand: HandTrack, cue: Cue) -> None:
    """A hand reaches out, closes round a handle, draws it near, lets go."""
    hand.shape(0.1 + 0.85 * cue.beats(width=3))
    hand.move(axis("forward"), 0.06)
    if cue.direction == "down":
        hand.hold(fingers="up", palm="forward")
    else:
        hand.hold(fingers="forward", palm="in")
    hand.move(cue.towards(), 0.14 * cue.size * cue.beats())


def throw(hand: HandTrack, cue: Cue) -> None:
    """The wrist cocks back, flings, and the fingers let go."""
    palm = "forward" if cue.direction == "forward" else "up"
    fling = cue.beats(width=0.8)
    hand.hold(fingers="up" if palm == "forward" else "forward", palm=palm)
    hand.shape(0.1 + 0.6 * (1 - fling))
    hand.bend += 0.9 * cue.size * fling - 0.7
    hand.move(cue.towards(), 0.15 * cue.size * fling)


def beckon(hand: HandTrack, cue: Cue) -> None:
    """The four fingers call somebody near."""
    call = cue.beats()
    hand.hold(fingers="forward", palm=cue.direction)
    hand.shape(0.2, *[0.1 + 0.55 * cue.size**0.5 * call] * 4)
    hand.bend += 0.5 * cue.size * call
    hand.move(axis("back"), 0.04 * cue.size * call)


def wring(hand: HandTrack, cue: Cue) -> None:
    """Two fists turn a towel against each other."""
    sign = cue.side * (1 if cue.direction == "right hand forward" else -1)
    hand.position[:, 0] = 0.06
    hand.shape(0.9)
    hand.bend += 0.7 * cue.size * sign * cue.beats()
    hand.move(axis("down"), 0.02 * cue.size * sign * cue.beats())


def turn(hand: HandTrack, cue: Cue) -> None:
    """The palm turns over, and back."""
    sign = 1 if cue.direction == "up" else -1
    hand.hold(fingers="forward", palm="down" if sign > 0 else "up")
    hand.shape(0.15)
    hand.twist += sign * np.pi * min(0.72 * cue.size**0.6, 0.95) * cue.beats(width=1.5)


def drum(hand: HandTrack, cue: Cue) -> None:
    """Flat hands beat on a drum."""
    late = 0.5 if cue.direction == "alternately" and cue.side < 0 else 0.0
    hit = cue.beats(late=late)
    hand.position[:, 0] = 0.10
    hand.shape(0.12)
    hand.move(axis("up"), 0.09 * cue.size * (1 - hit))
    hand.bend -= 0.45 * cue.size * (1 - hit)


def shake(hand: HandTrack, cue: Cue) -> None:
    """A bottle in the hand is shaken."""
    hand.hold(fingers="forward", palm="in")
    hand.shape(0.6)
    if cue.direction == "up and down":
        hand.move(axis("up"), 0.07 * cue.size * cue.swings())
        hand.swing += 0.3 * cue.size * cue.swings()
    else:
        hand.move(cue.towards("right"), 0.07 * cue.size * cue.swings())
        hand.bend += 0.3 * cue.size * cue.swings() * -cue.towards("right")[0]


def draw(hand: HandTrack, cue: Cue) -> None:
    """The index finger draws a figure on a wall ahead."""
    hand.shape(0.8, 0.02, 0.95, 0.95, 0.95)
    hand.move(axis("forward"), 0.05)
    if cue.direction == "a circle":
        sideways, ahead = cue.circles()
        hand.move(axis("out"), 0.07 * cue.size * sideways)
        hand.move(axis("up"), 0.07 * cue.size * ahead)
    else:
        across = cue.direction == "a horizontal line"
        hand.move(cue.towards("right") if across else axis("down"), 0.1 * cue.size * cue.swings())
