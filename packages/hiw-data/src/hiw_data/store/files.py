"""Where a store's bytes are: a local folder, or a prefix in an object store."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

from hiw_data.errors import OptionError, StoreError

OPEN_FILES = 64
"""Shard files held open at most."""


class LocalFiles:
    """A store in a folder. Reads go straight to the place; nothing is kept but file handles.

    The folder itself is held: if another store takes its place, reads fail, and never mix old and new.

    Raises:
        FileNotFoundError: there is no such folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._folder = os.open(folder, os.O_RDONLY)
        self._handles: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    def __str__(self) -> str:
        return str(self.folder)

    def __del__(self) -> None:
        for handle in (*getattr(self, "_handles", {}).values(), *([self._folder] if hasattr(self, "_folder") else [])):
            os.close(handle)

    def read(self, key: str) -> bytes:
        """A whole file.

        Raises:
            FileNotFoundError: it is not there.
        """
        with open(key, "rb", opener=lambda name, flags: os.open(name, flags, dir_fd=self._folder)) as file:
            return file.read()

    def table_source(self, key: str) -> Any:
        """A file for Arrow to map."""
        return pa.memory_map(str(self.folder / key))

    def read_into(self, key: str, offset: int, block: NDArray[Any]) -> None:
        """Fills an array with the bytes from `offset` on.

        Raises:
            StoreError: the file is missing or too short.
        """
        if not block.size:
            return
        with self._lock:  # a handle must not be closed by another thread's reading between look-up and read
            try:
                got = os.preadv(self._handle(key), [block.data.cast("B")], offset)
            except FileNotFoundError as error:
                raise unreadable(self, key, f"{error}; or another store took its place: open it again") from error
            except OSError as error:
                raise unreadable(self, key, str(error)) from error
        if got != block.nbytes:
            raise unreadable(self, key, f"{got} bytes at {offset} instead of {block.nbytes}")

    def _handle(self, key: str) -> int:
        handle = self._handles.get(key)
        if handle is None:
            handle = self._handles[key] = os.open(key, os.O_RDONLY, dir_fd=self._folder)
            if len(self._handles) > OPEN_FILES:
                os.close(self._handles.popitem(last=False)[1])
        else:
            self._handles.move_to_end(key)
        return handle


class ObjectFiles:
    """A store in an object store, by URL (s3://bucket/prefix, gs://, az://, http://).

    Args:
        url: of the store.
        block_bytes: read at once; neighbouring windows are then at hand.
        cache_bytes: of blocks kept.
        options: for `obstore.store.from_url`: credentials, endpoint, region.

    Raises:
        OptionError: obstore is not installed.
    """

    def __init__(self, url: str, block_bytes: int = 1 << 20, cache_bytes: int = 256 << 20, **options: Any) -> None:
        try:
            from obstore.store import from_url
        except ImportError as error:
            raise OptionError(f"Expected obstore for {url}. Install it: pip install 'hiw-data[s3]'.") from error
        self.url, self.block_bytes, self.cache_bytes = url, block_bytes, cache_bytes
        self._store = from_url(url, **options)
        self._blocks: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def __str__(self) -> str:
        return self.url

    def read(self, key: str) -> bytes:
        """A whole object.

        Raises:
            FileNotFoundError: it is not there.
        """
        return bytes(self._store.get(key).bytes())

    def table_source(self, key: str) -> Any:
        """An object for Arrow to read."""
        return pa.BufferReader(self.read(key))

    def read_into(self, key: str, offset: int, block: NDArray[Any]) -> None:
        """Fills an array with the bytes from `offset` on, through blocks that are kept.

        Raises:
            StoreError: the object is missing or too short.
        """
        if not block.size:
            return
        first, last = offset // self.block_bytes, (offset + block.nbytes - 1) // self.block_bytes
        data = b"".join(self._block(key, number) for number in range(first, last + 1))
        data = data[offset - first * self.block_bytes :][: block.nbytes]
        if len(data) != block.nbytes:
            raise unreadable(self, key, f"{len(data)} bytes at {offset} instead of {block.nbytes}")
        block.data.cast("B")[:] = data

    def _block(self, key: str, number: int) -> bytes:
        with self._lock:
            if (key, number) in self._blocks:
                self._blocks.move_to_end((key, number))
                return self._blocks[key, number]
        try:
            data = bytes(self._store.get_range(key, start=number * self.block_bytes, length=self.block_bytes))
        except Exception as error:  # obstore's errors have a base of their own for each kind
            raise unreadable(self, key, str(error).splitlines()[0]) from error
        with self._lock:
            self._blocks[key, number] = data
            while len(self._blocks) * self.block_bytes > self.cache_bytes:
                self._blocks.popitem(last=False)
        return data


def unreadable(files: LocalFiles | ObjectFiles, key: str, why: str) -> StoreError:
    """The error of a file that cannot be read."""
    return StoreError(
        f"Expected a readable {key} in {files}, got: {why}. `hiw validate` lists what is damaged, `hiw repair` "
        "keeps the rest."
    )
