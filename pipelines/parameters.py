"""Parameters are checked before anything runs: every name is one that a pipeline reads, every value of its type.

What a node reads is in its signature: a `params:` input whose type is a dataclass holds that dataclass's fields.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from kedro.pipeline import Pipeline


class ParameterError(ValueError):
    """A parameter has a wrong name or a value of a wrong type."""


def expected_types(pipelines: Iterable[Pipeline]) -> dict[str, Any]:
    """Return the type that nodes declare for each `params:` input, by dotted name."""
    found: dict[str, Any] = {}
    for pipeline in pipelines:
        for node in pipeline.nodes:
            hints = typing.get_type_hints(node.func)
            for name, argument in zip(node.inputs, inspect.signature(node.func).parameters, strict=False):
                if name.startswith("params:"):
                    found[name.removeprefix("params:")] = hints.get(argument, Any)
    return found


def check_parameters(values: Mapping[str, Any], types: Mapping[str, Any]) -> None:
    """Check a configuration's values against `expected_types`.

    Raises:
        ParameterError: a name that nothing reads, or a value of another type than its reader's.
    """
    _check_level(values, types, ())


def _check_level(values: Mapping[str, Any], types: Mapping[str, Any], path: tuple[str, ...]) -> None:
    names = {name.split(".")[len(path)] for name in types if tuple(name.split("."))[: len(path)] == path}
    for key, value in values.items():
        dotted = ".".join([*path, key])
        if key not in names:
            raise ParameterError(_unknown(key, ".".join(path) or "the parameters", names))
        if dotted in types:
            _check_value(value, types[dotted], dotted)
        elif isinstance(value, Mapping):
            _check_level(value, types, (*path, key))
        else:
            raise ParameterError(f"Expected a section at '{dotted}', got {value!r}. Correct it in conf.")


def _check_value(value: Any, hint: Any, name: str) -> None:
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        hints = typing.get_type_hints(hint)
        fields = {field.name for field in dataclasses.fields(hint)}
        for key, item in value.items():
            if key not in fields:
                raise ParameterError(_unknown(key, name, fields))
            _check_value(item, hints[key], f"{name}.{key}")
    elif not fits(value, hint):
        expected = getattr(hint, "__name__", str(hint)) if not typing.get_args(hint) else str(hint)
        raise ParameterError(f"Expected {expected} for the parameter '{name}', got {value!r}. Correct it in conf.")


def fits(value: Any, hint: Any) -> bool:
    """Return whether a plain value, as YAML gives it, is of a type: int counts as float, a list as a tuple."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, option) for option in arguments)
    if origin in (list, tuple):
        items = [a for a in arguments if a is not Ellipsis]
        return isinstance(value, list | tuple) and all(
            fits(v, items[min(k, len(items) - 1)]) for k, v in enumerate(value)
        )
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(fits(v, arguments[1]) for v in value.values())
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is type(None):
        return value is None
    return isinstance(value, hint) if isinstance(hint, type) else True


def _unknown(key: str, where: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(key, names, n=1)
    hint = f"Did you mean '{close[0]}'?" if close else f"It has: {', '.join(sorted(names))}."
    return f"Expected a parameter of '{where}', got the unknown name '{key}'. {hint}"
