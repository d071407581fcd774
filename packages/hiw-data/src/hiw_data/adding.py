"""`add`: clips of more sources into a store that is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hiw_data.errors import OptionError, StoreError
from hiw_data.pipeline import BuildConfig, build
from hiw_data.sources.base import Source
from hiw_data.store.reader import HiwStore


def add(path: str | Path, sources: Sequence[Source], *, resume: bool = True) -> HiwStore:
    """Adds the clips of sources to a store, at its rate and with the settings that it was built with.

    What is there stays as it is: clips, their splits, their shards. New clips of a group that is there join its split.
    A clip that is in the store already is passed over; another clip of a name that is taken is listed with the reason.
    The store changes in one rename, at the end; an interrupted call goes on where it was when it is made again.

    Args:
        path: the store's folder, written by `build`.
        sources: such as `VideoSource("videos")`; see `hiw_data.sources.registry.make_source`. One that has the name of
            a source in the store adds to it, under its licence.
        resume: False starts anew where a call was interrupted.

    Returns:
        The store, opened again; as it was if the sources have nothing new.

    Raises:
        StoreError: no store in a folder that `build` wrote, or another process is writing it.
        OptionError: a source has the name of one in the store, but another licence or nature.
        NoClipsError: not one clip could be used.
    """
    store = HiwStore.open(Path(path))
    report = store.summary()
    if not {"config", "sources", "skipped"} <= set(report):
        raise StoreError(f"Expected a store that `build` wrote at {path}, got one without its report. Build it again.")
    for source in sources:
        there, info = report["sources"].get(source.name, {}).get("info"), source.info()
        for key, got in (("licence", info.licence), ("synthetic", info.synthetic)):
            if there and there[key] != got:
                raise OptionError(
                    f"Expected {key} {there[key]!r} of '{source.name}', as in {path}, got {got!r}. Give the source "
                    "another name, or the same terms."
                )
    return build(sources, path, BuildConfig(**report["config"]), append=True, resume=resume)
