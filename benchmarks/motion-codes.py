"""Motion codes: how fast, and how often they recover the truth of scripted clips.

    OMP_NUM_THREADS=1 python benchmarks/motion-codes.py           both parts, a minute
    python benchmarks/motion-codes.py --clips 2700 --seed 9 truth

Speed is frames of two hands a second of CPU time on one thread, medians of several rounds. Truth is the attributes of
the scripted source (hand, direction, repetitions, speed, size), which the codes never see; every other direction, speed
and size that the clip's family could have had is held against the codes as well and should be contradicted. Speed and
size are relative to the family, so they are told by norms measured on other seeds (`hiw_data.captioning.calibrate`);
the rate in repetitions a second is absolute.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from hand_geometry import features_to_joints, motion_codes
from hand_geometry.codes import CONTRADICTED, FULFILLED, Claim, MotionCodes, codes_of_clips, evaluate
from hiw_data import ProceduralSource
from hiw_data.captioning.norms import CALIBRATION_SEED, load_norms
from hiw_data.captioning.scripted import direction_claim, true_claims
from hiw_data.sources.families import FAMILIES

FPS = 15.0
DIRECTIONS = {family.name: family.directions for family in FAMILIES}
CLASSES = {"speed": ("slow", "medium", "fast"), "size": ("small", "medium", "large")}
FACTS = ("hand", "idle", "direction", "count", "contact", "fingers", "speed", "size")


def scripted_clips(clips: int, seed: int, **lengths: Any) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
    """Clips of the scripted source and the joints (T, 2, 21, 3) of each."""
    found: list[Any] = list(ProceduralSource(clips, seed, **lengths).stream(FPS))
    return found, [np.asarray(features_to_joints(clip["features"])) for clip in found]


def coded(joints: Any) -> list[MotionCodes]:
    """Motion codes of clips (N, T, 2, 21, 3)."""
    codes: Any = motion_codes(joints, None, FPS)
    return list(codes)


def frames_per_second(run: Callable[[], object], frames: int, rounds: int) -> float:
    run()
    times = []
    for _ in range(rounds):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return frames / statistics.median(times)


def speed() -> None:
    joints = np.stack(scripted_clips(540, 3, frames=64, min_frames=64)[1])
    long = joints.reshape(-1, 2, 21, 3)
    rows = {
        "540 clips of 64 frames, one call": (lambda: coded(joints), len(long), 5),
        "one clip of 34,560 frames": (lambda: motion_codes(long, None, FPS), len(long), 5),
        "clips of 64 frames, one call each": (lambda: [motion_codes(x, None, FPS) for x in joints[:100]], 6400, 5),
        "540 clips, with their JSON": (lambda: [c.to_json() for c in coded(joints)], len(long), 3),
        "100 clips, with their claims": (lambda: [c.claims() for c in coded(joints[:100])], 6400, 3),
    }
    print("\nframes of two hands a second, one thread (goal 40,000)")
    for name, (run, frames, rounds) in rows.items():
        print(f"  {name:38s} {frames_per_second(run, frames, rounds):10,.0f}")


def truth(clips: int, seed: int, noise_mm: float) -> None:
    if seed == CALIBRATION_SEED:
        raise SystemExit(f"Expected another seed than {CALIBRATION_SEED}, on which the norms were measured.")
    found, joints = scripted_clips(clips, seed)
    if noise_mm:
        rng = np.random.default_rng(seed)
        joints = [clip + rng.normal(scale=noise_mm / 1000, size=clip.shape) for clip in joints]
    codes = codes_of_clips(joints, None, FPS)
    right: Counter[tuple[str, str]] = Counter()
    wrong: Counter[tuple[str, str]] = Counter()
    misses: Counter[tuple[str, str]] = Counter()
    for clip, code in zip(found, codes, strict=True):
        hold(clip["attributes"], code, right, wrong, misses)
    print(f"\n{clips} scripted clips of seed {seed}, {noise_mm:g} mm of noise:")
    print("  truth fulfilled / contradicted, other values contradicted")
    for fact in FACTS:
        n = sum(right[fact, status] for status in (FULFILLED, CONTRADICTED, "not measurable"))
        others = sum(count for (f, _), count in wrong.items() if f == fact)
        refuted = f"{wrong[fact, CONTRADICTED] / others:7.1%} of {others}" if others else "      -"
        shares = f"{right[fact, FULFILLED] / n:7.1%} /{right[fact, CONTRADICTED] / n:6.1%} of {n:5d}"
        print(f"  {fact:10s} {shares}   {refuted}")
    print("  missed most:", ", ".join(f"{fact} of {family} {n}" for (family, fact), n in misses.most_common(6)))
    rates(found, codes, seed)


def hold(
    attributes: dict[str, Any], codes: MotionCodes, right: Counter[Any], wrong: Counter[Any], misses: Counter[Any]
) -> None:
    """Holds the true claims of a clip and all other values of its direction, speed, size and count."""
    family, direction, hand = attributes["family"], attributes["direction"], attributes["hand"]
    norm = load_norms()[f"{family}/{direction}"]
    claims = true_claims(attributes)
    for fact, claim in claims.items():
        status = evaluate(claim, codes, norm).status
        right[fact, status] += 1
        misses[family, fact] += status != FULFILLED
    for other in DIRECTIONS[family]:
        claim = direction_claim(family, other, hand, attributes["repetitions"])
        if claim != claims["direction"]:
            wrong["direction", evaluate(claim, codes).status] += 1
    for fact, values in CLASSES.items():
        for value in values:
            if fact in claims and value != attributes[fact]:
                wrong[fact, evaluate(Claim(fact, hand, value), codes, norm).status] += 1
    for number in range(1, 6):
        if "count" in claims and number != attributes["repetitions"]:
            wrong["count", evaluate(Claim("count", hand, str(number)), codes).status] += 1
    if hand != "both":
        idle = "right" if hand == "left" else "left"
        wrong["hand", evaluate(Claim("hands", idle, "moves"), codes).status] += 1
        wrong["idle", evaluate(Claim("hands", hand, "still"), codes).status] += 1


def rates(found: list[dict[str, Any]], codes: list[MotionCodes], seed: int) -> None:
    """The tempo against the script's own rate, which is drawn with the attributes."""
    from hiw_data.sources.procedural import _draw_attributes

    errors = []
    for index, (clip, code) in enumerate(zip(found, codes, strict=True)):
        family = FAMILIES[index % len(FAMILIES)]
        if family.name != "count":
            rng = np.random.default_rng([seed, index])
            attributes, rate = _draw_attributes(family, rng, seconds=len(clip["features"]) / FPS)
            if attributes != clip["attributes"]:
                raise SystemExit(f"Clip {index}: the script draws other attributes than the clip has.")
            hand = attributes["hand"].replace("both", "left")
            rate *= 5 if family.name == "type" else 1  # five flutters of the fingers a repetition
            errors += [abs(m.tempo_hz / rate - 1) for m in code.movements if m.hand == hand][:1]
    middle, far = np.median(errors), np.percentile(errors, 95)
    print(f"  tempo against the script's rate: median error {middle:.1%}, 95th percentile {far:.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="speed, truth; default both")
    parser.add_argument("--clips", type=int, default=1620, help="scripted clips (default %(default)s)")
    parser.add_argument("--seed", type=int, default=15, help="of the scripted clips (default %(default)s)")
    parser.add_argument("--noise", type=float, default=0.0, help="white noise of each coordinate of each joint, mm")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - {"speed", "truth"}:
        parser.error(f"Expected parts of speed, truth, got {', '.join(sorted(unknown))}.")
    if "speed" in (arguments.parts or ["speed"]):
        speed()
    if "truth" in (arguments.parts or ["truth"]):
        truth(arguments.clips, arguments.seed, arguments.noise)


if __name__ == "__main__":
    main()
