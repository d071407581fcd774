"""What a page is told of a store and of one clip, as plain types for JSON."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
from hand_geometry import features_to_joints, features_to_params
from hand_geometry.codes import MotionCodes, Movement
from hand_geometry.exporting.gltf import gltf_bytes
from hand_geometry.exporting.rig import build_clip

from hiw_data.browsing.overlay import picture_points
from hiw_data.captioning.check import check_caption
from hiw_data.captioning.cli import codes_of_clip
from hiw_data.store.reader import HiwStore
from hiw_data.store.statistics import feature_statistics

_LISTED = 50
"""As many skipped clips are told at most."""


def store_document(store: HiwStore) -> dict[str, Any]:
    """Counts, lengths, sources, splits and the quality report of a store; no motion is read."""
    lengths = store.lengths
    report = store.summary()
    skipped = report.get("skipped") or {"count": 0, "clips": []}
    counts: Counter[tuple[str, str]] = Counter()
    for batch in store.batches():
        groups = pa.table({name: batch.column(name) for name in ("source", "split")}).group_by(["source", "split"])
        for row in groups.aggregate([([], "count_all")]).to_pylist():
            counts[row["source"], row["split"]] += row["count_all"]
    sources: dict[str, dict[str, int]] = {}
    for (source, split), count in sorted(counts.items()):
        sources.setdefault(source, {})[split] = count
    return {
        "name": str(store.path).rstrip("/").rsplit("/", 1)[-1],
        "clips": len(store),
        "frames": int(lengths.sum()),
        "seconds": round(float(lengths.sum()) / store.fps, 1),
        "fps": store.fps,
        "data_hash": store.data_hash,
        "shards": len(store.shards),
        "length": dict(zip(("least", "median", "most"), _range(lengths), strict=True)),
        "sources": sources,
        "notes": list(report.get("notes") or []),
        "skipped": {"count": skipped["count"], "clips": skipped["clips"][:_LISTED]},
    }


def features_document(store: HiwStore) -> dict[str, Any]:
    """Figures of the motion of all clips, which are read for it: frames each hand was seen in, and its place.

    Raises:
        StoreError: A hand is seen in no frame, or a shard cannot be read.
    """
    found = feature_statistics(store, None)
    places = {}
    for hand, side in enumerate(("left", "right")):
        columns = slice(hand * 99 + 96, hand * 99 + 99)
        places[side] = {
            "frames": int(found.frames[hand]),
            "mean_m": [round(float(x), 4) for x in found.mean[columns]],
            "deviation_m": [round(float(x), 4) for x in found.std[columns]],
        }
    return {"hands": places}


def _range(lengths: Any) -> list[int]:
    return [int(np.percentile(lengths, q)) for q in (0, 50, 100)] if len(lengths) else [0, 0, 0]


def clip_document(store: HiwStore, position: int) -> dict[str, Any]:
    """One clip: its joints, captions with checked claims, motion codes with their times, and all else that is known.

    Args:
        store: Open.
        position: Of the clip, from 0.

    Returns:
        ``joints`` is base64 of float32, little-endian, shape (frames, 2, 21, 3), metres, x right, y down, z forward;
        ``overlay`` is the same of shape (frames, 2, 21, 2), shares of the video's picture, see ``picture_points``, or
        None; ``valid`` has a string of 0 and 1 a hand; ``timeline`` is a list of lanes, each with a name and its spans;
        ``video_start`` is where in its recording the clip begins, seconds.

    Raises:
        StoreError: A shard cannot be read.
        HandGeometryError: The motion has no frames, or a seen frame holds what is no number.
    """
    clip = store.clip(position)
    codes = codes_of_clip(clip)
    joints = np.asarray(features_to_joints(clip["features"]))
    overlay = picture_points(clip, joints)
    provenance = clip.get("caption_provenance") or []
    captions = [
        {**check_caption(text, codes).to_dict(), "made_by": provenance[number] if number < len(provenance) else None}
        for number, text in enumerate(clip["captions"])
    ]
    known = ("origin", "group", "held_out", "licence", "hand_model", "attributes", "atomic_answers", "camera")
    return {
        "id": clip["clip_id"],
        "source": clip["source"],
        "split": clip["split"],
        "fps": store.fps,
        "frames": len(joints),
        "joints": _packed(joints),
        "overlay": None if overlay is None else _packed(overlay),
        "video_start": float(clip["timestamps"][0]) if "timestamps" in clip else 0.0,
        "valid": ["".join("01"[int(flag)] for flag in clip["valid"][:, hand]) for hand in range(2)],
        "captions": captions,
        "timeline": list(_lanes(codes)),
        "pairings": [asdict(pairing) for pairing in codes.pairings],
        "claims": [str(claim) for claim in codes.claims()],
        "known": {name: clip[name] for name in known if clip.get(name) is not None},  # type: ignore[literal-required]
    }


def _packed(values: Any) -> str:
    return base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode()


def clip_motion(store: HiwStore, position: int) -> bytes:
    """The hands of one clip as an animated ``.glb``, in the open hand's mean shape.

    A clip in which no hand was ever seen is written as it is, since to look at it is to find out why.

    Args:
        store: Open.
        position: Of the clip, from 0.

    Raises:
        StoreError: A shard cannot be read.
        HandGeometryError: The motion has no frames, or a seen frame holds what is no number.
    """
    features, valid = store.read_frames(position)
    params = features_to_params(features)
    shown = build_clip(params, fps=store.fps, valid=valid if valid.any() else np.ones_like(valid))
    return gltf_bytes(shown, forearms=True)


def _lanes(codes: MotionCodes) -> Iterator[dict[str, Any]]:
    """Movements of each hand, pairings, then events and states by kind and hand."""
    lanes: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for movement in codes.movements:
        own = lanes.setdefault(("movement", movement.hand, "movement"), [])
        own.append({"start": movement.start, "end": movement.end, "text": _movement_text(movement)})
    for pairing in codes.pairings:
        own = lanes.setdefault(("movement", "both", "pairing"), [])
        first = pairing.first if pairing.first == "together" else f"{pairing.first} first"
        own.append({"start": pairing.start, "end": pairing.end, "text": f"{pairing.pattern}, {first}"})
    for group, items in (("event", codes.events), ("state", codes.states)):
        for item in items:
            text = " ".join(part for part in (item.subject, item.value) if part)
            own = lanes.setdefault((group, item.hand, item.kind), [])
            span = {"start": item.start, "end": item.end, "text": text}
            if span not in own:  # a finger of each hand that nears the other's palm is told alike
                own.append(span)
    for (group, hand, kind), spans in lanes.items():
        yield {"group": group, "hand": hand, "kind": kind, "spans": spans}


def _movement_text(movement: Movement) -> str:
    times = f", {movement.count} times" if movement.count > 1 else ", once" if movement.count == 1 else ""
    path = f", {movement.path}" if movement.path != "none" else ""
    return f"{movement.channel}{times}, {movement.speed}, {movement.size}{path}"
