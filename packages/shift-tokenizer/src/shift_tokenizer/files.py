"""Tokenizers on disk: a folder with config.json and model.safetensors, written whole or not at all, read with care."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as dump_tensors
from torch import Tensor

from .atomic import write_folder_beside
from .config import ShiftConfig
from .errors import ConfigError, FileFormatError, ShiftTokenizerError
from .rates import DEFAULT_FPS

FORMAT = "shift-tokenizer"
FORMAT_VERSION = 2
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"


def write_folder(
    folder: str | PathLike[str],
    config: ShiftConfig,
    tensors: Mapping[str, Tensor],
    *,
    code_usage: Sequence[Mapping[str, Any]] = (),
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Writes the two files; the configuration names the hash of the weights that belong to it.

    Args:
        folder: made if it is not there.
        config: of the tokenizer.
        tensors: its weights and statistics.
        code_usage: of each codebook, plain values.
        provenance: what it was trained on and how, plain values.

    Raises:
        ShiftTokenizerError: the disk refuses, or the provenance is not plain.
    """
    weights = dump_tensors(state_to_cpu(tensors), metadata={"format": "pt"})
    description = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "feature_layout": "left 99, right 99; each global_orient 6D, hand_pose 15 x 6D, transl",
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "config": config.to_dict(),
        "code_usage": list(code_usage),
        "training": dict(provenance or {}),
    }
    try:
        text = json.dumps(description, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ShiftTokenizerError(
            f"provenance: expected names, finite numbers and lists, got: {error}. Leave out what JSON cannot hold."
        ) from error
    with write_folder_beside(folder) as part:
        (part / WEIGHTS_FILE).write_bytes(weights)
        (part / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")


def read_folder(folder: str | PathLike[str]) -> tuple[ShiftConfig, dict[str, Tensor], dict[str, Any]]:
    """Reads what `write_folder` wrote, now or in an earlier version: configuration, tensors, provenance.

    Raises:
        FileFormatError: a file is missing, corrupt or of a later version.
    """
    folder = Path(folder)
    description = _read_description(folder / CONFIG_FILE)
    weights = _read_bytes(folder / WEIGHTS_FILE)
    if hashlib.sha256(weights).hexdigest() != description.get("weights_sha256"):
        raise FileFormatError(
            f"{folder / WEIGHTS_FILE}: expected the weights that {CONFIG_FILE} was written with, got others or damage. "
            "Save or download the folder again."
        )
    try:
        provenance = dict(description.get("training") or {})
        return _read_config(description["config"]), load_tensors(weights), provenance
    except (ConfigError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise FileFormatError(f"{folder}: expected a complete tokenizer, got: {error}. Save it again.") from error


def state_to_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies on the CPU, as safetensors wants them."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _from_version_1(description: dict[str, Any]) -> dict[str, Any]:
    """Version 1 told no rate; early tokenizers of it did not tell either what they could not be otherwise."""
    earlier = {
        "quantizer": "ema",
        "fsq_levels": [],
        "codebook_init": "sample",
        "prediction": 0.0,
        "pose_prediction": 0.0,
    }
    config = {"fps": DEFAULT_FPS, **earlier, **dict(description["config"])}
    return {**description, "format_version": 2, "config": config}


_MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_version_1}


def _read_description(path: Path) -> dict[str, Any]:
    content = _read_bytes(path)
    try:
        description = json.loads(content)
    except ValueError as error:
        raise FileFormatError(f"{path}: expected JSON, got: {error}. Save or download the folder again.") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise FileFormatError(f"{path}: expected a configuration of {FORMAT}, got something else. Check the folder.")
    version = description.get("format_version")
    if version not in (*_MIGRATIONS, FORMAT_VERSION):
        raise FileFormatError(
            f"{path}: expected a format version from 1 to {FORMAT_VERSION}, got {version!r}. Install the version of "
            "shift-tokenizer that wrote it, or a later one."
        )
    try:
        while description["format_version"] != FORMAT_VERSION:
            description = _MIGRATIONS[description["format_version"]](description)
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(f"{path}: expected a whole configuration, got: {error!r}. Save it again.") from error
    return description


def _read_config(values: Mapping[str, Any]) -> ShiftConfig:
    """The configuration, every field of which must be told: a default may be another one day."""
    missing = [field.name for field in dataclasses.fields(ShiftConfig) if field.name not in values]
    if missing:
        raise ConfigError(f"a configuration without {', '.join(missing)}")
    return ShiftConfig.from_dict(values)


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FileFormatError(f"{path}: expected a readable file, got: {error}. Check the folder's path.") from error
