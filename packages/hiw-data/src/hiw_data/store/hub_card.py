"""The data card with the YAML header that the Hugging Face hub reads."""

from __future__ import annotations

import json
from typing import Any

from hiw_data.card import data_card
from hiw_data.store.reader import HiwStore

_HUB_LICENCES = {
    "apache-2.0": "apache-2.0",
    "cc0": "cc0-1.0",
    "cc0-1.0": "cc0-1.0",
    "cc-by-4.0": "cc-by-4.0",
    "cc-by-sa-4.0": "cc-by-sa-4.0",
    "cc-by-nc-4.0": "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0": "cc-by-nc-sa-4.0",
    "mit": "mit",
}
"""Names of licences that the hub knows, by how they are written elsewhere, in lower case."""

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def hub_card(store: HiwStore, *, parquet: bool = True) -> str:
    """The data card of a store, after a header of the hub's (license, size, tags, splits).

    The header's licence is that of the sources if the hub has a name for it and all agree; else it is "other", and the
    card tells each.

    Args:
        store: open, and written by `build` (so that its report is whole).
        parquet: name the files of `export(..., layout="parquet")`.
    """
    summary = store.summary()
    told = {source["info"]["licence"] for source in summary.get("sources", {}).values()}
    told |= {str(licence) for licence in store.column("licence").unique().to_pylist() if licence}
    known = {_HUB_LICENCES.get(licence.strip().lower(), "other") for licence in told}
    synthetic = {source["info"]["synthetic"] for source in summary.get("sources", {}).values()}
    header: dict[str, Any] = {
        "license": known.pop() if len(known) == 1 else "other",
        "pretty_name": "Hand motion and text",
        "size_categories": [next((name for size, name in _SIZES if len(store) < size), "1M<n<10M")],
        "tags": ["hand-motion", "mano", "text-to-motion", *(["synthetic"] if True in synthetic else [])],
        "configs": [{"config_name": "default", "data_files": _data_files(store) if parquet else "*.tar"}],
    }
    card = data_card(summary, store.data_hash) if "config" in summary else _short_card(store)
    return "\n".join(["---", *_yaml(header), "---", "", card])


def _data_files(store: HiwStore) -> list[dict[str, str]]:
    names = {"train": "train", "val": "validation", "test": "test"}
    return [{"split": hub, "path": f"data/{hub}-*.parquet"} for split, hub in names.items() if store.select(split)]


def _short_card(store: HiwStore) -> str:
    return f"# Hand motion and text\n\n{len(store)} clips, {store.frames} frames. Content hash: `{store.data_hash}`\n"


def _yaml(header: dict[str, Any]) -> list[str]:
    """Key by key, values as JSON, which is YAML."""
    return [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in header.items()]
