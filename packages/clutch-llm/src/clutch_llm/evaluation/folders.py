"""Folders of trained models: ``config.json`` and ``model.safetensors``, each written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from clutch_llm.atomic import write_beside
from clutch_llm.errors import CheckpointError

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"


def write_whole(path: Path, content: bytes) -> None:
    """Write beside ``path`` and rename; file modes follow the umask."""
    with write_beside(path) as beside:
        beside.write_bytes(content)


def write_json(path: Path, record: Any) -> None:
    """Write standard JSON: NaN and infinity are refused, not written."""
    text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(path, (text + "\n").encode("utf-8"))


def save_folder(folder: str | os.PathLike[str], record: Mapping[str, Any], model: nn.Module) -> None:
    """Write a model's description and its weights."""
    target = Path(folder)
    weights = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    write_whole(target / WEIGHTS_FILE, save(weights))
    write_json(target / CONFIG_FILE, record)


def load_folder(
    folder: str | os.PathLike[str], kind: str, versions: Sequence[int]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read what ``save_folder`` wrote.

    Args:
        folder: where.
        kind: what ``record["format"]`` must say.
        versions: values of ``record["format_version"]`` that are understood, the newest last.

    Raises:
        FileNotFoundError: if a file is missing.
        CheckpointError: if the folder holds something else, another version, or a damaged file.
    """
    source, what = Path(folder), kind.removeprefix("clutch-")
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (source / name).is_file():
            raise FileNotFoundError(f"Expected {name} in {source}, got none. Train the {what} and save it there.")
    try:
        record: dict[str, Any] = json.loads((source / CONFIG_FILE).read_text(encoding="utf-8"))
        weights = load_file(source / WEIGHTS_FILE)
    except (json.JSONDecodeError, UnicodeDecodeError, SafetensorError) as error:
        raise CheckpointError(
            f"Expected a readable {what} in {source}, got a damaged file ({error}). Train it again."
        ) from error
    if record.get("format") != kind or record.get("format_version") not in versions:
        raise CheckpointError(
            f"Expected {kind!r} of format version {versions[-1]} in {source}, got {record.get('format')!r} "
            f"version {record.get('format_version')!r}. Train it again with this version."
        )
    return record, weights


def fit_weights(model: nn.Module, weights: Mapping[str, Tensor], folder: str | os.PathLike[str]) -> None:
    """Load weights into a model that was built from the same folder.

    Raises:
        CheckpointError: if they do not fit.
    """
    try:
        model.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise CheckpointError(
            f"Expected weights that fit {CONFIG_FILE} in {folder}, got others ({error}). Train it again."
        ) from error
