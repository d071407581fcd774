"""Sources -> one store of hand motion and text, its card and its quality report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from hiw_data import BuildConfig, HiwDataError, HiwStore, Source, build
from hiw_data.card import data_card
from hiw_data.sources.registry import SOURCES
from kedro.pipeline import Pipeline, node


def build_store(sources: Any, config: BuildConfig, path: str) -> HiwStore:
    """Read, fit, clean, split and caption every source's clips, into a store at `path`; the one there is replaced.

    Args:
        sources: `data.sources` of the configuration, see `make_sources`.
        config: frame rate, splits and lengths.
        path: the store's folder.
    """
    return build(make_sources(sources), path, config, overwrite=True)


def make_sources(entries: Any) -> list[Source]:
    """Make the sources of clips that the configuration lists.

    Args:
        entries: mappings with `type` (a key of SOURCES) and the options of that source; `name` tells two of a type
            apart. Paths are absolute here: `pipelines.places` starts them at the project's folder.

    Raises:
        HiwDataError: no list of such mappings, an unknown type, or an option that it does not have.
    """
    if isinstance(entries, Mapping):
        named = [{"type": kind, **(options or {})} for kind, options in entries.items() if options is not None]
        listed = yaml.safe_dump({"sources": named}, sort_keys=False)
        raise HiwDataError(
            "Expected data.sources as a list (an environment's list takes the place of another's), got a mapping. "
            f"Write under `data:`\n{listed}"
        )
    if not isinstance(entries, list) or not entries:
        raise HiwDataError(f"Expected data.sources as a list of sources, at least one, got {entries!r}.")
    return [_make_source(entry) for entry in entries]


def _make_source(entry: Any) -> Source:
    if not isinstance(entry, Mapping) or entry.get("type") not in SOURCES:
        raise HiwDataError(f"Expected entries with a type among {sorted(SOURCES)} in data.sources, got {entry!r}.")
    options = {key: value for key, value in entry.items() if key != "type"}
    try:
        return SOURCES[entry["type"]](**options)
    except TypeError as error:
        raise HiwDataError(
            f"Expected options that the source '{entry['type']}' has, got {sorted(options)} ({error}). Correct "
            "data.sources."
        ) from error


def describe_store(store: HiwStore) -> tuple[dict[str, Any], str]:
    """Return the store's quality report and its data card."""
    report = store.summary()
    return report, data_card(report, store.data_hash)


def create_pipeline() -> Pipeline:
    """Build `hiw_store`, `quality_report` and `data_card`."""
    return Pipeline(
        [
            node(build_store, ["params:data.sources", "params:data.build", "params:data.store"], "hiw_store"),
            node(describe_store, "hiw_store", ["quality_report", "data_card"]),
        ],
        tags="stage.data",
    )
