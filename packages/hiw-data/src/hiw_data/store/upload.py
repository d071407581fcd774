"""Putting a store into an object store; an upload that was cut off goes on where it stopped.

While it runs, `upload.json` at the target says which store is coming (the SHA-256 of its `zarr.json`, which knows those
of the shards and the index). Objects appear whole or not at all, and those of another store are removed before that
note is written: so what is there of the right size beside it is what this upload has put.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from hiw_data.errors import OptionError, StoreError
from hiw_data.store.reader import HiwStore
from hiw_data.store.schema import INDEX_FILE
from hiw_data.store.shards import WIDTHS

ROOT, NOTE = "zarr.json", "upload.json"
_READING = ("block_bytes", "cache_bytes")


def upload(store: HiwStore, url: str, **options: Any) -> HiwStore:
    """Copies a store from its folder to a URL, such as "s3://bucket/hiw.zarr"; `zarr.json`, its mark, comes last.

    The same call after an interruption puts what is missing.

    Args:
        store: opened from a folder.
        url: where nothing is, or a store that this one replaces; while it is replaced, readers of the old one fail.
        options: for `obstore.store.from_url`: credentials, endpoint, region; and of the copy that is opened.

    Returns:
        The copy, opened.

    Raises:
        OptionError: obstore is not installed.
        StoreError: the store is not in a folder.
    """
    if not isinstance(store.path, Path):
        raise StoreError(f"Expected a store in a folder, got one at {store.path}. Download it first.")
    target = _open(url, options)
    files = {p.relative_to(store.path).as_posix(): p for p in sorted(store.path.rglob("*")) if p.is_file()}
    root = files.pop(ROOT)
    there = _begin(target, list(files), hashlib.sha256(root.read_bytes()).hexdigest())
    checked = (INDEX_FILE, *(f"{array}/c/" for array in WIDTHS))  # whose content zarr.json knows
    missing = [
        key for key, path in files.items() if not (key.startswith(checked) and there.get(key) == path.stat().st_size)
    ]
    for key in tqdm(missing, unit="file", disable=None):
        target.put(key, files[key])
    target.put(ROOT, root)
    target.delete(NOTE)
    return HiwStore.open(url, **options)


def list_folders(url: str, **options: Any) -> list[str]:
    """Names of what lies under a URL like folders, such as the versions of a store; `options` as of `upload`.

    Raises:
        OptionError: obstore is not installed.
    """
    prefixes = _open(url, options).list_with_delimiter()["common_prefixes"]
    return sorted(prefix.rstrip("/").rsplit("/", 1)[-1] for prefix in prefixes)


def _open(url: str, options: Mapping[str, Any]) -> Any:
    try:
        from obstore.store import from_url
    except ImportError as error:
        raise OptionError(f"Expected obstore for {url}. Install it: pip install 'hiw-data[s3]'.") from error
    return from_url(url, **{name: value for name, value in options.items() if name not in _READING})


def _begin(target: Any, keys: Sequence[str], sha256: str) -> dict[str, int]:
    """Makes room for a store, or finds what was put of it: sizes of the objects that may stay."""
    there = {entry["path"]: int(entry["size"]) for entry in target.list().collect()}
    if NOTE in there and bytes(target.get(NOTE).bytes()).decode(errors="replace") == sha256:
        return there
    for key in (ROOT, *keys):
        if key in there:
            target.delete(key)
    target.put(NOTE, sha256.encode())
    return {}
