"""A model as one folder: safetensors, JSON, tokenizer files and a model card."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from shift_tokenizer import ShiftTokenizer
from transformers import T5Config

from clutch_llm.backbone import new_t5
from clutch_llm.card import model_card
from clutch_llm.config import ClutchConfig, from_mapping
from clutch_llm.errors import CheckpointError
from clutch_llm.model import ClutchModel
from clutch_llm.vocabulary import Vocabulary

if TYPE_CHECKING:
    from clutch_llm.clutch import Clutch

FORMAT_VERSION = 1


def save_clutch(clutch: Clutch, folder: Path) -> None:
    """Write a model folder beside its place, then rename it; a folder that was there is replaced."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write(clutch, staged)
        staged.chmod(0o755)
        if folder.exists():
            aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
            os.replace(folder, aside)
            os.replace(staged, folder)
            shutil.rmtree(aside)
        else:
            os.replace(staged, folder)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _write(clutch: Clutch, folder: Path) -> None:
    t5, layout = clutch.model.t5, clutch.vocabulary.layout
    config = dataclasses.asdict(clutch.config)
    shape = {
        "codebook_size": layout.codebook_size,
        "slot_codebook": list(layout.slot_codebook),
        "frames_per_latent": clutch.tokenizer.config.frames_per_latent,
    }
    meta = {
        "format_version": FORMAT_VERSION,
        "clutch": config,
        "layout": shape,
        "t5": t5.config.to_diff_dict(),
        "tied_head": t5.lm_head.weight is t5.shared.weight,
        "output_scale": clutch.model.output_scale,
        "stages": clutch.stages,
    }
    (folder / "config.json").write_text(json.dumps(meta, indent=2))
    weights = dict(clutch.model.named_parameters())  # each tied weight once
    save_file({n: p.detach().cpu().contiguous() for n, p in weights.items()}, folder / "model.safetensors")
    clutch.vocabulary.save(folder / "text_tokenizer.json")
    clutch.tokenizer.save_pretrained(folder / "tokenizer")
    card = model_card(parameters=clutch.n_parameters, config=config, layout=shape, stages=clutch.stages)
    (folder / "README.md").write_text(card)


def load_parts(folder: Path) -> dict[str, Any]:
    """Read a model folder: the fields of `Clutch`.

    Raises:
        CheckpointError: when the folder is not there, is of another version, or a file is missing or broken.
    """
    meta = _read_meta(folder)
    config = from_mapping(ClutchConfig, meta["clutch"])
    shape = {key: meta["layout"][key] for key in ("codebook_size", "slot_codebook")}
    vocabulary = Vocabulary.load(folder / "text_tokenizer.json", **shape)
    model = _empty_model(meta, config, vocabulary)
    _fill(model, folder / "model.safetensors")
    return {
        "config": config,
        "vocabulary": vocabulary,
        "model": model.eval(),
        "tokenizer": ShiftTokenizer.from_pretrained(folder / "tokenizer").eval(),
        "stages": meta["stages"],
    }


def _read_meta(folder: Path) -> dict[str, Any]:
    try:
        meta: dict[str, Any] = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"Expected a CLUTCH model folder at {folder}, got: {error}. Train one, or correct the path."
        ) from error
    if meta.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"Expected a model of format version {FORMAT_VERSION}, got {meta.get('format_version')!r} in {folder}. "
            "Use the clutch-llm that wrote it, or train again."
        )
    return meta


def _empty_model(meta: dict[str, Any], config: ClutchConfig, vocabulary: Vocabulary) -> ClutchModel:
    with torch.random.fork_rng():
        t5 = new_t5(T5Config(**meta["t5"]), light=config.base_model is None)
    if meta["tied_head"]:
        t5.lm_head.weight = t5.shared.weight
    else:
        t5.lm_head.weight = torch.nn.Parameter(torch.empty_like(t5.shared.weight))
    model = ClutchModel(t5, vocabulary.layout, config.max_steps)
    model.output_scale = meta["output_scale"]
    return model


def _fill(model: ClutchModel, path: Path) -> None:
    try:
        missing, unknown = model.load_state_dict(load_file(path), strict=False)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(
            f"Expected the weights of a CLUTCH model in {path}, got: {error}. Save or copy the model again."
        ) from error
    missing = set(missing) & set(dict(model.named_parameters()))  # tied weights are written once
    if missing or unknown:
        raise CheckpointError(
            f"Expected the weights that config.json describes, got {len(missing)} missing and {len(unknown)} unknown "
            f"in {path}. Save or copy the model again."
        )
