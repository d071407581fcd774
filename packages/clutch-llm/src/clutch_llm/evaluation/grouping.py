"""Clips by source and by what they say of themselves, and the arms that are measured on them.

Metrics are never averaged over sources.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Clip = Mapping[str, Any]
"""A clip as the packages pass it: ``clip_id``, ``source``, ``fps``, ``features`` (T, 198), ``valid`` (T, 2) bool,
``captions`` (from the shortest to the most detailed) and ``attributes``."""


def by_source(clips: Sequence[Clip]) -> dict[str, list[int]]:
    """Indices of the clips of each source, sources in alphabetical order."""
    return {s: [i for i, c in enumerate(clips) if c["source"] == s] for s in sorted({c["source"] for c in clips})}


def parts(clips: Sequence[Clip], split_by: Sequence[str]) -> dict[str, dict[str, list[int]]]:
    """Indices of the clips by boolean attributes.

    Args:
        clips: of one source.
        split_by: names of boolean attributes, such as one that tells combinations that training has not seen.

    Returns:
        ``{name: {"true": indices, "false": indices}}`` for the names that at least one clip has; a clip without the
        attribute is in neither part, and a part without a clip is left out.
    """
    found: dict[str, dict[str, list[int]]] = {}
    for name in split_by:
        values = [c.get("attributes", {}).get(name) for c in clips]
        own = {
            label: [i for i, v in enumerate(values) if isinstance(v, bool | np.bool_) and bool(v) is flag]
            for label, flag in (("true", True), ("false", False))
        }
        if any(own.values()):
            found[name] = {label: members for label, members in own.items() if members}
    return found


def require_one_per_clip(what: str, values: Sequence[Any], clips: Sequence[Clip]) -> None:
    """Raises ValueError unless there are as many values as clips."""
    if len(values) != len(clips):
        raise ValueError(
            f"Expected one entry of {what} per clip, got {len(values)} for {len(clips)} clips. Keep one order."
        )


def is_synthetic(clips: Sequence[Clip]) -> bool:
    """Whether every clip says of itself that it is synthetic."""
    return bool(clips) and all(bool(c.get("attributes", {}).get("synthetic", False)) for c in clips)


def head(clips: Sequence[Clip]) -> dict[str, Any]:
    """What every source's metrics begin with: counts and whether the source is synthetic."""
    return {
        "synthetic": is_synthetic(clips),
        "clips": len(clips),
        "seconds": round(sum(len(c["features"]) / c["fps"] for c in clips), 1),
    }


def other_indices(clips: Sequence[Clip], *, seed: int) -> list[int]:
    """For each clip, another one whose captions differ, drawn at random.

    Itself only if there is no such clip.
    """
    rng = np.random.default_rng(seed)
    captions = [set(c["captions"]) for c in clips]
    picks = []
    for i in range(len(clips)):
        order = rng.permutation(len(clips))
        picks.append(int(next((j for j in order if not captions[i] & captions[j]), i)))
    return picks


def named(generated: Any) -> dict[str, Any]:
    """Arms by name, each a list of motions per clip; a single one is "generated"."""
    return dict(generated) if isinstance(generated, Mapping) else {"generated": generated}


def checked_arms(generated: Any, reconstructions: Sequence[Any] | None, clips: Sequence[Clip]) -> dict[str, Any]:
    """The arms by name (`named`).

    Raises:
        ValueError: unless each arm, and the reconstructions if there are any, have one entry per clip.
    """
    arms = named(generated)
    for name, many in arms.items():
        require_one_per_clip(f"motions {name!r}", many, clips)
    if reconstructions is not None:
        require_one_per_clip("reconstructions", reconstructions, clips)
    return arms


def motions_by_row(
    truth: Sequence[Any],
    reconstructions: Sequence[Any] | None,
    arms: Mapping[str, Sequence[Sequence[Any]]],
    members: Sequence[int],
    others: Sequence[int],
) -> dict[str, list[Sequence[Any]]]:
    """The samples of each clip of a source, by the rows of its table, in their order.

    Args:
        truth: the true motions of the source's clips.
        reconstructions: of all clips; None for no such row.
        arms: of all clips.
        members: which of all clips are the source's.
        others: of each of the source's clips, the one whose true motion is the random caption's (`other_indices`).

    Raises:
        ValueError: as `arms_of`.
    """
    rows: dict[str, list[Sequence[Any]]] = {"truth": [[motion] for motion in truth]}
    if reconstructions is not None:
        rows["reconstruction"] = [[reconstructions[i]] for i in members]
    return rows | arms_of(arms, members) | {"random_caption": [[truth[j]] for j in others]}


def arms_of(arms: Mapping[str, Sequence[Sequence[Any]]], members: Sequence[int]) -> dict[str, list[Sequence[Any]]]:
    """The motions of some clips by arm, without the arms that have none of them: those were not asked for.

    Raises:
        ValueError: if an arm has motions of some of the clips alone, or of no clip at all.
    """
    found = {}
    for name, many in arms.items():
        own = [many[i] for i in members]
        if not any(len(s) for s in many) or (any(len(s) for s in own) and not all(len(s) for s in own)):
            raise ValueError(f"Expected at least one motion per caption, got none for some of {name!r}. Generate them.")
        if any(len(s) for s in own):
            found[name] = own
    return found


def texts_of(
    texts: Sequence[str] | Mapping[str, Sequence[str]] | None, arms: Sequence[str], clips: Sequence[Clip]
) -> dict[str, Sequence[str]]:
    """The captions of each arm, and under "" those of truth, reconstruction and the random caption's motion.

    Args:
        texts: the same for all; or by arm, with "" for the others; an arm that is not named takes those of "".
            None, and "" where it is not given: each clip's first caption.
        arms: names.
        clips: of the measure.

    Raises:
        ValueError: for captions of an arm that is not there, or not one for each clip.
    """
    given = dict(texts) if isinstance(texts, Mapping) else {} if texts is None else {"": texts}
    unknown = sorted(set(given) - {"", *arms})
    if unknown:
        raise ValueError(f"Expected texts of the arms {', '.join(arms)}, got some of {unknown}. Name an arm there is.")
    common = given.get("", [c["captions"][0] for c in clips])
    found = {name: given.get(name, common) for name in ("", *arms)}
    for name, many in found.items():
        require_one_per_clip(f"texts {name!r}", many, clips)
    return found


def seen_like(valid: NDArray[np.bool_], frames: int) -> NDArray[np.bool_]:
    """Which hands of a motion count, (frames, 2): those of its true motion (T, 2).

    A motion that is longer counts on for each hand that is seen at all.
    """
    more = np.repeat(valid.any(axis=0, keepdims=True), max(0, frames - len(valid)), axis=0)
    return np.concatenate([valid[:frames], more])
