"""Model folders of earlier format versions, brought up to date as they are read; the folder is left as it is.

Version 1 kept the frame rate in the language model's configuration and called the pooled prompt's map ``gist``.
Version 2 takes the rate from the motion tokenizer and adds ``generation_config.json``.
Version 3 has other backbones than T5 and says which: ``backbone`` in config.json and in the names of the weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from clutch_llm.errors import CheckpointError

FORMAT_VERSION = 3

_RENAMED_WEIGHTS = {1: {"gist.weight": "pooled_prompt.weight"}}
_MOVED_WEIGHTS = {1: ("t5.", "backbone.t5."), 2: ("t5.", "backbone.t5.")}


def migrate_meta(meta: dict[str, Any], folder: Path) -> tuple[dict[str, Any], float | None]:
    """Bring the contents of config.json up to date.

    Returns:
        The contents, and the rate that a folder of version 1 gave its motion, frames a second.

    Raises:
        CheckpointError: when the version is unknown.
    """
    version = meta.get("format_version")
    if not isinstance(version, int) or not 1 <= version <= FORMAT_VERSION:
        raise CheckpointError(
            f"Expected a model of format version 1 to {FORMAT_VERSION}, got {version!r} in {folder}. "
            "Install the clutch-llm that wrote it, or a newer one."
        )
    meta = dict(meta)
    if version < 3:
        keys = ("t5", "tied_head", "output_scale")
        settings, tied_head, output_scale = (meta.pop(key) for key in keys)
        meta["backbone"] = {"kind": "t5", "settings": settings, "tied_head": tied_head, "output_scale": output_scale}
    if version == 1:
        sizes = dict(meta["clutch"])
        return {**meta, "clutch": sizes}, float(sizes.pop("fps", 15.0))
    return meta, None


def migrate_weights(weights: dict[str, torch.Tensor], version: int) -> dict[str, torch.Tensor]:
    """Give weights of an earlier version their names of today."""
    names = _RENAMED_WEIGHTS.get(version, {})
    before, after = _MOVED_WEIGHTS.get(version, ("", ""))
    renamed = {names.get(name, name): weight for name, weight in weights.items()}
    return {after + n.removeprefix(before) if n.startswith(before) else n: w for n, w in renamed.items()}
