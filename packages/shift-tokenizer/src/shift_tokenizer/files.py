"""Tokenizers on disk: a folder with config.json and model.safetensors, written whole or not at all, read with care."""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as dump_tensors
from torch import Tensor

from .config import ShiftConfig
from .errors import ConfigError, FileFormatError, ShiftTokenizerError

FORMAT = "shift-tokenizer"
FORMAT_VERSION = 1
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
_BEFORE_PREDICTION = {"prediction": 0.0}  # what tokenizers were that do not say


def write_atomic(path: Path, content: bytes) -> None:
    """Writes a file beside its place, then moves it there.

    Raises:
        ShiftTokenizerError: the disk refuses; nothing is left behind.
    """
    name = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as handle:
            name = handle.name
            handle.write(content)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except OSError as error:
        if name is not None:
            Path(name).unlink(missing_ok=True)
        raise ShiftTokenizerError(f"Could not write {path}: {error}. Free space or choose another folder.") from error


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
        text = json.dumps(description, indent=2)
    except (TypeError, ValueError) as error:
        raise ShiftTokenizerError(
            f"provenance: expected names, numbers and lists, got: {error}. Leave out what JSON cannot hold."
        ) from error
    write_atomic(Path(folder) / WEIGHTS_FILE, weights)
    write_atomic(Path(folder) / CONFIG_FILE, (text + "\n").encode())


def read_folder(folder: str | PathLike[str]) -> tuple[ShiftConfig, dict[str, Tensor], dict[str, Any]]:
    """Reads what `write_folder` wrote: configuration, tensors, provenance.

    Raises:
        FileFormatError: a file is missing, corrupt or of another version.
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
        config = ShiftConfig.from_dict({**_BEFORE_PREDICTION, **description["config"]})
        return config, load_tensors(weights), provenance
    except (ConfigError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise FileFormatError(f"{folder}: expected a complete tokenizer, got: {error}. Save it again.") from error


def _read_description(path: Path) -> dict[str, Any]:
    content = _read_bytes(path)
    try:
        description = json.loads(content)
    except ValueError as error:
        raise FileFormatError(f"{path}: expected JSON, got: {error}. Save or download the folder again.") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise FileFormatError(f"{path}: expected a configuration of {FORMAT}, got something else. Check the folder.")
    if description.get("format_version") != FORMAT_VERSION:
        raise FileFormatError(
            f"{path}: expected format version {FORMAT_VERSION}, got {description.get('format_version')!r}. "
            "Install the version of shift-tokenizer that wrote it, or train again."
        )
    return description


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FileFormatError(f"{path}: expected a readable file, got: {error}. Check the folder's path.") from error


def state_to_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies on the CPU, as safetensors wants them."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
