"""A DeepSpeed engine for one process or many, with nothing to compile on a machine without a GPU.

Its settings are those that the stage's configuration decides, merged with the user's own DeepSpeed JSON.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from argparse import Namespace
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import nn

from clutch_llm.errors import ConfigError, MissingDependencyError
from clutch_llm.optimizers import new_optimizer
from clutch_llm.stages import StageConfig

logger = logging.getLogger(__name__)

#: DeepSpeed settings that a stage's configuration decides, and which of its fields does.
DECIDED = {
    "train_batch_size": "batch_size",
    "train_micro_batch_size_per_gpu": "micro_batch_size",
    "gradient_accumulation_steps": "micro_batch_size",
    "gradient_clipping": "max_grad_norm",
    "zero_optimization.stage": "zero_stage",
    "bf16.enabled": "precision",
    "fp16.enabled": "precision",
}

#: Sections of a DeepSpeed JSON that have no place: the loop makes the optimizer and sets its rate.
REFUSED = ("optimizer", "scheduler")


def _import_deepspeed() -> Any:
    """Import DeepSpeed, on the CPU where there is no CUDA device.

    Raises:
        MissingDependencyError: when it is not installed.
    """
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    try:
        import deepspeed
        from deepspeed.ops import __compatible_ops__
    except ImportError as error:
        raise MissingDependencyError(
            "Expected DeepSpeed for training, got no such package. Install it with: pip install 'clutch-llm[train]'"
        ) from error
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    if not torch.cuda.is_available():
        __compatible_ops__["deepspeed_shm_comm"] = False  # would be compiled at first use
    return deepspeed


def _join_processes(deepspeed: Any) -> None:
    """Join the other processes of a launcher (`deepspeed`, `torchrun`), or stand alone: then no port is opened."""
    os.environ.setdefault("LOCAL_RANK", "0")  # read by DeepSpeed
    if not torch.distributed.is_initialized():
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        if "RANK" not in os.environ:
            torch.distributed.init_process_group(backend, store=torch.distributed.HashStore(), rank=0, world_size=1)
    deepspeed.init_distributed(auto_mpi_discovery=False, verbose=False)


def micro_batch_size(config: StageConfig, world: int) -> int:
    """Examples that one of ``world`` processes computes at once.

    Raises:
        ConfigError: when the batch cannot be shared out evenly.
    """
    name = type(config).__name__
    if config.batch_size % world:
        raise ConfigError(
            f"Expected {name}.batch_size divisible by the {world} processes, got {config.batch_size}. Correct it."
        )
    share = config.batch_size // world
    micro = config.micro_batch_size or share
    if share % micro:
        raise ConfigError(
            f"Expected {name}.micro_batch_size to divide the {share} examples of one process (batch_size "
            f"{config.batch_size} over {world}), got {micro}. Correct one of the two."
        )
    return micro


def read_deepspeed(config: StageConfig) -> dict[str, Any]:
    """The user's own DeepSpeed settings; none where the configuration names no file.

    Raises:
        ConfigError: when the file is not there or is not a JSON object.
    """
    if config.deepspeed_config is None:
        return {}
    try:
        settings = json.loads(Path(config.deepspeed_config).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"Expected DeepSpeed settings (JSON) in {config.deepspeed_config}, got: {error}. "
            f"Correct {type(config).__name__}.deepspeed_config."
        ) from error
    if not isinstance(settings, dict):
        raise ConfigError(f"Expected a JSON object in {config.deepspeed_config}, got {type(settings).__name__}.")
    return settings


def engine_settings(config: StageConfig, world: int) -> dict[str, Any]:
    """DeepSpeed's settings for a stage over ``world`` processes.

    A value of "auto" in the user's file is filled in by what the configuration decides.

    Raises:
        ConfigError: when the user's file and the configuration do not agree.
    """
    micro = micro_batch_size(config, world)
    settings: dict[str, Any] = {
        "train_batch_size": config.batch_size,
        "train_micro_batch_size_per_gpu": micro,
        "gradient_accumulation_steps": config.batch_size // world // micro,
        "gradient_clipping": config.max_grad_norm,
        "zero_optimization": {"stage": config.zero_stage},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": config.precision == "bf16"},
        "fp16": {"enabled": False},
        "steps_per_print": 10**9,
        "wall_clock_breakdown": False,
    }
    own = read_deepspeed(config)
    name, file = type(config).__name__, config.deepspeed_config
    for section in REFUSED:
        if section in own:
            raise ConfigError(
                f"Expected no {section!r} in {file}: {name}.optimizer, learning_rate, warmup, min_lr_ratio and "
                "weight_decay decide it. Take it out."
            )
    for dotted, field in DECIDED.items():
        given, ours = _get(own, dotted), _get(settings, dotted)
        if given not in (None, "auto") and given != ours:
            raise ConfigError(
                f"Expected {dotted} = {ours!r} in {file}, which {name}.{field} decides, got {given!r}. "
                "Make the two agree, or leave it out of the file."
            )
    return _merge(own, settings, keep=set(DECIDED))


def _get(settings: dict[str, Any], dotted: str) -> Any:
    section, _, key = dotted.partition(".")
    value = settings.get(section)
    return value if not key else value.get(key) if isinstance(value, dict) else None


def _merge(own: dict[str, Any], ours: dict[str, Any], *, keep: set[str], prefix: str = "") -> dict[str, Any]:
    """Ours with the user's over it, but for the names to keep."""
    merged = dict(ours)
    for key, value in own.items():
        if isinstance(value, dict) and isinstance(ours.get(key), dict):
            merged[key] = _merge(value, ours[key], keep=keep, prefix=f"{prefix}{key}.")
        elif f"{prefix}{key}" not in keep:
            merged[key] = value
    return merged


