"""What steps the weights: AdamW, as published, or Muon on the matrices with AdamW on the rest."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from clutch_llm.backbones import Backbone
from clutch_llm.models import StepModel
from clutch_llm.stages import StageConfig

#: AdamW's decay of the running means of gradient and squared gradient; as the paper trains.
BETAS = (0.9, 0.99)

#: Muon's decay of the running mean of the gradient; its author's.
MOMENTUM = 0.95


#: Coefficients of the quintic whose repetition drives singular values towards 1; its author's.
QUINTIC = (3.4445, -4.7750, 2.0315)

#: How often it is repeated.
REPETITIONS = 5


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal before it is stepped along (Jordan et al. 2024), with Nesterov's look ahead.

    Steps have the size of AdamW's (Liu et al. 2025, 0.2 in the root mean square), so that one learning rate serves
    both. It does what `torch.optim.Muon` does, but computes in float32 on processors: bfloat16, which torch's takes
    everywhere, makes a step many times as long where the processor has no instructions for it, as most laptops' have
    not (``benchmarks/training.py``). Matrices of one shape are made orthogonal at once.

    Args:
        params: matrices.
        lr: learning rate.
        weight_decay: decoupled from the gradient.
        momentum: decay of the running mean of the gradient.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.0, momentum: float = MOMENTUM
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        shapes = [tuple(p.shape) for group in self.param_groups for p in group["params"] if p.ndim != 2]
        if shapes:
            raise ValueError(f"Expected matrices for Muon, got a parameter of shape {shapes[0]}.")

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Step along the orthogonal momentum of every matrix that has a gradient."""
        for group in self.param_groups:
            alike: dict[tuple[Any, ...], list[nn.Parameter]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    alike.setdefault((p.shape, p.device), []).append(p)
            for parameters in alike.values():
                ahead = torch.stack([self._look_ahead(p, group["momentum"]) for p in parameters])
                size = group["lr"] * 0.2 * math.sqrt(max(ahead.shape[1:]))
                for p, direction in zip(parameters, orthogonal(ahead), strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"]).add_(direction, alpha=-size)

    def _look_ahead(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        grad, state = parameter.grad, self.state[parameter]
        assert grad is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(grad)
        mean: Tensor = state["momentum_buffer"].lerp_(grad, 1 - momentum)
        return grad.lerp(mean, momentum)


def orthogonal(matrices: Tensor) -> Tensor:
    """The nearest matrices whose singular values are about 1 (0.7 to 1.2), by Newton and Schulz's iteration.

    Args:
        matrices: (N, A, B); computed in float32 on a processor, in bfloat16 elsewhere.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).to(torch.float32 if matrices.device.type == "cpu" else torch.bfloat16)
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    a, b, c = QUINTIC
    for _ in range(REPETITIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon and AdamW as one optimizer, whose state is saved and restored as one.

    Args:
        muon: over matrices.
        adamw: over the other parameters.
    """

    def __init__(self, muon: Muon, adamw: torch.optim.AdamW) -> None:
        self.parts = (muon, adamw)
        self.sizes = tuple(len(part.param_groups) for part in self.parts)
        super().__init__([group for part in self.parts for group in part.param_groups], {})
        self._share()

    def _share(self) -> None:
        """Give the two their groups and the state of all."""
        first = 0
        for part, size in zip(self.parts, self.sizes, strict=True):
            part.param_groups, part.state = self.param_groups[first : first + size], self.state
            first += size

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Step both."""
        for part in self.parts:
            part.step()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore both."""
        super().load_state_dict(state_dict)
        self._share()


def new_optimizer(model: nn.Module, config: StageConfig) -> torch.optim.Optimizer:
    """The optimizer that a stage's configuration names; its learning rate is the caller's to set."""
    matrices, others, plain = parameter_groups(model)
    rate, decay = config.learning_rate, config.weight_decay

    def adamw(decayed: list[nn.Parameter]) -> torch.optim.AdamW:
        groups = [{"params": decayed, "weight_decay": decay}, {"params": plain, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=rate, betas=BETAS, fused=True)

    if config.optimizer == "adamw":
        return adamw([*matrices, *others])
    return MuonWithAdamW(Muon(matrices, lr=rate, weight_decay=decay), adamw(others))


def parameter_groups(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """What is trained: matrices between hidden states; other weights with decay; those without.

    Decay is for matrices, none for embeddings, heads over them, biases and norms.
    """
    embeddings = {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    embeddings |= {id(m.head_weight) for m in model.modules() if isinstance(m, Backbone)}
    heads = {id(m.told_head.weight) for m in model.modules() if isinstance(m, StepModel)}
    groups: tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]] = ([], [], [])
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        if parameter.ndim < 2 or id(parameter) in embeddings:
            groups[2].append(parameter)
        else:
            groups[int(parameter.ndim > 2 or id(parameter) in heads)].append(parameter)
    return groups
