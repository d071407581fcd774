"""The trained model that comes with the package, and how a model folder becomes it.

Weights are written as float16, at half the size: its step is an eighth of bfloat16's, and no weight of a model that
`pack_model` takes is beyond its range. They are read as float32.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from clutch_llm.atomic import write_folder_beside
from clutch_llm.errors import CheckpointError, DataError
from clutch_llm.files import CONFIG, TEXT_TOKENIZER, TOKENIZER, WEIGHTS, load_model

#: The model folder of the package, which an installation from a checkout that trained none lacks.
PACKAGED = Path(__file__).with_name("assets") / "model"

#: Where a project keeps the model that it has trained; the command line takes it where it is there.
OWN = Path("data/models/clutch")

#: Largest size of a packed folder, in bytes.
LARGEST = 8 * 2**20

CARD = "README.md"


def packaged_model() -> Path:
    """The folder of the model that comes with the package.

    Raises:
        CheckpointError: when this installation has none.
    """
    if not (PACKAGED / CONFIG).exists():
        raise CheckpointError(
            f"Expected the trained model of the package at {PACKAGED}, got an installation without it. Install "
            "clutch-llm from a wheel, or name a model: train one, or give a folder or a hub name."
        )
    return PACKAGED


def default_model() -> Path:
    """The project's own model where there is one, else the package's."""
    return OWN if (OWN / CONFIG).exists() else packaged_model()


def pack_model(folder: Path, target: Path, facts: Mapping[str, Any], figures: Sequence[tuple[str, float]]) -> int:
    """Write a model folder with weights of half the size and a card that says what was measured.

    Args:
        folder: of a model that was trained.
        target: the folder to write; one that is there is replaced.
        facts: what the card says of its making, name and value.
        figures: what the card says was measured, name and value.

    Returns:
        Its size in bytes.

    Raises:
        CheckpointError: when there is no model in the folder.
        DataError: when a weight is beyond the range of float16, or the folder would be larger than `LARGEST`.
    """
    load_model(folder)  # or says what is wrong with it
    with write_folder_beside(target) as staged:
        shutil.copytree(folder, staged, dirs_exist_ok=True)
        _halve(staged / WEIGHTS)
        _halve(staged / TOKENIZER / WEIGHTS)
        _sign(staged / TOKENIZER)
        words = staged / TEXT_TOKENIZER
        compact = json.dumps(json.loads(words.read_text(encoding="utf-8")), ensure_ascii=False, separators=(",", ":"))
        words.write_text(compact, encoding="utf-8")
        card = (staged / CARD).read_text(encoding="utf-8")
        (staged / CARD).write_text(f"{card}\n{_section(facts, figures)}", encoding="utf-8")
        (staged / "figures.json").write_text(json.dumps(dict(figures), indent=2) + "\n", encoding="utf-8")
        size = sum(path.stat().st_size for path in staged.rglob("*") if path.is_file())
        if size > LARGEST:
            raise DataError(
                f"Expected a model of at most {LARGEST / 2**20:g} MiB, got {size / 2**20:.1f} MiB. Pack a smaller one."
            )
    return size


def _halve(path: Path) -> None:
    weights = load_file(path)
    for name, weight in weights.items():
        if weight.is_floating_point():
            half = weight.to(torch.float16)
            if not bool(torch.isfinite(half).all()):
                raise DataError(
                    f"Expected weights within the range of float16, got {float(weight.abs().max()):g} in {name} of "
                    f"{path.name}. Such a model can't be packed."
                )
            weights[name] = half
    save_file(weights, path)


def _sign(folder: Path) -> None:
    """Give a motion tokenizer's config.json the hash of the weights that now stand beside it."""
    path = folder / CONFIG
    config = json.loads(path.read_text(encoding="utf-8"))
    config["weights_sha256"] = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _section(facts: Mapping[str, Any], figures: Sequence[tuple[str, float]]) -> str:
    made = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    measured = "\n".join(f"| {name} | {value:.3f} |" for name, value in figures)
    return (
        f"## How this one was made\n\n{made}\n\nWeights are float16.\n\n"
        f"## What was measured of it\n\nOn the test split, before the weights were halved.\n\n"
        f"| | |\n|---|---|\n{measured}\n"
    )
