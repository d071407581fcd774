"""Paths in the parameters are relative to the project, wherever a command is started."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PATHS = frozenset(
    {"checkpoints", "store", "folder", "groups", "cuts", "work", "mano", "model", "results"}
    | {"deepspeed_config", "bert_model"}
)
"""Names of parameters that hold the path of a file or folder."""

HUB_NAMES = frozenset({"base_model"})
"""Names of parameters that hold a folder or a name on a hub: the folder, where there is one."""

_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def resolve_paths(values: Any, project: Path) -> Any:
    """Return parameters with every relative path made absolute, below `project`; `~` is the user's home.

    Args:
        values: parameters as YAML gives them: mappings, lists, plain values.
        project: the project's folder.
    """
    if isinstance(values, Mapping):
        return {key: _resolve(key, value, project) for key, value in values.items()}
    if isinstance(values, list):
        return [resolve_paths(value, project) for value in values]
    return values


def _resolve(key: str, value: Any, project: Path) -> Any:
    if not isinstance(value, str):
        return resolve_paths(value, project)
    if _ELSEWHERE.match(value):
        return value
    place = project / Path(value).expanduser()
    if key in PATHS or (key in HUB_NAMES and place.exists()):
        return str(place)
    return value
