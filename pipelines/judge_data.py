"""What the independent judge is trained on."""

from __future__ import annotations

import hashlib
from typing import Any

from hiw_data import Clip, HiwDataError, HiwStore

from pipelines.data import make_sources
from pipelines.protocol import Clips


def judge_clips(store: HiwStore, sources: list[dict[str, Any]]) -> tuple[Clips, str | None]:
    """What the judge is trained on, and the hash of its data (None: that of the clips themselves).

    A judge is unsure of what it never saw, such as combinations that are held out of training. So it may be given clips
    of its own, that no other training and no measure knows: another seed of a source that is made up.

    Args:
        store: whose train split it is trained on.
        sources: as `data.sources`; they take the place of the train split's clips of the same source. One whose name
            is of no source in the train split is left out.

    Raises:
        HiwDataError: a clip of these sources is also in the store.
    """
    train = store.clips(split="train")
    named = {clip["source"] for clip in train}
    wanted = [source for source in (make_sources(sources) if sources else []) if source.name in named]
    if not wanted:
        return train, store.data_hash
    made: Clips = [clip for source in wanted for clip in source.stream(store.fps) if isinstance(clip, dict)]
    known = {name for clip in store.iterate() for name in (clip["clip_id"], _digest(clip))}
    for clip in made:
        if clip["clip_id"] in known or _digest(clip) in known:
            raise HiwDataError(
                f"Expected clips in evaluation.judge_sources that the store does not have, got {clip['clip_id']!r} of "
                "both. Give the source another seed."
            )
    replaced = {clip["source"] for clip in made}
    return [clip for clip in train if clip["source"] not in replaced] + made, None


def _digest(clip: Clip) -> bytes:
    return hashlib.sha256(clip["features"].tobytes()).digest()
