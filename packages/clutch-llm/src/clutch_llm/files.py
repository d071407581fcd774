"""A model as one folder: safetensors, JSON, tokenizer files and a model card."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, TypedDict

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from shift_tokenizer import ShiftTokenizer

from clutch_llm.atomic import write_folder_beside
from clutch_llm.backbones import empty_backbone
from clutch_llm.card import model_card
from clutch_llm.config import ClutchConfig, from_mapping
from clutch_llm.errors import CheckpointError
from clutch_llm.migration import FORMAT_VERSION, migrate_meta, migrate_weights
from clutch_llm.model import ClutchModel
from clutch_llm.models import new_model
from clutch_llm.sampling import Sampling
from clutch_llm.vocabulary import Vocabulary

CONFIG, WEIGHTS, TEXT_TOKENIZER = "config.json", "model.safetensors", "text_tokenizer.json"
GENERATION, TOKENIZER = "generation_config.json", "tokenizer"


class ModelParts(TypedDict):
    """What a model folder holds: the fields of `Clutch`."""

    config: ClutchConfig
    vocabulary: Vocabulary
    model: ClutchModel
    tokenizer: ShiftTokenizer
    stages: list[dict[str, Any]]
    generation: Sampling


def save_model(parts: ModelParts, folder: Path) -> None:
    """Write a model folder beside its place, then rename it; a folder that was there is replaced."""
    with write_folder_beside(folder) as staged:
        write_parts(parts, staged)


def write_parts(parts: ModelParts, folder: Path) -> None:
    """Write the files of a model into a folder that is there."""
    model, layout = parts["model"], parts["vocabulary"].layout
    shift = parts["tokenizer"].config
    config = dataclasses.asdict(parts["config"])
    shape = {
        "codebook_size": layout.codebook_size,
        "slot_codebook": list(layout.slot_codebook),
        "frames_per_latent": shift.frames_per_latent,
        "fps": shift.fps,
    }
    meta = {
        "format_version": FORMAT_VERSION,
        "clutch": config,
        "layout": shape,
        "backbone": {
            "kind": model.backbone.kind,
            "settings": model.backbone.settings(),
            "tied_head": model.backbone.tied_head,
            "output_scale": model.backbone.output_scale,
        },
        "stages": parts["stages"],
    }
    _write_json(folder / CONFIG, meta)
    _write_json(folder / GENERATION, dataclasses.asdict(parts["generation"]))
    weights = dict(model.named_parameters())  # each tied weight once
    save_file({n: p.detach().cpu().contiguous() for n, p in weights.items()}, folder / WEIGHTS)
    parts["vocabulary"].save(folder / TEXT_TOKENIZER)
    parts["tokenizer"].save_pretrained(folder / TOKENIZER)
    parameters = sum(p.numel() for p in weights.values())
    card = model_card(parameters=parameters, config=config, layout=shape, stages=parts["stages"])
    (folder / "README.md").write_text(card, encoding="utf-8")


def load_model(folder: Path) -> ModelParts:
    """Read a model folder of this or an earlier format version, on the CPU, as float32.

    Raises:
        CheckpointError: when the folder is not there, is of a version to come, or a file is missing or broken.
    """
    meta = _read_meta(folder)
    version = meta.get("format_version", 0)
    try:
        meta, fps = migrate_meta(meta, folder)
        config = from_mapping(ClutchConfig, meta["clutch"])
        shape = {key: meta["layout"][key] for key in ("codebook_size", "slot_codebook")}
        vocabulary = Vocabulary.load(folder / TEXT_TOKENIZER, **shape)
        model = _empty_model(meta, config, vocabulary)
        stages = list(meta["stages"])
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"Expected the configuration of a CLUTCH model in {folder / CONFIG}, got one without or with a wrong "
            f"{error}. Save or copy the model again."
        ) from error
    _fill(model, folder / WEIGHTS, version)
    tokenizer = ShiftTokenizer.from_pretrained(folder / TOKENIZER).eval()
    if fps is not None:
        tokenizer.config = dataclasses.replace(tokenizer.config, fps=fps)
    return {
        "config": config,
        "vocabulary": vocabulary,
        "model": model.eval(),
        "tokenizer": tokenizer,
        "stages": stages,
        "generation": _read_generation(folder / GENERATION),
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _read_meta(folder: Path) -> dict[str, Any]:
    try:
        meta = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"Expected a CLUTCH model folder at {folder}, got: {error}. Train one, or correct the path."
        ) from error
    if not isinstance(meta, dict) or "format_version" not in meta or "clutch" not in meta:
        raise CheckpointError(
            f"Expected a CLUTCH model folder at {folder}, got the {CONFIG} of something else. Correct the path."
        )
    return meta


def _read_generation(path: Path) -> Sampling:
    """The settings of generation; the neutral ones where a folder has none, as those of version 1."""
    if not path.exists():
        return Sampling()
    try:
        return from_mapping(Sampling, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"Expected settings of generation in {path}, got: {error} Correct the file or remove it."
        ) from error


def _empty_model(meta: dict[str, Any], config: ClutchConfig, vocabulary: Vocabulary) -> ClutchModel:
    saved = meta["backbone"]
    with torch.random.fork_rng(devices=[]):
        backbone = empty_backbone(
            saved["kind"], saved["settings"], tied_head=saved["tied_head"], light=config.base_model is None
        )
    backbone.output_scale = saved["output_scale"]
    model = new_model(backbone, vocabulary.layout, config.max_steps)
    return model


def _fill(model: ClutchModel, path: Path, version: int) -> None:
    try:
        weights = migrate_weights(load_file(path), version)
        missing, unknown = model.load_state_dict(weights, strict=False)
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
