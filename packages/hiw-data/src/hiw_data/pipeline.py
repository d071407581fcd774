"""The annotation pipeline: streams sources into a store that appears whole or not at all."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from hiw_data.atomic import write_beside
from hiw_data.card import data_card
from hiw_data.clips import SkippedClip, check_clip, pad_clip
from hiw_data.errors import ClipError, HiwDataError, NoClipsError, OptionError
from hiw_data.quality import QualityTally
from hiw_data.sources.base import Source
from hiw_data.splits import assign_split, assign_splits
from hiw_data.store import HiwStore
from hiw_data.writer import StoreWriter

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
    card_path: str | Path | None = None,
    quality_path: str | Path | None = None,
) -> HiwStore:
    """Builds a store from sources, with a data card and a quality report.

    The store is written beside `out` and takes its place at the end; an interrupted build leaves what was
    there. README.md (the card) and quality.json (the report) stand in the store's folder. The same sources
    and configuration give the same bytes.

    Args:
        sources: such as FingerspellingSource() and ProceduralSource(); names must differ.
        out: the store's folder, such as "data/hiw.zarr".
        config: frame rate, splits and lengths.
        overwrite: replace a store that is there.
        card_path: another place for a copy of the card.
        quality_path: another place for a copy of the report.

    Returns:
        The new store, opened.

    Raises:
        HiwDataError: no source, two of the same name, or a source that cannot be read at all.
        NoClipsError: not one clip could be used; the message lists the reasons.
        StoreError: a store is there and `overwrite` is False, or what is there is no store.
        DiskFullError: no space left; the old store is untouched.
    """
    config = config or BuildConfig()
    names = [source.name for source in sources]
    if not names or len(set(names)) < len(names):
        raise HiwDataError(f"Expected sources with different names, at least one, got {names}.")
    tally = QualityTally(config.fps)
    with StoreWriter(out, fps=config.fps, multiple=config.multiple, overwrite=overwrite) as writer:
        for source in sources:
            _stream(source, writer, tally, config)
        if not writer.metadata:
            raise NoClipsError(out, [(skipped.clip_id, skipped.reason) for skipped in tally.skipped])
        splits, notes = assign_splits(writer.metadata, fractions=config.split, seed=config.seed)
        for row, split in zip(writer.metadata, splits, strict=True):
            row["split"] = split
        report = tally.report(writer.metadata, {source.name: source.info() for source in sources}, notes)
        report["config"] = asdict(config) | {"split": list(config.split)}

        def write_extra(folder: Path, data_hash: str) -> None:
            quality = json.dumps({"data_hash": data_hash, **report}, indent=2, ensure_ascii=False, allow_nan=False)
            card = data_card(report, data_hash)
            for text, name, copy in ((quality + "\n", "quality.json", quality_path), (card, "README.md", card_path)):
                (folder / name).write_text(text, encoding="utf-8")
                if copy is not None:
                    with write_beside(Path(copy)) as staged:
                        staged.write_text(text, encoding="utf-8")

        writer.publish(report, write_extra=write_extra)
    for note in report["notes"]:
        logger.warning(note)
    if tally.skipped:
        logger.warning("Skipped %d clips; see quality.json in %s for the reasons.", len(tally.skipped), out)
    return HiwStore.open(out)


def _stream(source: Source, writer: StoreWriter, tally: QualityTally, config: BuildConfig) -> None:
    with tqdm(total=len(source), desc=source.name, unit="clip", disable=None) as bar:
        for item in source.stream(config.fps):
            bar.update()
            if isinstance(item, SkippedClip):
                tally.skip(item)
                continue
            try:
                check_clip(item)
                if item["source"] != source.name:
                    raise ClipError(f"Expected source {source.name!r} in {item['clip_id']}, got {item['source']!r}.")
                clip = pad_clip(item, multiple=config.multiple)
                writer.append(clip)
            except ClipError as error:
                name = item.get("clip_id") if isinstance(item, Mapping) else None
                tally.skip(SkippedClip(str(name or f"{source.name}/?"), source.name, str(error)))
                continue
            tally.add(clip)
