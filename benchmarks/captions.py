"""Captions from motion against the scripted source's truth, and the fact-checker on captions with one fact changed.

    python benchmarks/captions.py                 both parts, two minutes
    python benchmarks/captions.py --seed 9 facts

Facts: captions are written from the motion alone; every claim that they make is held against what the script says of
the clip: its attributes, its rate, and its own tracks before noise (wrist path, turning, curl), never the motion codes.
Claims of which the script says nothing are counted apart. What is slow and small is absolute in these captions; the
script's rate decides about speed, and nothing in the script about size.

Checker: the captions are the script's own. Changed ones are written by it from attributes with one of hand, direction,
repetitions, speed and size changed to another value that the family can have; a change counts as found if the changed
fact is contradicted. The size of counting on fingers does not show in the motion (it is how high a hand was raised
before the clip begins), so it is not changed. Speed and size are told by norms measured on other seeds.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
from hand_geometry import features_to_params
from hand_geometry.codes import Claim, CodeThresholds
from hand_geometry.codes.claims import SWINGS
from hand_geometry.codes.vocabulary import DIRECTIONS
from hiw_data import ProceduralSource
from hiw_data.captioning import check_caption, describe_motion
from hiw_data.captioning.norms import CALIBRATION_SEED
from hiw_data.sources.families import FAMILIES
from hiw_data.sources.procedural import _draw_attributes, _write_captions, codes_of, to_features
from scipy.spatial.transform import Rotation

FPS = 15.0
KINDS = {
    "hand": {"hands"},
    "direction": {"direction", "palm", "pointing", "turn", "shape", "circling", "relation", "handshape", "number"},
    "repetitions": {"count", "number"},
    "speed": {"speed"},
    "size": {"size"},
}
CLASSES = {"speed": ("slow", "medium", "fast"), "size": ("small", "medium", "large")}
LIMITS = CodeThresholds()


class Script:
    """What the script says of one clip, before noise, in the world's axes."""

    def __init__(self, source: ProceduralSource, index: int) -> None:
        family, rng = FAMILIES[index % len(FAMILIES)], np.random.default_rng([source.seed, index])
        sketch = source.sketch(index, FPS)
        self.attributes = sketch.attributes
        attributes, self.rate = _draw_attributes(family, rng, seconds=source.frames / FPS)
        if attributes != self.attributes:
            raise SystemExit(f"Clip {index}: the script draws other attributes than the clip has.")
        silent = replace(sketch, jitter=0 * sketch.jitter, tremor=0 * sketch.tremor)
        orient = features_to_params(to_features([silent])[0])["global_orient"]  # (T, 2, 3)
        turned = Rotation.from_rotvec(orient.reshape(-1, 3)).as_matrix().reshape(-1, 2, 3, 3)
        self.palm, self.fingers = -turned[..., 1].copy(), -turned[..., 0].copy()  # of a right hand: -y and -x at rest
        self.fingers[:, 0] *= -1  # a left hand's fingers are along +x at rest
        self.turn = [
            (Rotation.from_matrix(turned[:, h]) * Rotation.from_matrix(turned[:1, h]).inv()).as_rotvec() for h in (0, 1)
        ]
        self.tracks = sketch.tracks
        self.paths = [track.position * sign for track, sign in zip(sketch.tracks, ([-1, 1, 1], [1, 1, 1]), strict=True)]

    def says(self, claim: Claim) -> bool | None:
        """Whether a claim is true; None where the script says nothing of it."""
        test = getattr(self, f"_{claim.kind}", None)
        if test is None:
            return None
        hands = {"left": (0,), "right": (1,)}.get(claim.hand, (0, 1))
        answers = [test(claim, hand) for hand in hands]
        return None if None in answers else all(answers)

    def _acts(self, hand: int) -> bool:
        return self.attributes["hand"] in (("left", "right")[hand], "both")

    def _hands(self, claim: Claim, hand: int) -> bool | None:
        return self._acts(hand) == (claim.value == "moves")

    def _count(self, claim: Claim, hand: int) -> bool | None:
        if self.attributes["family"] == "count":
            return None
        return self._acts(hand) and int(claim.value) == self.attributes["repetitions"]

    def _speed(self, claim: Claim, hand: int) -> bool | None:
        """By the script's rate; fingers on keys go up five times in each repetition."""
        family = self.attributes["family"]
        if family == "count" and self.attributes["repetitions"] < 2:
            return None
        rate = self.rate * (5 if family == "type" else 1)
        return CLASSES["speed"][int(np.searchsorted([LIMITS.slow_hz, LIMITS.fast_hz], rate))] == claim.value

    def _direction(self, claim: Claim, hand: int) -> bool | None:
        path = self.paths[hand] - self.paths[hand][0]
        far = path[np.linalg.norm(path, axis=1).argmax()]
        net = path[-1]
        if claim.value == "in-place":
            return bool(np.linalg.norm(net) < 0.03)
        axis = int(np.ptp(path, axis=0).argmax())
        if np.ptp(path[:, axis]) < 0.01:
            return None
        if claim.value in SWINGS:
            return SWINGS[axis] == claim.value
        return any(v[axis] != 0 and DIRECTIONS[2 * axis + int(v[axis] < 0)] == claim.value for v in (far, net))

    def _circling(self, claim: Claim, hand: int) -> bool | None:
        """Circles without a sense of their own are written clockwise; a ball is rolled by the upper, right hand."""
        direction = self.attributes["direction"]
        if direction in ("in circles", "a circle"):
            return claim.value == "clockwise"
        if direction not in ("clockwise", "counterclockwise") or self.attributes["family"] == "screw":
            return False
        return (claim.value == direction) != (self.attributes["family"] == "roll" and hand == 0)

    def _palm(self, claim: Claim, hand: int) -> bool | None:
        axis = _axis(claim.value)
        if claim.subject == "turns":
            path = self.palm[:, hand] @ axis
            return bool(path.max() - path[0] > 0.4)
        return self._faces(self.palm[:, hand], axis)

    def _pointing(self, claim: Claim, hand: int) -> bool | None:
        return self._faces(self.fingers[:, hand], _axis(claim.value))

    @staticmethod
    def _faces(vectors: np.ndarray, axis: np.ndarray) -> bool:
        return bool((vectors @ axis > np.abs(vectors).max(1) - 1e-6).mean() > 0.5)

    def _turn(self, claim: Claim, hand: int) -> bool | None:
        if claim.value not in ("clockwise", "counterclockwise"):
            return None
        far = self.turn[hand][np.linalg.norm(self.turn[hand], axis=1).argmax()]
        return bool(np.abs(far).argmax() == 2 and (far[2] > 0) == (claim.value == "clockwise"))

    def _fingers(self, claim: Claim, hand: int) -> bool | None:
        if claim.value not in ("bends", "extends"):
            return None
        track = self.tracks[hand]
        names = ("thumb", "index", "middle", "ring", "pinky")
        wanted = names[1:] if claim.subject == "fingers" else tuple(claim.subject.split("+"))
        sign = 1 if claim.value == "bends" else -1
        curl = track.curl + track.pinch[:, None]  # a pinch bends its fingers as well
        change = [(sign * (curl[:, names.index(n)] - curl[0, names.index(n)])).max() for n in wanted]
        return min(change) > 0.1

    def _handshape(self, claim: Claim, hand: int) -> bool | None:
        curl = self.tracks[hand].curl[:, 1:]
        straight, closed = (curl < 0.22).mean(0) > 0.4, (curl > 0.5).mean(0) > 0.4
        shapes = {"fist": closed.all(), "open": straight.all(), "flat": straight.all()}
        shapes["point"] = straight[0] and closed[1:].all()
        return bool(shapes[claim.value]) if claim.value in shapes else None

    def _contact(self, claim: Claim, hand: int) -> bool | None:
        """A pinch is a contact; of hands that are half closed the script does not say whether thumb and index touch."""
        track = self.tracks[hand]
        return bool(track.pinch.max() > 0.7) if track.pinch.max() > 0 or track.curl[:, :2].max() < 0.3 else None

    def _relation(self, claim: Claim, hand: int) -> bool | None:
        """Mirrored where the script moves both hands alike; in turn where it delays one."""
        left, right = self.tracks
        alike = np.allclose(left.position, right.position) and np.allclose(left.bend, right.bend)
        late = self.attributes["family"] == "knead" or self.attributes["direction"] == "alternately"
        if claim.value == "mirrored":
            return bool(alike)
        return late if claim.value == "alternating" else None


