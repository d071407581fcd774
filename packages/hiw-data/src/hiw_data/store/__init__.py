"""The store of clips: its layout, writer, readers, checks and exports."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hiw_data.store.reader import HiwStore
    from hiw_data.store.schema import SCHEMA_VERSION
    from hiw_data.store.writer import StoreWriter

_WHERE = {"HiwStore": "reader", "SCHEMA_VERSION": "schema", "StoreWriter": "writer"}

__all__ = ["SCHEMA_VERSION", "HiwStore", "StoreWriter"]


def __getattr__(name: str) -> Any:
    """Imports a name when it is first used, so that the command line's grammar waits for nothing."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