def start_engine(model: nn.Module, config: StageConfig) -> Any:
    """Wrap a model for training: optimizer, clipping, ZeRO stage and precision from the configuration.

    Returns:
        A DeepSpeed engine on the accelerator that is there; the learning rate is the caller's to set
        (`set_learning_rate`).

    Raises:
        ConfigError: when the settings do not fit each other, the processes or the user's DeepSpeed file.
    """
    deepspeed = _import_deepspeed()
    _join_processes(deepspeed)
    settings = engine_settings(config, torch.distributed.get_world_size())
    engine, *_ = deepspeed.initialize(model=model, optimizer=new_optimizer(model, config), config=settings)
    return engine


def sum_over_ranks(values: torch.Tensor) -> torch.Tensor:
    """The sum of the processes' tensors, alike on all of them."""
    if torch.distributed.get_world_size() > 1:
        torch.distributed.all_reduce(values)
    return values


def set_learning_rate(engine: Any, learning_rate: float) -> None:
    """Set the rate of every parameter group for the next step."""
    for group in engine.optimizer.param_groups:
        group["lr"] = learning_rate


def load_of_other_processes(engine: Any, parts: Path, beside: Path) -> None:
    """Load a checkpoint that another number of processes wrote, by DeepSpeed's universal checkpoints.

    Args:
        engine: with ZeRO up to stage 2.
        parts: folder with the checkpoint under the tag "state".
        beside: a folder that all processes see, for the time in which it is loaded; of the size of the checkpoint.
    """
    from deepspeed.checkpoint.ds_to_universal import main as convert

    if torch.distributed.get_rank() == 0:
        shutil.rmtree(beside, ignore_errors=True)
        folders = {"input_folder": str(parts / "state"), "output_folder": str(beside / "state")}
        workers = {"num_extract_workers": 1, "num_merge_workers": 1}
        how = {"keep_temp_folder": False, "strict": True, "inject_missing_state": True}
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):  # it tells its steps
            convert(Namespace(**folders, **workers, **how))
    torch.distributed.barrier()
    engine._config.load_universal_checkpoint = True  # which DeepSpeed reads of its JSON, before it is known
    engine.load_checkpoint(str(beside), tag="state")
    engine._config.load_universal_checkpoint = False
    torch.distributed.barrier()
    if torch.distributed.get_rank() == 0:
        shutil.rmtree(beside)


def gathered_weights(engine: Any) -> dict[str, torch.Tensor]:
    """Every trained weight by name, whole and float32 on the CPU: also where ZeRO spread it or bf16 works on a copy."""
    _import_deepspeed()
    from deepspeed.utils import safe_get_full_fp32_param

    weights = {}
    for name, parameter in engine.module.named_parameters():
        if not parameter.requires_grad:
            continue
        full = safe_get_full_fp32_param(parameter)
        weights[name] = (parameter if full is None else full).detach().float().cpu().clone()
    return weights
