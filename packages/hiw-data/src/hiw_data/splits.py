"""Train, validation and test: a stable hash of what was recorded decides, so that no recording is in two splits.

The split of a group depends on its name and the seed alone: adding or removing other clips, reordering them or
building on another machine changes nothing. Pieces cut from one recording share its group. The exception: a source
with so few groups that a split would stay empty gives it one of its own, chosen by the same hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hiw_data.clips import SPLITS
from hiw_data.errors import HiwDataError, OptionError


def split_position(key: str, *, seed: int = 0) -> float:
    """A number in [0, 1) that depends on the key and the seed alone."""
    digest = hashlib.sha256(f"{seed}/{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def assign_split(origin: str, *, fractions: Sequence[float] = (0.8, 0.1, 0.1), seed: int = 0) -> str:
    """The split of one recording.

    Args:
        origin: a name that is the same on every machine, such as a path inside a package.
        fractions: shares of train, val and test; they sum to 1.
        seed: another seed draws other splits.

    Returns:
        "train", "val" or "test".

    Raises:
        OptionError: the fractions are not three non-negative numbers that sum to 1.
    """
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-9:
        raise OptionError(f"Expected three split fractions that sum to 1, got {tuple(fractions)}.")
    position = split_position(origin, seed=seed)
    if position < fractions[0]:
        return SPLITS[0]
    return SPLITS[1] if position < fractions[0] + fractions[1] else SPLITS[2]


def split_key(clip: Mapping[str, Any]) -> str:
    """What decides a clip's split: its source and its group, or its origin where it has none."""
    if "group" in clip:
        return f"{clip['source']}/group/{clip['group']}"
    return f"{clip['source']}/{clip.get('origin', clip['clip_id'])}"


def assign_splits(
    clips: Sequence[Mapping[str, Any]], *, fractions: Sequence[float] = (0.8, 0.1, 0.1), seed: int = 0
) -> tuple[list[str], list[str]]:
    """The splits of all clips of a store.

    Args:
        clips: their metadata. A split that a source has set itself stays, for the whole group.
        fractions: shares of train, val and test; they sum to 1. A split of share 0 stays empty.
        seed: another seed draws other splits.

    Returns:
        One split a clip, and what the user should know: splits that had to be filled or stay empty.

    Raises:
        HiwDataError: a source set two splits for clips of one group.
        OptionError: the fractions are not three non-negative numbers that sum to 1.
    """
    notes: list[str] = []
    by_key: dict[str, str] = {}
    for source in dict.fromkeys(clip["source"] for clip in clips):
        own = [clip for clip in clips if clip["source"] == source]
        fixed: dict[str, str] = {}
        for clip in own:
            if clip["split"] and fixed.setdefault(split_key(clip), clip["split"]) != clip["split"]:
                raise HiwDataError(
                    f"Expected one split for all clips of '{split_key(clip)}', got {fixed[split_key(clip)]} and "
                    f"{clip['split']} from its source. Correct the source."
                )
        free = {key: assign_split(key, fractions=fractions, seed=seed) for key in map(split_key, own)}
        free = {key: split for key, split in free.items() if key not in fixed}
        notes += _fill_empty(source, free, set(fixed.values()), fractions, seed)
        by_key |= free | fixed
    return [by_key[split_key(clip)] for clip in clips], notes


def _fill_empty(source: str, free: dict[str, str], there: set[str], fractions: Sequence[float], seed: int) -> list[str]:
    """Gives each split that would be empty the nearest group of the fullest one; changes `free`."""
    wanted = [split for split, share in zip(SPLITS, fractions, strict=True) if share > 0]
    notes: list[str] = []
    empty: list[str] = []
    for split in wanted:
        if split in there or split in free.values():
            continue
        spare = {other: list(free.values()).count(other) - (other not in there) for other in wanted}
        donor = max(wanted, key=lambda other: spare[other])
        if spare[donor] < 1:
            empty.append(split)
            continue
        nearest = max if SPLITS.index(donor) < SPLITS.index(split) else min
        members = [key for key, where in free.items() if where == donor]
        moved = nearest(members, key=lambda key: split_position(key, seed=seed))
        free[moved] = split
        notes.append(f"Source '{source}' is small: '{moved}' was given to {split}, which would have been empty.")
    if empty:
        notes.append(
            f"Source '{source}' has {len(free)} group(s) of recordings to share out, too few for {', '.join(wanted)}: "
            f"{' and '.join(empty)} stay(s) without clips of it. Add recordings, or name finer groups."
        )
    return notes


def attribute_overlap(clips: Iterable[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """How far what val and test show is also shown in train: no recording is in two splits, but its content may be.

    Args:
        clips: metadata of one source's clips.
        names: the attributes that its captions tell.

    Returns:
        For val and test: `clips`, `held_out` (clips), `in_train` (by attribute, the share of clips whose value also
        occurs in train), `all_in_train` and `all_in_train_held_out` (the share whose values occur in train all
        together; of the clips that are held out). A share of no clips is None.
    """
    rows = [(c["split"], bool(c.get("held_out")), tuple(c["attributes"].get(n) for n in names)) for c in clips]
    train = [values for split, _, values in rows if split == "train"]
    single, whole = [set(column) for column in zip(*train, strict=True)] or [set() for _ in names], set(train)
    report: dict[str, Any] = {}
    for wanted in ("val", "test"):
        own = [(held, values) for split, held, values in rows if split == wanted]
        report[wanted] = {
            "clips": len(own),
            "held_out": sum(held for held, _ in own),
            "in_train": {name: _share([values[k] in single[k] for _, values in own]) for k, name in enumerate(names)},
            "all_in_train": _share([values in whole for _, values in own]),
            "all_in_train_held_out": _share([values in whole for held, values in own if held]),
        }
    return report


def _share(hits: Sequence[bool]) -> float | None:
    return round(sum(hits) / len(hits), 4) if hits else None
