"""`annotate`: videos in, one store of motion and words out, with a report of what became of every video."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hiw_data.annotation import AnnotationConfig
from hiw_data.engine.timings import Timings
from hiw_data.errors import StoreError
from hiw_data.pipeline import BuildConfig, build
from hiw_data.sources.video import VideoSource
from hiw_data.store import HiwStore
from hiw_data.tracking.base import Tracker


def annotate(
    videos: str | Path | Sequence[str | Path],
    out: str | Path,
    config: AnnotationConfig | None = None,
    *,
    tracker: Tracker | None = None,
    store: BuildConfig | None = None,
    overwrite: bool = False,
    keep_work: bool = False,
    timings: Timings | None = None,
    **options: Any,
) -> HiwStore:
    """Annotates videos and builds a store of them.

    What each video gave is kept in a folder beside `out` (its name with `.work` at the end) until the store is there:
    the same call after an interruption goes on where it stopped. The store appears whole or not at all.

    Args:
        videos: files and folders.
        out: the store.
        config: how tracked hands become clips.
        tracker: None for MediaPipe.
        store: frame rate, splits and lengths of the store.
        overwrite: replace a store that is there.
        keep_work: keep the work folder, for another run with other settings of the fit or the cleaning.
        timings: gets the seconds that each stage took.
        **options: more arguments of `VideoSource`, such as `workers`, `engine` and `ray_address`.

    Raises:
        HiwDataError: see `build` and `VideoSource`.
    """
    if Path(out).exists() and not overwrite:
        raise StoreError(f"Expected no store at {out} yet, got one. Choose another name, or replace it: --overwrite.")
    work = Path(options.pop("work", None) or f"{out}.work")
    timings = timings or Timings()
    source = VideoSource(videos, tracker=tracker, config=config, work=work, timings=timings, **options)
    built = build([source], out, store or BuildConfig(), overwrite=overwrite)
    timings.stop()
    if not keep_work:
        shutil.rmtree(work, ignore_errors=True)
    return built
