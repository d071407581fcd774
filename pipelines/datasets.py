"""Kedro datasets for what the packages write: stores, pretrained folders, arrays.

Each is written beside its target and renamed, so that a killed run leaves the old content or the new, never half of it.
"""

from __future__ import annotations

import importlib
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from clutch_llm.atomic import write_beside
from hiw_data import HiwStore, StoreError
from hiw_data.store.upload import list_folders, upload
from kedro.io import AbstractDataset, AbstractVersionedDataset, DatasetError, Version
from kedro.io.core import get_protocol_and_path


class NotThereError(DatasetError):
    """What a dataset should hold was not made yet, or was made elsewhere; the message says what to do."""


class HiwStoreDataset(AbstractVersionedDataset[HiwStore, HiwStore]):
    """A `hiw_data.HiwStore`, opened: in a folder or at the URL of an object store, either with versions or without.

    `hiw_data.build` puts a store in its place, whole; so saving to a plain folder only checks that it did. Saving to a
    version copies the store there, and saving to a URL uploads it.

    Args:
        filepath: the store's folder (also as file://), or its URL (s3://, gs://, az://; needs obstore).
        version: which version to load and save, by Kedro (`versioned: true`): at `filepath`/VERSION/NAME.
        credentials: of the object store, as `obstore.store.from_url` takes them: access_key_id, secret_access_key,
            region, endpoint, ...
        fs_args: what else opens it, such as `client_options`, `block_bytes` and `cache_bytes`.

    Example:
        ```yaml
        hiw_store:
          type: pipelines.datasets.HiwStoreDataset
          filepath: data/hiw.zarr

        shared_store:
          type: pipelines.datasets.HiwStoreDataset
          filepath: s3://bucket/hiw.zarr
          credentials: bucket_keys
          fs_args: {cache_bytes: 1000000000}
        ```
    """

    def __init__(
        self,
        *,
        filepath: str,
        version: Version | None = None,
        credentials: dict[str, Any] | None = None,
        fs_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        protocol, path = get_protocol_and_path(filepath)
        self._scheme = "" if protocol == "file" else f"{protocol}://"
        self._options = {**(fs_args or {}), **(credentials or {})}
        ways = {"exists_function": self._is_there, "glob_function": self._versions} if self._scheme else {}
        super().__init__(PurePosixPath(path), version, **ways)
        self.metadata = metadata

    def load(self) -> HiwStore:
        """Open the store; its schema version and completeness are checked by `hiw_data`."""
        path = str(self._get_load_path())
        return HiwStore.open(self._scheme + path, **self._options) if self._scheme else HiwStore.open(path)

    def save(self, data: HiwStore) -> None:
        """Check that the store was built at `filepath`, copy it to its version, or upload it."""
        if self._scheme:
            upload(data, f"{self._scheme}{self._get_save_path()}", **self._options)
            return
        target = Path(self._get_save_path())
        if Path(data.path).resolve() == target.resolve():
            return
        if self._version is None:
            raise DatasetError(f"Expected a store built at '{target}', got one at '{data.path}'.")
        staged = target.with_name(f".{target.name}-{uuid.uuid4().hex[:8]}")
        try:
            shutil.copytree(data.path, staged)
            staged.replace(target)
        finally:
            shutil.rmtree(staged, ignore_errors=True)

    def _exists(self) -> bool:
        path = str(self._get_load_path())
        return self._is_there(path) if self._scheme else Path(path).exists()

    def _is_there(self, path: str) -> bool:
        try:
            HiwStore.open(self._scheme + path, **self._options)
        except StoreError:
            return False
        return True

    def _versions(self, pattern: str) -> list[str]:
        """Where versions may be that lie in the object store, whole or not."""
        names = list_folders(f"{self._scheme}{self._filepath}", **self._options)
        return [str(path) for name in names if (path := self._get_versioned_path(name)).match(pattern)]

    def _describe(self) -> dict[str, Any]:
        return {"filepath": f"{self._scheme}{self._filepath}", "version": self._version}


class PretrainedDataset(AbstractDataset[Any, Any]):
    """Anything with `save_pretrained(folder)` and the class method `from_pretrained(folder, **load_args)`.

    Example:
        ```yaml
        shift:
          type: pipelines.datasets.PretrainedDataset
          filepath: data/models/shift
          class_path: shift_tokenizer.ShiftTokenizer
          load_args: {device: auto}  # on the accelerator that is there
        ```
    """

    def __init__(
        self,
        *,
        filepath: str,
        class_path: str,
        load_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._filepath = Path(filepath)
        self._class_path = class_path
        self._load_args = load_args or {}
        self.metadata = metadata

    def _loader(self) -> Callable[..., Any]:
        module, _, name = self._class_path.rpartition(".")
        try:
            return getattr(importlib.import_module(module), name).from_pretrained
        except (ImportError, AttributeError, ValueError) as error:
            raise DatasetError(
                f"Expected class_path to name a class with from_pretrained, got '{self._class_path}': {error}"
            ) from error

    def load(self) -> Any:
        """Load the object from its folder."""
        if not self._filepath.exists():
            raise NotThereError(f"Nothing at '{self._filepath}' yet. Run the pipeline that makes it first.")
        return self._loader()(self._filepath, **self._load_args)

    def save(self, data: Any) -> None:
        """Save through the object's own `save_pretrained`, which writes beside and renames."""
        data.save_pretrained(self._filepath)

    def _exists(self) -> bool:
        return self._filepath.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "class_path": self._class_path, "load_args": self._load_args}


class ArraysDataset(AbstractDataset[dict[str, np.ndarray], dict[str, np.ndarray]]):
    """Named arrays in one compressed `.npz`; no pickled objects, in or out.

    Example:
        ```yaml
        tokens:
          type: pipelines.datasets.ArraysDataset
          filepath: data/tokens.npz
        ```
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> dict[str, np.ndarray]:
        """Read every array."""
        with np.load(self._filepath, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}

    def save(self, data: dict[str, np.ndarray]) -> None:
        """Write every array, then rename."""
        objects = [name for name, value in data.items() if np.asarray(value).dtype == object]
        if objects:
            raise DatasetError(f"Expected plain arrays, got object arrays {objects}. Save them as text or numbers.")
        with write_beside(self._filepath) as staged:
            np.savez_compressed(staged, allow_pickle=False, **data)

    def _exists(self) -> bool:
        return self._filepath.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
