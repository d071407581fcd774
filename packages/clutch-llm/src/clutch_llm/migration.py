"""Model folders of earlier format versions, brought up to date as they are read; the folder is left as it is.

Version 1 kept the frame rate in the language model's configuration and called the pooled prompt's map ``gist``.
Version 2 takes the rate from the motion tokenizer and adds ``generation_config.json``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from clutch_llm.errors import CheckpointError

FORMAT_VERSION = 2

_RENAMED_WEIGHTS = {1: {"gist.weight": "pooled_prompt.weight"}}


def migrate_meta(meta: dict[str, Any], folder: Path) -> tuple[dict[str, Any], float | None]:
    """Bring the contents of config.json up to date.

    Returns:
        The contents, and the rate that a folder of version 1 gave its motion, frames a second.

    Raises:
        CheckpointError: when the version is unknown.
    """
    version = meta.get("format_version")
    if version not in range(1, FORMAT_VERSION + 1):
        raise CheckpointError(
            f"Expected a model of format version 1 to {FORMAT_VERSION}, got {version!r} in {folder}. "
            "Install the clutch-llm that wrote it, or a newer one."
        )
    if version == 1:
        sizes = dict(meta["clutch"])
        return {**meta, "clutch": sizes}, float(sizes.pop("fps", 15.0))
    return meta, None


def migrate_weights(weights: dict[str, torch.Tensor], version: int) -> dict[str, torch.Tensor]:
    """Give weights of an earlier version their names of today."""
    names = _RENAMED_WEIGHTS.get(version, {})
    return {names.get(name, name): weight for name, weight in weights.items()}
