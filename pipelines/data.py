"""Sources -> one store of hand motion and text, its card and its quality report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hiw_data import (
    BuildConfig,
    FingerspellingSource,
    HiwDataError,
    HiwStore,
    NpzSource,
    ProceduralSource,
    Source,
    build,
)
from hiw_data.card import data_card
from kedro.pipeline import Pipeline, node

SOURCES: dict[str, Callable[..., Source]] = {
    "fingerspelling": FingerspellingSource,
    "procedural": ProceduralSource,
    "npz": NpzSource,
}


def build_store(sources: dict[str, dict[str, Any] | None], config: BuildConfig, path: str) -> HiwStore:
    """Read, fit, clean, split and caption every source's clips, into a store at `path`.

    A source whose options are null is left out, so that an environment can drop what another one names.
    """
    wanted = {name: options for name, options in sources.items() if options is not None}
    return build([make_source(name, options) for name, options in wanted.items()], path, config)


def make_source(name: str, options: dict[str, Any]) -> Source:
    """Make a source of clips from its name and options in the configuration.

    Raises:
        HiwDataError: an unknown source, or an option it does not have.
    """
    if name not in SOURCES:
        raise HiwDataError(f"Expected a source among {sorted(SOURCES)}, got '{name}'. Correct data.sources.")
    try:
        return SOURCES[name](**options)
    except TypeError as error:
        raise HiwDataError(f"The options of the source '{name}' do not fit: {error}. Correct data.sources.") from error


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
