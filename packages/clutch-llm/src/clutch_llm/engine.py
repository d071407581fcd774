"""A DeepSpeed engine for one process or many, with nothing to compile on a machine without a GPU."""

from __future__ import annotations

import logging
import os
from typing import Any

import torch
from torch import nn

from clutch_llm.config import StageConfig
from clutch_llm.errors import MissingDependencyError

logger = logging.getLogger(__name__)


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
    if torch.distributed.is_initialized():
        return
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if "RANK" not in os.environ:
        torch.distributed.init_process_group(backend, store=torch.distributed.HashStore(), rank=0, world_size=1)
    os.environ.setdefault("LOCAL_RANK", "0")  # read by DeepSpeed
    deepspeed.init_distributed(dist_backend=backend, auto_mpi_discovery=False, verbose=False)


def start_engine(model: nn.Module, config: StageConfig) -> Any:
    """Wrap a model for training: AdamW, clipping, ZeRO stage and precision from the configuration.

    Returns:
        A DeepSpeed engine; the learning rate is the caller's to set (`set_learning_rate`).
    """
    deepspeed = _import_deepspeed()
    _join_processes(deepspeed)
    world = torch.distributed.get_world_size()
    settings = {
        "train_batch_size": config.batch_size,
        "train_micro_batch_size_per_gpu": config.batch_size // world,
        "gradient_clipping": config.max_grad_norm,
        "zero_optimization": {"stage": config.zero_stage},
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": config.precision == "bf16"},
        "steps_per_print": 10**9,
        "wall_clock_breakdown": False,
    }
    optimizer = torch.optim.AdamW(
        _parameter_groups(model, config.weight_decay), lr=config.learning_rate, betas=(0.9, 0.99), fused=True
    )
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=settings)
    return engine


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Decay for matrices, none for embeddings, biases and norms."""
    embeddings = {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    plain: list[nn.Parameter] = []
    decayed: list[nn.Parameter] = []
    for parameter in model.parameters():
        free = parameter.ndim < 2 or id(parameter) in embeddings
        (plain if free else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]


def set_learning_rate(engine: Any, learning_rate: float) -> None:
    """Set the rate of every parameter group for the next step."""
    for group in engine.optimizer.param_groups:
        group["lr"] = learning_rate


def gathered_weights(engine: Any) -> dict[str, torch.Tensor]:
    """Every weight by name, whole and float32 on the CPU: also where ZeRO has spread it or bf16 works on a copy."""
    _import_deepspeed()
    from deepspeed.utils import safe_get_full_fp32_param

    weights = {}
    for name, parameter in engine.module.named_parameters():
        full = safe_get_full_fp32_param(parameter)
        weights[name] = (parameter if full is None else full).detach().float().cpu().clone()
    return weights
