"""Sources -> one store of hand motion and text, its card and its quality report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hiw_data import BuildConfig, HiwStore, build, make_source
from kedro.pipeline import Pipeline, node


def build_store(sources: dict[str, dict[str, Any]], config: BuildConfig, staging: str) -> HiwStore:
    """Read, fit, clean, split and caption every source's clips, into a store under `staging`."""
    return build([make_source(name, **options) for name, options in sources.items()], Path(staging), config)


def describe_store(store: HiwStore) -> tuple[dict[str, Any], str]:
    """Return the store's quality report and its data card."""
    return store.quality(), store.card()


def create_pipeline() -> Pipeline:
    """Build `hiw_store`, `quality_report` and `data_card`."""
    return Pipeline(
        [
            node(build_store, ["params:data.sources", "params:data.build", "params:data.staging"], "hiw_store"),
            node(describe_store, "hiw_store", ["quality_report", "data_card"]),
        ],
        tags="stage.data",
    )
