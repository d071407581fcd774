"""The captioning commands of `hiw`: check-captions and describe."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hand_geometry import MotionCodes

    from hiw_data.clips import Clip

CHECK_HELP = """Holds every caption of a store against the motion of its clip. Each claim of a caption (hands, fingers,
contact, direction, speed, size, repetitions, order) is supported, contradicted or not measurable; a claim that motion
cannot show, such as what is held, is not measurable. Contradicted captions are printed with the evidence.
Exit status 1 if any caption is contradicted and --strict is given."""

DESCRIBE_HELP = """Says a motion in words, from its motion codes alone: three lengths, five variants each, each hand and
the relation of the hands. MOTION.npz is a file of hand_geometry.save_motion."""


def add_commands(subparsers: Any) -> None:
    """Adds the commands to `hiw`; each sets ``run``, a function of the parsed arguments.

    Args:
        subparsers: What ``ArgumentParser.add_subparsers`` returned.
    """
    raw = argparse.RawDescriptionHelpFormatter
    check = subparsers.add_parser(
        "check-captions", help="hold captions against the motion", description=CHECK_HELP, formatter_class=raw
    )
    check.add_argument("store", type=Path)
    check.add_argument("--source", help="only clips of this source")
    check.add_argument("--split", help="only clips of this split")
    check.add_argument("--limit", type=int, help="at most so many clips")
    check.add_argument("--json", action="store_true", help="every claim of every caption, one JSON line a caption")
    check.add_argument("--strict", action="store_true", help="exit status 1 if a caption is contradicted")
    check.set_defaults(run=check_captions)
    describe = subparsers.add_parser(
        "describe", help="say a motion in words", description=DESCRIBE_HELP, formatter_class=raw
    )
    describe.add_argument("motion", type=Path, metavar="MOTION.npz")
    describe.add_argument("--seed", type=int, default=0, help="draws the wording (default %(default)s)")
    describe.add_argument("--variants", type=int, default=5, help="of each kind (default %(default)s)")
    describe.add_argument("--json", action="store_true", help="captions with their claims, and the motion codes")
    describe.set_defaults(run=describe_file)


def check_captions(arguments: argparse.Namespace) -> int:
    """`hiw check-captions`: returns its exit status."""
    from hiw_data.captioning.check import CONTRADICTED, STATUSES, check_caption
    from hiw_data.store import HiwStore

    store = HiwStore.open(arguments.store)
    indices = store.select(split=arguments.split, source=arguments.source)[: arguments.limit]
    claims: Counter[tuple[str, str]] = Counter()
    captions = contradicted = 0
    for index in indices:
        clip = store.read_clip(index)
        codes = codes_of_clip(clip)
        for number, text in enumerate(clip["captions"]):
            check = check_caption(text, codes)
            captions += 1
            contradicted += bool(check.contradictions)
            claims.update((claim.claim.split(":")[0] or "other", claim.status) for claim in check.claims)
            if arguments.json:
                print(json.dumps({"clip": clip["clip_id"], "caption": number, **check.to_dict()}))
            elif check.contradictions:
                print(f"{clip['clip_id']}: {text}")
                for claim in check.contradictions:
                    print(f"    {CONTRADICTED}: {claim.words!r} ({claim.claim}); measured: {claim.evidence}")
    if not arguments.json:
        print(f"{captions} captions of {len(indices)} clips, {contradicted} with a contradiction")
        for kind in sorted({kind for kind, _ in claims}):
            print(f"  {kind:10s} " + ", ".join(f"{claims[kind, status]} {status}" for status in STATUSES))
    return int(arguments.strict and contradicted > 0)


def describe_file(arguments: argparse.Namespace) -> int:
    """`hiw describe`: returns its exit status."""
    from dataclasses import fields

    from hand_geometry import load_motion

    from hiw_data.captioning.words import describe_motion

    motion = load_motion(arguments.motion)
    codes = codes_of_motion(motion)
    captions = describe_motion(codes, arguments.seed, arguments.variants)
    groups = {field.name: getattr(captions, field.name) for field in fields(captions)}
    if arguments.json:
        said = {
            name: [{"text": c.text, "claims": [str(claim) for claim in c.claims]} for c in group]
            for name, group in groups.items()
        }
        print(json.dumps({"captions": said, "codes": json.loads(codes.to_json())}))
        return 0
    for name, group in groups.items():
        for caption in group:
            print(f"{name:9s} {caption.text}")
    return 0


def codes_of_clip(clip: Clip) -> MotionCodes:
    """Motion codes of a clip of a store."""
    from hand_geometry import MotionCodes, features_to_joints, motion_codes

    codes = motion_codes(features_to_joints(clip["features"]), clip["valid"], clip["fps"])
    if not isinstance(codes, MotionCodes):  # a batch, which a clip is not
        raise TypeError(f"Expected the codes of one clip, got {type(codes).__name__}.")
    return codes


def codes_of_motion(motion: dict[str, Any]) -> MotionCodes:
    """Motion codes of a motion file's arrays, with the hands' own shapes."""
    import torch
    from hand_geometry import HandPair, MotionCodes, motion_codes

    orient, pose, transl, betas = (
        torch.from_numpy(motion[name]) for name in ("global_orient", "hand_pose", "transl", "betas")
    )
    joints = HandPair.load()(orient, pose, betas, transl, vertices=False).joints
    codes = motion_codes(joints.numpy(), motion["valid"], motion["fps"])
    if not isinstance(codes, MotionCodes):
        raise TypeError(f"Expected the codes of one clip, got {type(codes).__name__}.")
    return codes
