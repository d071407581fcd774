"""The build: streams sources into a store that appears whole or not at all, and goes on where it was interrupted."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
from tqdm import tqdm

from hiw_data.atomic import write_beside
from hiw_data.card import documents
from hiw_data.cleaning.pictures import Cleaned
from hiw_data.clips import Clip, SkippedClip, check_clip, pad_clip, printable
from hiw_data.errors import ClipError, HiwDataError, NoClipsError, OptionError
from hiw_data.quality import QualityTally
from hiw_data.sources.base import Source
from hiw_data.splits import assign_split, assign_splits
from hiw_data.store.part import pack, read_record, unpack
from hiw_data.store.reader import HiwStore
from hiw_data.store.schema import SCHEMA_VERSION, canonical_json
from hiw_data.store.writer import StoreWriter, link_extra

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BuildConfig:
    """How a store is built.

    Attributes:
        fps: frames a second of every clip in the store.
        seed: draws the splits.
        split: shares of train, val and test.
        multiple: lengths are rounded up to a multiple of this (the tokenizer's frames per latent step), and to twice
            this at least.

    Raises:
        OptionError: a value out of range.
    """

    fps: float = 15.0
    seed: int = 0
    split: tuple[float, float, float] = (0.8, 0.1, 0.1)
    multiple: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "split", tuple(self.split))
        if not (self.fps > 0 and math.isfinite(self.fps)):
            raise OptionError(f"Expected fps > 0, got {self.fps}.")
        if self.multiple < 1:
            raise OptionError(f"Expected multiple >= 1, got {self.multiple}.")
        assign_split("", fractions=self.split, seed=self.seed)


def build(
    sources: Sequence[Source],
    out: str | Path,
    config: BuildConfig | None = None,
    *,
    overwrite: bool = False,
    append: bool = False,
    resume: bool = True,
    card_path: str | Path | None = None,
    quality_path: str | Path | None = None,
) -> HiwStore:
    """Builds a store from sources, with a data card and a quality report.

    The store is written beside `out` and takes its place at the end; an interrupted build leaves what was
    there, and what it had written itself, and the next build of the same sources with the same configuration goes on
    from there, clip by clip. README.md (the card) and quality.json (the report) stand in the store's folder, and in its
    folder quality pictures of what cleaning kept and dropped, where the renderer is installed. The same
    sources and configuration give the same bytes, interrupted or not.

    Args:
        sources: such as FingerspellingSource() and ProceduralSource(); names must differ. A source with a method
            `stream_from(fps, start)` is asked to leave out its first `start` items when a build goes on; of others they
            are made again, and passed over.
        out: the store's folder, such as "data/hiw.zarr".
        config: frame rate, splits and lengths.
        overwrite: replace a store that is there.
        append: add to the store that is there; clips that are in it stay as they are, in the splits they have, and
            are passed over where a source has them again.
        resume: go on with an interrupted build; False starts anew.
        card_path: another place for a copy of the card.
        quality_path: another place for a copy of the report.

    Returns:
        The new store, opened.

    Raises:
        HiwDataError: no source, two of the same name, or a source that cannot be read at all.
        NoClipsError: not one clip could be used; the message lists the reasons.
        StoreError: a store is there and neither `overwrite` nor `append` is True, what is there is no store, or another
            process is building it.
        DiskFullError: no space left; the old store is untouched.
    """
    config = config or BuildConfig()
    names = [source.name for source in sources]
    if not names or len(set(names)) < len(names):
        raise HiwDataError(f"Expected sources with different names, at least one, got {names}.")
    options: dict[str, Any] = {"overwrite": overwrite, "append": append}
    key = _key(sources, config, append, out)
    if not resume:
        with StoreWriter(out, fps=config.fps, multiple=config.multiple, key=key, **options) as writer:
            writer.discard()
    tally = QualityTally(config.fps)
    with StoreWriter(out, fps=config.fps, multiple=config.multiple, key=key, **options) as writer:
        done = _replay(writer, tally)
        for source in sources:
            _stream(source, writer, tally, done.get(source.name, 0))
        if not writer.metadata:
            writer.discard()
            if tally.present:
                logger.warning("Nothing new: all %d clips that can be used are in %s already.", tally.present, out)
                return HiwStore.open(out)
            raise NoClipsError(out, [(skipped.clip_id, skipped.reason) for skipped in tally.skipped])
        try:
            report = _report(sources, writer, tally, config)
        except HiwDataError:
            writer.discard()
            raise

        def write_extra(folder: Path, data_hash: str) -> None:
            for source in sources:
                if isinstance(cleaned := getattr(source, "cleaned", None), Cleaned):
                    cleaned.draw(folder, source.name)
            copies = {"quality.json": quality_path, "README.md": card_path}
            for name, text in documents(report, data_hash).items():
                (folder / name).write_text(text, encoding="utf-8")
                if (copy := copies[name]) is not None:
                    with write_beside(Path(copy)) as staged:
                        staged.write_text(text, encoding="utf-8")
            if writer.old:  # last, for what is linked must not be written to
                link_extra(writer.out, folder)

        writer.publish(report, write_extra=write_extra)
    for note in report["notes"]:
        logger.warning(note)
    if tally.skipped:
        logger.warning("Skipped %d clips; see quality.json in %s for the reasons.", len(tally.skipped), out)
    return HiwStore.open(out)


def _key(sources: Sequence[Source], config: BuildConfig, append: bool, out: str | Path) -> str:
    """What makes two builds the same: configuration, sources with their options, and the store that is added to."""
    of = [
        [
            type(source).__qualname__,
            source.name,
            len(source),
            sorted(_plain(vars(source)).items()),
            source.info().origin,
        ]
        for source in sources
    ]
    there = HiwStore.open(out).data_hash if append and (Path(out) / "zarr.json").is_file() else ""
    return canonical_json({"schema": SCHEMA_VERSION, "config": asdict(config), "sources": of, "append": there})


def _plain(options: Mapping[str, Any]) -> dict[str, str]:
    kinds = (bool, int, float, str, Path, type(None))
    return {
        name: repr(value)
        for name, value in options.items()
        if isinstance(value, kinds)
        or (isinstance(value, list | tuple) and all(isinstance(one, kinds) for one in value))
    }


def _replay(writer: StoreWriter, tally: QualityTally) -> dict[str, int]:
    """Counts what an interrupted build had done; returns how many items of each source it had used."""
    done: dict[str, int] = {}
    for record in writer.records():
        if "row" in record:
            features, valid = read_record(writer.folder / writer.part, record)
            row = record["row"]
            clip = cast(Clip, {**row, "fps": writer.fps, "features": features, "valid": valid})
            del clip["length"]  # type: ignore[typeddict-item]
            if "residual" in record:
                clip["residual"] = unpack(record["residual"], 2)
            tally.add(clip)
        elif "skipped" in record:
            tally.skip(SkippedClip(**record["skipped"]))
        elif "present" in record:
            tally.present += 1
        else:
            continue
        done[record["source"]] = record["item"] + 1
    if done:
        logger.info("Going on with an interrupted build of %s: %d clips are there.", writer.out, len(writer.metadata))
    return done


def _stream(source: Source, writer: StoreWriter, tally: QualityTally, start: int) -> None:
    items: Iterable[Clip | SkippedClip]
    if start and hasattr(source, "stream_from"):
        items = source.stream_from(writer.fps, start)
    else:
        items = islice(source.stream(writer.fps), start, None)
    with tqdm(total=len(source), initial=start, desc=source.name, unit="clip", disable=None) as bar:
        for number, item in enumerate(items, start):
            bar.update()
            if _is_there(item, writer):
                tally.present += 1
                writer.note(present=True, source=source.name, item=number)
                continue
            skipped = item if isinstance(item, SkippedClip) else _store(item, number, source.name, writer, tally)
            if skipped is not None:
                skipped = SkippedClip(*map(printable, (skipped.clip_id, skipped.source, skipped.reason)))
                tally.skip(skipped)
                writer.note(skipped=asdict(skipped), source=source.name, item=number)


def _is_there(item: Clip | SkippedClip, writer: StoreWriter) -> bool:
    """Whether the store that is added to has this very clip; another one of its name is not this one."""
    if not writer.old or not isinstance(item, Mapping) or (position := writer.position(item.get("clip_id"))) is None:
        return False
    try:
        check_clip(item)
    except ClipError:
        return False
    clip = pad_clip(item, multiple=writer.multiple)
    features, valid = writer.old.read_frames(position)
    return np.array_equal(features, clip["features"]) and np.array_equal(valid, clip["valid"])


def _store(item: Clip, number: int, source: str, writer: StoreWriter, tally: QualityTally) -> SkippedClip | None:
    try:
        check_clip(item)
        if item["source"] != source:
            raise ClipError(f"Expected source {source!r} in {item['clip_id']}, got {item['source']!r}.")
        clip = pad_clip(item, multiple=writer.multiple)
        extra = {"residual": pack(clip["residual"])} if "residual" in clip else {}
        writer.append(clip, source=source, item=number, **extra)
    except ClipError as error:
        name = item.get("clip_id") if isinstance(item, Mapping) else None
        return SkippedClip(str(name or f"{source}/?"), source, str(error))
    tally.add(clip)
    return None


def _report(sources: Sequence[Source], writer: StoreWriter, tally: QualityTally, config: BuildConfig) -> dict[str, Any]:
    """Gives every clip its split, and writes the quality report."""
    own = {source.name for source in sources}
    old = list(writer.old.metadata) if writer.old else []
    related = [row for row in old if row["source"] in own]
    splits, notes = assign_splits([*related, *writer.metadata], fractions=config.split, seed=config.seed)
    for row, split in zip(writer.metadata, splits[len(related) :], strict=True):
        row["split"] = split
    if writer.old:
        for position in (k for k, row in enumerate(old) if row["source"] in own):
            tally.add(writer.old.clip(position))
    report = tally.report([*related, *writer.metadata], {source.name: source.info() for source in sources}, notes)
    for source in sources:
        if isinstance(cleaned := getattr(source, "cleaned", None), Cleaned) and source.name in report["sources"]:
            report["sources"][source.name]["cleaning"] = cleaned.to_json(source.name)
    report["config"] = asdict(config) | {"split": list(config.split)}
    return merge_reports(writer.old.summary(), report) if writer.old else report


def merge_reports(old: Mapping[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The report of a store that was added to: what stays of the old one, and the new one's sources, counted whole."""
    sources = {**old["sources"], **new["sources"]}
    skipped = [*old["skipped"]["clips"], *new["skipped"]["clips"]]
    return {
        **new,
        "clips": sum(source["clips"] for source in sources.values()),
        "frames": sum(source["frames"] for source in sources.values()),
        "seconds": round(sum(source["seconds"] for source in sources.values()), 1),
        "sources": sources,
        "notes": list(dict.fromkeys([*old["notes"], *new["notes"]])),
        "skipped": {"count": len(skipped), "clips": skipped},
    }
