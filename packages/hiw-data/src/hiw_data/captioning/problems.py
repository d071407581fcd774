"""What can go wrong when models are asked, and the import of optional packages with an error that names the extra."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from hiw_data.errors import HiwDataError


class MissingPackageError(HiwDataError, ImportError):
    """An optional package is not installed."""


class EndpointError(HiwDataError):
    """An endpoint cannot be used at all: no address, no such model, a refused key. Asking again would not help."""


class CacheError(HiwDataError):
    """The file of kept answers cannot be used."""


class QuestionError(HiwDataError):
    """One question got no usable answer; the message is its reason. The clip is listed with it."""


def require(module: str, extra: str) -> Any:
    """Imports a module of an optional package.

    Raises:
        MissingPackageError: It is not installed; the message names the extra.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingPackageError(
            f"Expected the package of {module!r}, got: {error}. Install it with: pip install 'hiw-data[{extra}]'"
        ) from error
