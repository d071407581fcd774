"""Small made-up clips for the tests of evaluation and report: motion that its caption tells apart."""

from __future__ import annotations

from typing import Any

import numpy as np
from hand_geometry import params_to_features, relaxed_hand

SPEEDS = {"slowly": 1.0, "quickly": 3.0}


def relaxed_features(frames: int) -> np.ndarray:
    """Both hands at rest, (T, 198)."""
    hands = [relaxed_hand(side) for side in ("left", "right")]
    params = {
        "global_orient": np.stack([np.asarray(h["global_orient"]) for h in hands]),
        "hand_pose": np.stack([np.asarray(h["hand_pose"]) for h in hands]),
        "transl": np.stack([np.asarray(h["wrist"]) for h in hands]),
    }
    row = np.asarray(params_to_features({k: v[None].astype(np.float32) for k, v in params.items()}))
    return np.repeat(row, frames, axis=0).astype(np.float32)


def make_clip(i: int, *, source: str = "procedural", split: str = "train", frames: int = 24) -> dict[str, Any]:
    """A hand swings along one axis, slowly or quickly; side, axis and speed are in the captions."""
    rng = np.random.default_rng(1000 + i)
    side, axis = int(rng.integers(2)), int(rng.integers(3))
    speed = list(SPEEDS)[int(rng.integers(2))]
    features = relaxed_features(frames)
    t = np.arange(frames) / 15.0
    swing = 0.1 * np.sin(2 * np.pi * (SPEEDS[speed] / 2 * t + rng.random()))
    features[:, 99 * side + 96 + axis] += swing.astype(np.float32)
    features += rng.normal(0, 0.002, features.shape).astype(np.float32)
    hand, along = ("left", "right")[side], ("sideways", "up and down", "back and forth")[axis]
    caption = f"the {hand} hand swings {along}"
    return {
        "clip_id": f"{source}-{i:04d}",
        "source": source,
        "split": split,
        "fps": 15.0,
        "features": features,
        "valid": np.ones((frames, 2), bool),
        "captions": [caption, f"{caption}, {speed}"],
        "attributes": {"hand": hand, "speed": speed, "synthetic": source == "procedural"},
    }


def make_clips(count: int, **options: Any) -> list[dict[str, Any]]:
    """Clips 0 .. count - 1, lengths 16 to 28 by turns unless ``frames`` is given."""
    frames = options.pop("frames", None)
    first = options.pop("first", 0)
    return [make_clip(first + i, frames=frames or 16 + 4 * (i % 4), **options) for i in range(count)]
