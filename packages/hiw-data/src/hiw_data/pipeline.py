"""The annotation pipeline: streams sources into a store that appears whole or not at all."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from hiw_data.atomic import clear_disk_full
from hiw_data.card import data_card
from hiw_data.clips import Clip, SkippedClip, pad_clip
from hiw_data.errors import ClipError, HiwDataError
from hiw_data.quality import QualityTally
from hiw_data.sources.base import Source
from hiw_data.splits import assign_split
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
        multiple: lengths are rounded up to this (the tokenizer's frames per latent step).

    Raises:
        ValueError: a value out of range.
    """

    fps: float = 15.0
    seed: int = 0
    split: tuple[float, float, float] = (0.8, 0.1, 0.1)
    multiple: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "split", tuple(self.split))
        if not self.fps > 0:
            raise ValueError(f"Expected fps > 0, got {self.fps}.")
        if self.multiple < 4 or self.multiple % 4:
            raise ValueError(f"Expected `multiple` as a multiple of 4, got {self.multiple}.")
        assign_split("", fractions=self.split, seed=self.seed)


def build(
    sources: Sequence[Source],
    out: str | Path,
    config: BuildConfig | None = None,
    *,
    overwrite: bool = True,
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
        DiskFullError: no space left; the old store is untouched.
    """
    config = config or BuildConfig()
    names = [source.name for source in sources]
    if not names or len(set(names)) < len(names):
        raise HiwDataError(f"Expected sources with different names, at least one, got {names}.")
    tally = QualityTally(config.fps)
    with StoreWriter(out, fps=config.fps, overwrite=overwrite) as writer:
        for source in sources:
            _stream(source, writer, tally, config)
        report = tally.report(writer.metadata)
        report["config"] = asdict(config) | {"split": list(config.split)}
        for source in sources:
            if source.name in report["sources"]:
                report["sources"][source.name]["info"] = asdict(source.info())

        def write_extra(folder: Path, data_hash: str) -> None:
            quality = json.dumps({"data_hash": data_hash, **report}, indent=2, ensure_ascii=False) + "\n"
            card = data_card(report, data_hash)
            for text, name, copy in ((quality, "quality.json", quality_path), (card, "README.md", card_path)):
                (folder / name).write_text(text, encoding="utf-8")
                if copy is not None:
                    write_text(copy, text)

        writer.publish(report, write_extra=write_extra)
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
            clip = _finish(item, config)
            try:
                writer.append(clip)
            except ClipError as error:
                tally.skip(SkippedClip(item["clip_id"], source.name, str(error)))
                continue
            tally.add(clip)


def _finish(clip: Clip, config: BuildConfig) -> Clip:
    """Pads the clip and assigns its split."""
    clip = pad_clip(clip, multiple=config.multiple)
    origin = f"{clip['source']}/{clip.get('origin', clip['clip_id'])}"
    clip["split"] = assign_split(origin, fractions=config.split, seed=config.seed)
    return clip


def write_text(path: str | Path, text: str) -> None:
    """Writes a text file beside, then renames it.

    Raises:
        DiskFullError: no space left.
    """
    path = Path(path)
    with clear_disk_full(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        staged = path.with_name(f".{path.name}.{os.getpid()}")
        staged.write_text(text, encoding="utf-8")
        os.replace(staged, path)
