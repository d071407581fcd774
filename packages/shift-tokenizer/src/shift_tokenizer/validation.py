"""Checks shared by the configuration dataclasses: types, ranges, unknown names."""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from .errors import ConfigError

ConfigT = TypeVar("ConfigT")


def from_mapping(cls: type[ConfigT], values: Mapping[str, Any]) -> ConfigT:
    """Builds a configuration dataclass from plain values, refusing names that it does not know.

    Raises:
        ConfigError: a name is unknown, or a value is refused by the dataclass.
    """
    known = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ConfigError(
            f"{cls.__name__}: expected only the fields {', '.join(known)}, got also {', '.join(unknown)}. "
            "Remove or correct them."
        )
    return cls(**values)


def require_integer(owner: object, name: str, low: int, high: float = math.inf) -> None:
    """Raises ConfigError unless `owner.name` is an int (and no bool) in [low, high]."""
    value = getattr(owner, name)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        _refuse(owner, name, f"an integer {_span(low, high)}", value)


def require_integers(owner: object, name: str, low: int) -> None:
    """Raises ConfigError unless `owner.name` is a list or tuple, not empty, of ints of at least `low`."""
    value = getattr(owner, name)
    good = isinstance(value, list | tuple) and len(value) > 0
    if not good or any(isinstance(v, bool) or not isinstance(v, int) or v < low for v in value):
        _refuse(owner, name, f"a list of integers {_span(low, math.inf)}", value)


def require_power_of_two(owner: object, name: str) -> None:
    """Raises ConfigError unless `owner.name` is 1, 2, 4, 8, ..."""
    value = getattr(owner, name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1 or value & (value - 1):
        _refuse(owner, name, "a power of two", value)


def require_weights(owner: object, name: str) -> None:
    """Raises ConfigError unless `owner.name` maps names to finite numbers of at least 0."""
    value = getattr(owner, name)
    if not isinstance(value, Mapping) or not all(_is_number(weight) and weight >= 0 for weight in value.values()):
        _refuse(owner, name, "names with numbers of at least 0", value)


def require_number(owner: object, name: str, low: float, high: float = math.inf) -> None:
    """Raises ConfigError unless `owner.name` is a finite number in [low, high]."""
    value = getattr(owner, name)
    if not _is_number(value) or not low <= value <= high:
        _refuse(owner, name, f"a number {_span(low, high)}", value)


def require_choice(owner: object, name: str, choices: Iterable[object]) -> None:
    """Raises ConfigError unless `owner.name` is one of `choices`."""
    choices = tuple(choices)
    value = getattr(owner, name)
    if not any(value is choice or (type(value) is type(choice) and value == choice) for choice in choices):
        _refuse(owner, name, "one of " + ", ".join(map(repr, choices)), value)


def require_match(owner: object, name: str, pattern: str, expected: str) -> None:
    """Raises ConfigError unless `owner.name` is a text that the pattern matches; `expected` tells what it allows."""
    value = getattr(owner, name)
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        _refuse(owner, name, expected, value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _span(low: float, high: float) -> str:
    return f"of at least {low}" if math.isinf(high) else f"from {low} to {high}"


def _refuse(owner: object, name: str, expected: str, value: object) -> None:
    raise ConfigError(f"{type(owner).__name__}.{name}: expected {expected}, got {value!r}. Correct this field.")
