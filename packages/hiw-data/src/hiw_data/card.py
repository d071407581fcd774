"""The data card: what is in a store, where it comes from, under which licences, and what it is not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_HEAD = """# Hand motion and text

Two hands in motion with captions, in one Zarr 3 store. Written by `hiw build`; read with
`hiw_data.HiwStore.open(path)` or `hiw_data.HiwDataset(path, split="train", window=64)`.

- Content hash (SHA-256): `{data_hash}`
- {clips} clips, {frames} frames, {seconds} s at {fps:g} frames a second
- Splits by a stable hash of what was recorded ({split}); no recording, and no group of recordings, is in two splits
"""

_FORMAT = """## Format

`features (frames, 198)` float32: left hand 99 numbers, then right; per hand the wrist's rotation (6D: the first
two rows of the matrix, row after row), 15 joint rotations (6D each, MANO order: index, middle, pinky, ring,
thumb) and the translation in metres. The mean of the two wrists in frame 0 of a clip is the origin. `valid
(frames, 2)`: left, right; False where a hand was not seen, was fitted badly, or a frame is padding. Such frames
hold a plausible hand and are not data. `clips.arrow` (Apache Arrow): a row per clip, with its `start` and `length`
in these arrays, split, captions (0 high-level, later ones finer-grained), attributes as JSON, and
what else is known of it.
"""

_LIMITS = """## What this is not

- Synthetic sources are written by code. They are labelled `synthetic: true` in each clip's attributes; report
  figures on them apart from figures on real motion.
"""


_OVERLAP = """## What the splits keep apart

No recording and no group is in two splits. What the clips show may be: per source and split, the share of clips whose
value of an attribute also occurs in train, and the share whose attributes occur in train all together, of all clips
and of those that are held out. Held-out clips show what no clip of train shows (a combination of attributes, a
language); report them apart from the others.

| source | split | clips | held out | in train, by attribute | all together | all together, held out |
|---|---|---|---|---|---|---|"""


def data_card(report: dict[str, Any], data_hash: str) -> str:
    """The card as Markdown.

    Args:
        report: the quality report, with "info" in each source and "config".
        data_hash: of the store's content.
    """
    config = report["config"]
    split = " / ".join(f"{share:.0%}" for share in config["split"])
    parts = [_HEAD.format(data_hash=data_hash, fps=config["fps"], split=split, **_totals(report))]
    parts.append(_table(report["sources"]))
    parts += [_source_section(name, source) for name, source in report["sources"].items()]
    parts += [
        _FORMAT,
        _overlap_section(report["sources"]),
        _limits_section(report["sources"]),
        _notes_section(report.get("notes", [])),
        _skipped_section(report["skipped"]),
    ]
    return "\n".join(part for part in parts if part)


def documents(report: dict[str, Any], data_hash: str) -> dict[str, str]:
    """What stands beside a store's arrays for people and programs: name of the file -> its text."""
    quality = json.dumps({"data_hash": data_hash, **report}, indent=2, ensure_ascii=False, allow_nan=False)
    return {"quality.json": quality + "\n", "README.md": data_card(report, data_hash)}


def _totals(report: dict[str, Any]) -> dict[str, Any]:
    return {key: report[key] for key in ("clips", "frames", "seconds")}


def _table(sources: dict[str, Any]) -> str:
    rows = ["| source | kind | clips | train / val / test | seconds | left seen | right seen | captions |"]
    rows.append("|---|---|---|---|---|---|---|---|")
    for name, s in sources.items():
        kind = "**synthetic**" if s["info"]["synthetic"] else "real"
        splits = " / ".join(str(n) for n in s["clips_by_split"].values())
        seen = " | ".join(f"{share:.0%}" for share in s["valid_share"].values())
        captions = " + ".join(str(n) for n in s["distinct_captions"])
        rows.append(f"| {name} | {kind} | {s['clips']} | {splits} | {s['seconds']} | {seen} | {captions} |")
    return "\n".join(rows) + "\n"


def _source_section(name: str, source: dict[str, Any]) -> str:
    info = source["info"]
    lines = [f"## {name}: {info['title']}", ""]
    if info["synthetic"]:
        lines += ["**Synthetic: no human made these movements.**", ""]
    lines += [info["description"], "", f"- Licence: {info['licence']}", f"- Source: {info['origin']}"]
    if source.get("fit_residual_mm"):
        r = source["fit_residual_mm"]
        lines.append(
            f"- Distance of the fitted keypoints from the observed: median {r['median']} mm, 95% within {r['p95']} mm, "
            f"99% within {r['p99']} mm ({source['fitted_hand_frames']} hand frames)"
        )
    if source["skipped_clips"]:
        lines.append(f"- Clips left out: {source['skipped_clips']}")
    if cleaned := _cleaning_lines(source.get("cleaning", {})):
        lines += ["", *cleaned]
    return "\n".join(lines) + "\n"


def _cleaning_lines(cleaning: Mapping[str, Any]) -> list[str]:
    """What each step dropped, with the clips at its border, from `hiw_data.cleaning.pictures.Cleaned.to_json`."""
    if not cleaning:
        return []
    lines = [f"Cleaning kept {cleaning['kept']} of {cleaning['clips']} clips.", ""]
    lines += ["| step | dropped | worst kept | best dropped |", "|---|---|---|---|"]
    for step, found in cleaning["steps"].items():
        cells = [_cell(found.get(kind)) for kind in ("worst_kept", "best_dropped")]
        lines.append(f"| {step} | {found['dropped']} | {' | '.join(cells)} |")
    pictures = [(step, found["picture"]) for step, found in cleaning["steps"].items() if found["picture"]]
    return [*lines, *(text for step, name in pictures for text in ("", f"![{step}]({name})"))]


def _cell(shown: Mapping[str, str] | None) -> str:
    return "-" if shown is None else f"`{shown['clip_id']}`: {shown['told']}".replace("|", "/")


def _overlap_section(sources: dict[str, Any]) -> str:
    rows = []
    for name, source in sources.items():
        for split, overlap in source.get("overlap", {}).items():
            if overlap["clips"]:
                told = ", ".join(f"{key} {_percent(share)}" for key, share in overlap["in_train"].items())
                both = (_percent(overlap["all_in_train"]), _percent(overlap["all_in_train_held_out"]))
                rows.append(
                    f"| {name} | {split} | {overlap['clips']} | {overlap['held_out']} | {told or '-'} | "
                    f"{both[0] if told else '-'} | {both[1] if told else '-'} |"
                )
    return "\n".join([_OVERLAP, *rows]) + "\n" if rows else ""


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def _limits_section(sources: dict[str, Any]) -> str:
    limits = [f"- {name}: {s['info']['limits']}" for name, s in sources.items() if s["info"].get("limits")]
    return _LIMITS + "".join(f"{line}\n" for line in limits)


def _notes_section(notes: list[str]) -> str:
    return "\n".join(["## To know", "", *(f"- {note}" for note in notes)]) + "\n" if notes else ""


def _skipped_section(skipped: dict[str, Any]) -> str:
    if not skipped["count"]:
        return ""
    rows = [f"- `{s['clip_id']}` ({s['source']}): {s['reason']}" for s in skipped["clips"][:100]]
    more = skipped["count"] - len(rows)
    return "\n".join(["## Left out", "", *rows, *([f"- and {more} more, see quality.json"] if more else [])]) + "\n"