def _axis(name: str) -> np.ndarray:
    index = DIRECTIONS.index(name)
    return np.eye(3)[index // 2] * (-1 if index % 2 else 1)


def scripted(clips: int, seed: int) -> tuple[ProceduralSource, list[Any], list[Any]]:
    source = ProceduralSource(clips, seed)
    found: list[Any] = list(source.stream(FPS))
    return source, found, codes_of([clip["features"] for clip in found], FPS)


def facts(clips: int, seed: int) -> None:
    source, _, codes = scripted(clips, seed)
    right: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    open_: Counter[str] = Counter()
    texts = contradicted = 0
    start = time.perf_counter()
    described = [describe_motion(code, seed=index) for index, code in enumerate(codes)]
    seconds = time.perf_counter() - start
    for index, captions in enumerate(described):
        script = Script(source, index)
        whole = (*captions.short, *captions.medium, *captions.long)
        for caption in whole:
            texts += 1
            contradicted += bool(check_caption(caption.text, codes[index]).contradictions)
            for claim in caption.claims:
                answer = script.says(claim)
                (open_ if answer is None else right if answer else wrong)[claim.kind] += 1
    total = sum(right.values()) + sum(wrong.values())
    print(f"\ncaptions from motion: {texts} of {clips} clips of seed {seed}, {texts / seconds:,.0f} a second")
    print(f"  stated facts right {sum(right.values()) / total:.2%} of {total} (goal 97%)")
    for kind in sorted(right | wrong):
        n = right[kind] + wrong[kind]
        print(f"    {kind:10s} {right[kind] / n:7.2%} of {n}")
    said_nothing = ", ".join(f"{kind} {n}" for kind, n in sorted(open_.items()))
    print(f"  of which the script says nothing: {said_nothing}")
    print(f"  captions that the fact-checker contradicts: {contradicted / texts:.2%}")


def checker(clips: int, seed: int) -> None:
    _, found, codes = scripted(clips, seed)
    rng = np.random.default_rng(seed)
    changed: Counter[str] = Counter()
    caught: Counter[str] = Counter()
    alarms = captions = 0
    for index, (clip, code) in enumerate(zip(found, codes, strict=True)):
        family, attributes = FAMILIES[index % len(FAMILIES)], clip["attributes"]
        for text in clip["captions"]:
            captions += 1
            alarms += bool(check_caption(text, code).contradictions)
        if sum(changed.values()) < 1000:
            fact, value = _change(family, attributes, rng)
            text = _write_captions(family, {**attributes, fact: value}, rng)[1]
            kinds = {c.claim.split(":")[0] for c in check_caption(text, code).contradictions}
            changed[fact] += 1
            caught[fact] += bool(kinds & KINDS[fact])
    print(f"\nthe fact-checker, clips of seed {seed}")
    share = sum(caught.values()) / sum(changed.values())
    print(f"  {sum(changed.values())} captions with one fact changed: {share:.1%} found (goal 95%)")
    for fact in KINDS:
        print(f"    {fact:12s} {caught[fact] / max(changed[fact], 1):7.1%} of {changed[fact]}")
    print(f"  {captions} unchanged captions: {alarms / captions:.2%} with a false alarm (goal at most 2%)")


def _change(family: Any, attributes: dict[str, Any], rng: np.random.Generator) -> tuple[str, Any]:
    """A fact and another value of it that the family can have."""
    options = {
        "hand": family.hands,
        "direction": tuple(family.directions),
        "repetitions": tuple(range(1, family.most + 1)),
        **CLASSES,
    }
    if family.name == "count":
        del options["size"]
    fact = str(rng.choice([name for name, values in options.items() if len(values) > 1]))
    others = [value for value in options[fact] if value != attributes[fact]]
    return fact, others[int(rng.integers(len(others)))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="facts, checker; default both")
    parser.add_argument("--clips", type=int, default=1080, help="scripted clips (default %(default)s)")
    parser.add_argument("--seed", type=int, default=16, help="of the scripted clips (default %(default)s)")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - {"facts", "checker"}:
        parser.error(f"Expected parts of facts, checker, got {', '.join(sorted(unknown))}.")
    if arguments.seed == CALIBRATION_SEED:
        parser.error(f"Expected another seed than {CALIBRATION_SEED}, on which the norms were measured.")
    if "facts" in (arguments.parts or ["facts"]):
        facts(arguments.clips, arguments.seed)
    if "checker" in (arguments.parts or ["checker"]):
        checker(arguments.clips, arguments.seed)


if __name__ == "__main__":
    main()
