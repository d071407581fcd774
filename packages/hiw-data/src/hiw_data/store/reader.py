"""A store opened for reading: the index is mapped, frames are read when asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
from numpy.typing import NDArray

from hiw_data.atomic import recover_folder
from hiw_data.clips import FEATURES, SPLITS, Clip
from hiw_data.errors import OptionError, SchemaVersionError, StoreError
from hiw_data.store import schema
from hiw_data.store.files import LocalFiles, ObjectFiles
from hiw_data.store.shards import WIDTHS, array_metadata, shard_key

_WORDS = ("clip_id", "source", "split", "captions", "mirrored_captions", "paraphrases", "mirrored_paraphrases")


class HiwStore:
    """A store opened for reading. Made by `HiwStore.open`; can be pickled, forked and shared between threads.

    Attributes:
        path: the folder (Path), or the URL (str).
    """

    def __init__(
        self,
        path: Path | str,
        files: LocalFiles | ObjectFiles,
        attributes: dict[str, Any],
        options: dict[str, Any] | None = None,
    ) -> None:
        self.path, self.files, self._attributes, self._options = path, files, attributes, options or {}

    @classmethod
    def open(cls, path: str | Path, **options: Any) -> HiwStore:
        """Opens a store and checks that it is one, whole, and of this schema version.

        Args:
            path: the store's folder, such as "data/hiw.zarr", or a URL such as "s3://bucket/hiw.zarr" (extra `s3`).
            options: of the object store, see `hiw_data.store.files.ObjectFiles`.

        Raises:
            StoreError: nothing there, not a store, or an incomplete one.
            SchemaVersionError: written by another version of the schema.
            OptionError: a URL, and obstore is not installed.
        """
        files: LocalFiles | ObjectFiles
        if "://" in str(path):
            path, files = str(path), ObjectFiles(str(path), **options)
        else:
            path = Path(path)
            recover_folder(path)
        try:
            if isinstance(path, Path):
                files = LocalFiles(path)
            document = json.loads(files.read("zarr.json"))
            attributes = document["attributes"]
        except (FileNotFoundError, NotADirectoryError) as error:
            raise StoreError(f"Expected a store at {path}, got nothing there. Do `hiw build --out {path}`.") from error
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"Expected a Zarr 3 group at {path}, got something unreadable ({error}). Build it again."
            ) from error
        store = cls(path, files, attributes, options)
        store._check()
        return store

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_again, (self.path, self._options, self.data_hash)

    def _check(self) -> None:
        attributes = self._attributes
        if attributes.get("format") != schema.FORMAT:
            raise StoreError(
                f"Expected a store of {schema.FORMAT} at {self.path}, got format {attributes.get('format')!r}. "
                "Point to a folder that `hiw build` wrote."
            )
        if attributes.get("schema_version") != schema.SCHEMA_VERSION:
            raise SchemaVersionError(self.path, attributes.get("schema_version"), schema.SCHEMA_VERSION)
        if not attributes.get("complete"):
            raise StoreError(
                f"Expected a complete store at {self.path}, got one without its closing mark. Build it again "
                "with `hiw build`."
            )
        for array in WIDTHS:
            try:
                got = json.loads(self.files.read(f"{array}/zarr.json"))
            except FileNotFoundError as error:
                raise StoreError(
                    f"Expected a complete store at {self.path}, got one without {array}. Build it again with "
                    "`hiw build`."
                ) from error
            expected = array_metadata(array, len(self.shards), self.shard_frames)
            if wrong := [
                key for key in ("shape", "data_type", "chunk_grid", "codecs") if got.get(key) != expected[key]
            ]:
                raise StoreError(
                    f"Expected {array} of {self.path} as `hiw build` lays it out, got another {', '.join(wrong)}. Has "
                    "another program rewritten it? Read it with Zarr, and build the store again."
                )
        if len(self) != attributes["clips"] or int(self.lengths.sum()) != attributes["frames"]:
            raise StoreError(
                f"Expected {attributes['clips']} clips and {attributes['frames']} frames in {self.path}, got "
                f"{len(self)} and {int(self.lengths.sum())} in its index. Do `hiw repair {self.path}`, or build it "
                "again."
            )

    @cached_property
    def table(self) -> pa.Table:
        """The index: a row a clip, columns as in `hiw_data.store.schema.ROW_SCHEMA`; mapped, not read."""
        try:
            return pa.ipc.open_file(self.files.table_source(schema.INDEX_FILE)).read_all()
        except (pa.ArrowInvalid, OSError) as error:
            raise StoreError(
                f"Expected an Arrow file at {schema.INDEX_FILE} of {self.path}, got damage ({error}). Do `hiw repair "
                f"{self.path}`, or build it again."
            ) from error

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The index shard by shard."""
        reader = pa.ipc.open_file(self.files.table_source(schema.INDEX_FILE))
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)

    def column(self, name: str) -> pa.ChunkedArray:
        """A column of the index, such as "clip_id" or "captions"."""
        return self.table.column(name)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Frames of each clip."""
        return self.column("length").to_numpy().astype(np.int64)

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Where each clip begins in the arrays."""
        return self.column("start").to_numpy()

    @property
    def metadata(self) -> Rows:
        """One dict per clip, in stored order, made when asked for: all of a Clip but its arrays, with "length"."""
        return Rows(self.table)

    @property
    def shards(self) -> list[dict[str, Any]]:
        """Per shard: the SHA-256 of its files ("features", "valid") and how many "clips" it has."""
        return self._attributes["shards"]

    @property
    def shard_frames(self) -> int:
        """Frames that a shard has room for."""
        return int(self._attributes["shard_frames"])

    @property
    def schema_version(self) -> int:
        """The version of the layout that the store was written in."""
        return int(self._attributes["schema_version"])

    @property
    def data_hash(self) -> str:
        """SHA-256 of the content (features, validity, metadata, in order), in hexadecimal, however it is sharded."""
        return str(self._attributes["data_hash"])

    @property
    def index_sha256(self) -> str:
        """SHA-256 of `clips.arrow`."""
        return str(self._attributes["index_sha256"])

    @property
    def fps(self) -> float:
        """Frames a second, the same for all clips."""
        return float(self._attributes["fps"])

    @property
    def frames(self) -> int:
        """Frames of all clips."""
        return int(self._attributes["frames"])

    def __len__(self) -> int:
        return self.table.num_rows

    def __repr__(self) -> str:
        return f"HiwStore({str(self.path)!r}, clips={len(self)}, data_hash={self.data_hash[:12]!r})"

    def select(self, split: str | None = None, source: str | None = None) -> list[int]:
        """Positions of the clips of a split and a source (None takes all).

        Raises:
            OptionError: no such split, or no such source in this store.
        """
        if split is not None and split not in SPLITS:
            raise OptionError(f"Expected a split of {SPLITS}, got {split!r}.")
        chosen = np.ones(len(self), bool)
        if source is not None:
            own = pc.equal(self.column("source"), source).to_numpy()
            if not own.any():
                sources = sorted(pc.unique(self.column("source")).to_pylist())
                raise OptionError(f"Expected a source of {sources} in {self.path}, got {source!r}.")
            chosen &= own
        if split is not None:
            chosen &= pc.equal(self.column("split"), split).to_numpy()
        return np.flatnonzero(chosen).tolist()

    def read_frames(
        self, index: int, start: int = 0, stop: int | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Frames `start` to `stop` (default: its end) of the clip at a position, read from the disk: (T, 198), (T, 2).

        Raises:
            IndexError: there are no such frames.
            StoreError: the shard cannot be read.
        """
        length = int(self.lengths[index])
        stop = length if stop is None else stop
        if not 0 <= start <= stop <= length:
            raise IndexError(f"Expected frames within 0 to {length} of clip {index}, got {start} to {stop}.")
        features, valid = np.empty((stop - start, FEATURES), "<f4"), np.empty((stop - start, 2), np.uint8)
        for array, block in (("features", features), ("valid", valid)):
            self._read_into(array, int(self.starts[index]) + start, block)
        return features, valid.astype(bool)

    def read_valid(self, index: int) -> NDArray[np.bool_]:
        """In which frames each hand of the clip at a position is seen, (T, 2), without its features.

        Raises:
            StoreError: the shard cannot be read.
        """
        valid = np.empty((int(self.lengths[index]), 2), np.uint8)
        self._read_into("valid", int(self.starts[index]), valid)
        return valid.astype(bool)

    def _read_into(self, array: str, row: int, block: NDArray[Any]) -> None:
        number, first = divmod(row, self.shard_frames)
        self.files.read_into(shard_key(array, number), first * WIDTHS[array], block)

    def words(self, index: int) -> dict[str, Any]:
        """What an item of a dataset carries of the clip at a position: its names, words and attributes.

        mirrored_captions, paraphrases and mirrored_paraphrases are None where the clip has none.
        """
        batch, row = self._where(index)
        words = {name: batch.column(name)[row].as_py() for name in _WORDS}
        return words | {"attributes": json.loads(batch.column("attributes")[row].as_py())}

    def _where(self, index: int) -> tuple[pa.RecordBatch, int]:
        number = int(np.searchsorted(self._bounds, index, side="right")) - 1
        return self._batches[number], index - int(self._bounds[number])

    @cached_property
    def _batches(self) -> list[pa.RecordBatch]:
        return self.table.to_batches()

    @cached_property
    def _bounds(self) -> NDArray[np.int64]:
        return np.cumsum([0, *(batch.num_rows for batch in self._batches)])

    def clip(self, index: int) -> Clip:
        """The clip at a position, with arrays of its own, read from the disk."""
        return self._clip(self.metadata[index], *self.read_frames(range(len(self))[index]))

    def _clip(self, row: dict[str, Any], features: NDArray[np.float32], valid: NDArray[np.bool_]) -> Clip:
        row.pop("length")
        if "betas" in row:
            row["betas"] = np.asarray(row["betas"], np.float32).reshape(2, 10)
        if "timestamps" in row:
            row["timestamps"] = np.asarray(row["timestamps"], np.float64)
        if "filled" in row:
            row["filled"] = np.asarray(row["filled"], bool).reshape(-1, 2)
        return cast(Clip, {**row, "fps": self.fps, "features": features, "valid": valid})

    def iterate(self, split: str | None = None, source: str | None = None) -> Iterator[Clip]:
        """The clips of a split and a source (None takes all), in stored order, one at a time.

        Raises:
            OptionError: no such split, or no such source in this store.
            StoreError: a shard cannot be read.
        """
        chosen = self.select(split, source)
        for begin in range(0, len(chosen), 1024):
            positions = chosen[begin : begin + 1024]
            for index, values in zip(positions, self.table.take(positions).to_pylist(), strict=True):
                yield self._clip(schema.from_columns(values), *self.read_frames(index))

    def rows(
        self, columns: Sequence[str], split: str | None = None, source: str | None = None
    ) -> Iterator[dict[str, Any]]:
        """What the index says of the clips of a split and a source (None takes all), in order; no motion is read.

        Args:
            columns: what is asked for, of `hiw_data.store.schema.ROW_SCHEMA`, such as "captions"; nothing else is read.
            split: see `select`, as is the next.
            source: see there.

        Yields:
            A dict of these columns, JSON as its value; None for what a clip does not have.

        Raises:
            OptionError: no such column, split or source in this store.
        """
        if unknown := sorted(set(columns) - set(self.table.column_names)):
            raise OptionError(f"Expected columns of {self.table.column_names} in {self.path}, got {unknown}.")
        chosen = np.asarray(self.select(split, source), np.int64)
        parsed = [name for name in columns if name in schema.JSON_COLUMNS]
        for number, batch in enumerate(self._batches):
            first, last = self._bounds[number : number + 2]
            own = chosen[(chosen >= first) & (chosen < last)] - first
            for row in batch.select(list(columns)).take(pa.array(own, pa.int64())).to_pylist():
                yield row | {name: None if row[name] is None else json.loads(row[name]) for name in parsed}

    def clips(self, split: str | None = None, source: str | None = None) -> list[Clip]:
        """What `iterate` gives, as a list: all of them in memory.

        Raises:
            OptionError: no such split, or no such source in this store.
            StoreError: a shard cannot be read.
        """
        return list(self.iterate(split, source))

    def summary(self) -> dict[str, Any]:
        """The quality report: counts, frames, seconds, validity, overlap of splits, skipped clips with reasons."""
        return {
            "data_hash": self.data_hash,
            "schema_version": self.schema_version,
            "fps": self.fps,
            **self._attributes["report"],
        }

    def verify(self) -> None:
        """Reads everything and compares every checksum; see `hiw_data.store.validate` for a list of what is damaged.

        Raises:
            StoreError: the content is not what was written.
        """
        from hiw_data.store.validation import validate

        found = validate(self)
        if found.problems:
            more = f", and {len(found.problems) - 1} more" if len(found.problems) > 1 else ""
            raise StoreError(f"{found.problems[0]}{more}. `hiw repair {self.path}` keeps what is whole.")


def _open_again(path: Path | str, options: dict[str, Any], data_hash: str) -> HiwStore:
    store = HiwStore.open(path, **options)
    if store.data_hash != data_hash:
        raise StoreError(
            f"Expected the store with hash {data_hash} at {path}, got another, which took its place meanwhile."
        )
    return store


class Rows(Sequence[dict[str, Any]]):
    """The rows of an index as dicts, made when asked for."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __len__(self) -> int:
        return self._table.num_rows

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        position = range(len(self))[index]
        return schema.from_columns(self._table.slice(position, 1).to_pylist()[0])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self._table.to_batches(max_chunksize=1024):
            yield from map(schema.from_columns, batch.to_pylist())
