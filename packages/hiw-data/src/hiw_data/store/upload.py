"""Putting a store into an object store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tqdm import tqdm

from hiw_data.errors import OptionError, StoreError
from hiw_data.store.reader import HiwStore


def upload(store: HiwStore, url: str, **options: Any) -> HiwStore:
    """Copies a store from its folder to a URL, such as "s3://bucket/hiw.zarr"; `zarr.json`, its mark, comes last.

    Args:
        store: opened from a folder.
        url: where nothing is, or a store that this one replaces; while it is replaced, readers of the old one fail.
        options: for `obstore.store.from_url`: credentials, endpoint, region.

    Returns:
        The copy, opened.

    Raises:
        OptionError: obstore is not installed.
        StoreError: the store is not in a folder.
    """
    try:
        from obstore.store import from_url
    except ImportError as error:
        raise OptionError(f"Expected obstore for {url}. Install it: pip install 'hiw-data[s3]'.") from error
    if not isinstance(store.path, Path):
        raise StoreError(f"Expected a store in a folder, got one at {store.path}. Download it first.")
    target = from_url(url, **options)
    files = [path for path in sorted(store.path.rglob("*")) if path.is_file()]
    root = store.path / "zarr.json"
    if url_has := [entry for entry in target.list().collect() if entry["path"] == "zarr.json"]:
        target.delete(url_has[0]["path"])
    for path in tqdm([*(path for path in files if path != root), root], unit="file", disable=None):
        target.put(path.relative_to(store.path).as_posix(), path)
    return HiwStore.open(url, **options)
