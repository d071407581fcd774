"""VITRA-1M: episodes of hand motion from egocentric video, with a sentence a hand.

Rules: F+, C2 (`transl_worldspace` is the wrist), M for the left hand's fingers alone: its vertices are the right
model's mirrored in x and then turned, so the wrist's rotation stays. Betas hold for mirrored left shape components. No
MANO files are needed to read it, since wrists are stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hiw_data.sources.hand_recording import Context, Dataset, HandRecording, Narration
from hiw_data.sources.mano_rules import SIDES, axis_angle_of_matrices, mirror_axis_angle
from hiw_data.sources.plain_files import numbers, read_npy_object
from hiw_data.sources.recording import DEFAULT_FPS


def read_vitra(path: Path, context: Context) -> Iterator[HandRecording]:
    """The episode in one .npy."""
    episode = read_npy_object(path)
    frames = len(numbers(episode["video_decode_frame"], None))
    notes = (
        () if context.fps else (f"it holds no frame rate; {DEFAULT_FPS:g} fps was assumed, say `fps` if it is another",)
    )
    recording = HandRecording.empty(
        context.stem(path),
        context.fps or DEFAULT_FPS,
        frames,
        group=str(episode["video_name"]),
        narrations=tuple(_narrations(episode, frames)),
        attributes={"video": str(episode["video_name"]), "first_frame": int(episode["video_decode_frame"][0])},
        notes=notes,
    )
    for side, name in enumerate(SIDES):
        hand = episode[name]
        kept = numbers(hand["kept_frames"], frames) != 0
        if not kept.any():
            continue
        matrices = np.where(kept[:, None, None, None], numbers(hand["hand_pose"], frames, 15, 3, 3), np.eye(3))
        pose = axis_angle_of_matrices(matrices)
        turns = np.where(kept[:, None, None], numbers(hand["global_orient_worldspace"], frames, 3, 3), np.eye(3))
        recording.put(
            side,
            axis_angle_of_matrices(turns),
            mirror_axis_angle(pose) if side == 0 else pose,
            numbers(hand["transl_worldspace"], frames, 3),
            kept,
            numbers(hand["beta"]).reshape(-1)[:10],
        )
    yield recording


def _narrations(episode: Any, frames: int) -> Iterator[Narration]:
    """Sentences of `text` and `text_rephrase`, of each hand or of the episode; the range (0, 0) is the whole."""
    for key in ("text", "text_rephrase"):
        value = episode.get(key, ())
        per_hand = value if isinstance(value, dict) else {"": value}
        for hand, entries in per_hand.items():
            for sentences, span in entries if isinstance(entries, list | tuple) else ():
                start, end = (int(x) for x in span)
                about = (None, None) if end <= start or (start <= 0 and end >= frames) else (start, end)
                maker = f"vitra {key}" + f" ({hand})" * bool(hand)
                for text in [sentences] if isinstance(sentences, str) else sentences:
                    if text and str(text).strip().lower() not in ("none", "n/a"):
                        yield Narration(str(text), maker, *about)


VITRA = Dataset(
    name="vitra",
    title="VITRA-1M",
    find=lambda folder: sorted(folder.rglob("*_ep_*.npy")),
    read=read_vitra,
    needs="<dataset>/episodic_annotations/*_ep_*.npy",
    licence="bound to the terms of Ego4D, EPIC-Kitchens, Ego-Exo4D and Something-Something v2; repository MIT",
    hands="MANO in the video's world, wrist positions, no frame rate",
    mano="optional",
    rules="F+ C2 M (left fingers), left mirrored",
    met="layout decoded from a public sample episode, no whole set met",
    certainty="high",
    left_shapedirs="mirrored",
    limits="Tracked from video; its authors state about 90% right annotations.",
)
