"""Parameters are checked before anything runs: every name is one that a pipeline reads, every value of its type.

What a node reads is in its signature: a `params:` input whose type is a dataclass holds that dataclass's fields.
pydantic checks the values against those types, strictly: an int counts as a float, but "3" and true are no numbers;
ranges are the dataclasses' own (`__post_init__`). Names that a package has given up are refused with the new one, from
the table `RENAMED` of the dataclass's module.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import json
import sys
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pydantic
from kedro.pipeline import Pipeline
from pydantic_core import ErrorDetails

_STRICT = pydantic.ConfigDict(extra="forbid", strict=True)


class ParameterError(ValueError):
    """A parameter has a wrong name or value, or does not agree with another."""


def check_seeds(seeds: Sequence[int], section: str) -> None:
    """Refuse seeds of trainings that are none, negative or the same twice; ``section`` of the configuration has them.

    Raises:
        ValueError: naming them and where they stand.
    """
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise ValueError(f"Expected different seeds of at least 0, got {seeds}. Correct `{section}.seeds` in conf.")


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
        ParameterError: a name that nothing reads, or a value that its reader does not take.
    """
    _check_level(values, types, ())


def _check_level(values: Mapping[str, Any], types: Mapping[str, Any], path: tuple[str, ...]) -> None:
    names = {name.split(".")[len(path)] for name in types if tuple(name.split("."))[: len(path)] == path}
    for key, value in values.items():
        dotted = ".".join([*path, key])
        if key not in names:
            raise ParameterError(_unknown(key, ".".join(path) or "the parameters", names))
        if dotted in types:
            check_value(value, types[dotted], dotted)
        elif isinstance(value, Mapping):
            _check_level(value, types, (*path, key))
        else:
            raise ParameterError(f"Expected a section at '{dotted}', got {value!r}. Correct it in conf.")


def check_value(value: Any, hint: Any, name: str) -> None:
    """Check one value, as YAML gives it, against the type of its reader.

    Args:
        value: numbers, text, lists and mappings.
        hint: the type: a dataclass, or any other that pydantic knows.
        name: what the value is called in the configuration, dotted.

    Raises:
        ParameterError: the value is not of the type, or the dataclass refuses it.
    """
    try:
        # JSON, because that is what YAML holds: a list is then taken for a tuple, text for a path.
        _adapter(hint).validate_json(json.dumps(value, default=str))
    except pydantic.ValidationError as error:
        raise ParameterError(_explain(error.errors()[0], hint, name)) from error
    except (TypeError, ValueError, OverflowError) as error:
        raise ParameterError(f"Expected plain values for the parameter '{name}', got {value!r}: {error}.") from error


def _adapter(hint: Any) -> pydantic.TypeAdapter[Any]:
    if not (isinstance(hint, type) and dataclasses.is_dataclass(hint)):
        return pydantic.TypeAdapter(hint, config=_STRICT)
    frozen = hint.__dataclass_params__.frozen  # type: ignore[attr-defined]  # written by dataclasses, unknown to mypy
    return pydantic.TypeAdapter(pydantic.dataclasses.dataclass(hint, config=_STRICT, frozen=frozen))


def _explain(problem: ErrorDetails, hint: Any, name: str) -> str:
    *parents, last = problem["loc"] or ("",)
    dotted = ".".join(map(str, [name, *problem["loc"]]))
    if problem["type"] == "unexpected_keyword_argument":
        return _unknown(
            str(last), ".".join(map(str, [name, *parents])), _fields(hint, parents), _renamed(hint, parents)
        )
    if problem["type"] == "value_error":
        return f"The parameter '{dotted}': {problem['ctx']['error']}"
    expected = problem["msg"].removeprefix("Input should be ")
    advice = " Write it with a point: 1.0e-3." if _looks_like_number(problem["input"]) else ""
    return f"Expected {expected} for the parameter '{dotted}', got {problem['input']!r}. Correct it in conf.{advice}"


def _looks_like_number(value: Any) -> bool:
    """Whether it is text such as `1e-3`, which YAML does not read as a number."""
    try:
        return isinstance(value, str) and "e" in value.lower() and bool(float(value))
    except ValueError:
        return False


def _owner(hint: Any, path: Iterable[int | str]) -> Any:
    """The dataclass that holds the value at a path below `hint`, or None."""
    for step in path:
        if dataclasses.is_dataclass(hint):
            hint = typing.get_type_hints(hint).get(str(step))
        else:
            hint = next(iter(typing.get_args(hint)[-1:]), None)
    return hint if dataclasses.is_dataclass(hint) else None


def _fields(hint: Any, path: Iterable[int | str]) -> list[str]:
    owner = _owner(hint, path)
    return [] if owner is None else [field.name for field in dataclasses.fields(owner)]


def _renamed(hint: Any, path: Iterable[int | str]) -> dict[str, str]:
    """Old names of the dataclass's fields with the new ones, as the modules of its classes tell."""
    owner = _owner(hint, path)
    modules = [sys.modules[cls.__module__] for cls in reversed(getattr(owner, "__mro__", ()))]
    return {old: new for module in modules for old, new in getattr(module, "RENAMED", {}).items()}


def _unknown(key: str, where: str, names: Iterable[str], renamed: Mapping[str, str] | None = None) -> str:
    names = sorted(names)
    if renamed and key in renamed:
        return f"Expected '{renamed[key]}' in '{where}', got its old name '{key}'. Rename it in conf."
    close = difflib.get_close_matches(key, names, n=1)
    hint = f"Did you mean '{close[0]}'?" if close else f"It has: {', '.join(names)}."
    return f"Expected a parameter of '{where}', got the unknown name '{key}'. {hint}"
