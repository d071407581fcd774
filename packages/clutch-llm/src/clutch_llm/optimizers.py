"""What steps the weights: AdamW, as published, or Muon on the matrices with AdamW on the rest.

Muon (Jordan et al. 2024) makes each matrix's momentum orthogonal before it is stepped along. Its steps have the size of
AdamW's (Liu et al. 2025), so that one learning rate serves both. torch's own does it in bfloat16: the same run on two
kinds of processors is not bit-equal.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from clutch_llm.backbones import Backbone
from clutch_llm.models import StepModel
from clutch_llm.stages import StageConfig

#: AdamW's decay of the running means of gradient and squared gradient; as the paper trains.
BETAS = (0.9, 0.99)

#: Muon's decay of the running mean of the gradient; its author's.
MOMENTUM = 0.95


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon and AdamW as one optimizer, whose state is saved and restored as one.

    Args:
        muon: over matrices.
        adamw: over the other parameters.
    """

    def __init__(self, muon: torch.optim.Muon, adamw: torch.optim.AdamW) -> None:
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
    muon = torch.optim.Muon(matrices, lr=rate, weight_decay=decay, momentum=MOMENTUM, adjust_lr_fn="match_rms_adamw")
    return MuonWithAdamW(muon, adamw(others))


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
