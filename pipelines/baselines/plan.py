"""What is compared: the settings of the baselines, and how each is made."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clutch_llm import ClutchConfig, PretrainConfig, Sampling
from shift_tokenizer import ShiftConfig, TokenizerTraining

from pipelines.baselines.base import Baseline
from pipelines.baselines.decoder import Decoder
from pipelines.baselines.diffusion import Diffusion
from pipelines.baselines.language_model import LanguageModel
from pipelines.baselines.masked import MaskedResidual
from pipelines.baselines.network import NetworkSettings
from pipelines.baselines.retrieval import Retrieval
from pipelines.baselines.tokens import Tokenizers
from pipelines.parameters import check_seeds
from pipelines.protocol import Protocol

TITLES = {
    "retrieval": "nearest training caption",
    "plain_language_model": "plain VQ, our language model (MotionGPT-like)",
    "plain_decoder": "plain VQ, decoder alone (T2M-GPT-like)",
    "residual_masked": "residual VQ, masked transformer (MoMask-like)",
    "fsq_decoder": "FSQ stream, decoder alone (HandX-like)",
    "diffusion": "diffusion on features (MDM-like)",
    "shift_language_model": "SHIFT, our language model, the same budget",
}
"""The baselines by name, in the order of the table."""

KINDS = ("plain", "residual", "fsq", "shift")
"""The tokenizers that they speak."""


@dataclass(frozen=True)
class BaselinesPlan:
    """What is compared, and with which settings.

    Attributes:
        minutes: of processor time for the training of each, its tokenizer included.
        seeds: each is trained once with each.
        tokenizers: changes to `tokenizer.model` of each of `KINDS`.
        tokenizer_share: of the budget that goes to the tokenizer, where there is one.
        width: of the transformer that all but the language models share.
        layers: of it.
        heads: of it.
        batch_size: clips of a step of its training.
        learning_rate: peak of it.
        masked_rounds: of generation by the masked transformer.
        diffusion_rounds: of generation by diffusion.
        diffusion_guidance: classifier-free guidance of diffusion; the others take the protocol's.
        only: the baselines to train; null for all.
        model: the folder of our own model, as the other pipelines have trained it: a row beside the others, whatever
            its own budget was. Without it, or where it does not exist yet, there is no such row.
    """

    minutes: float
    seeds: list[int]
    tokenizers: dict[str, Any]
    tokenizer_share: float = 0.25
    width: int = 128
    layers: int = 4
    heads: int = 4
    batch_size: int = 32
    learning_rate: float = 1e-3
    masked_rounds: int = 12
    diffusion_rounds: int = 25
    diffusion_guidance: float = 2.0
    only: list[str] | None = None
    model: str | None = field(default=None)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.only or ()) - set(TITLES))
        if unknown or self.only == [] or set(self.tokenizers) != set(KINDS):
            raise ValueError(
                f"Expected baselines among {', '.join(TITLES)} and tokenizers {', '.join(KINDS)}; got "
                f"{', '.join(unknown) or self.only} and {', '.join(self.tokenizers)}. Correct `baselines` in conf."
            )
        check_seeds(self.seeds, "baselines")
        for name in ("minutes", "learning_rate", "diffusion_guidance"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(
                    f"Expected a positive baselines.{name}, got {getattr(self, name)}. Correct it in conf."
                )
        for name in ("width", "layers", "heads", "batch_size", "masked_rounds", "diffusion_rounds"):
            if getattr(self, name) < 1:
                raise ValueError(f"Expected baselines.{name} of at least 1, got {getattr(self, name)}.")
        if self.width % self.heads or not 0 < self.tokenizer_share < 1:
            raise ValueError(
                "Expected baselines.width divisible by heads and tokenizer_share between 0 and 1, got "
                f"{self.width}, {self.heads} and {self.tokenizer_share}. Correct `baselines` in conf."
            )

    @property
    def chosen(self) -> list[str]:
        """The baselines to train, in their order."""
        return [name for name in TITLES if self.only is None or name in self.only]

    @property
    def network(self) -> NetworkSettings:
        """The shared transformer's settings."""
        return NetworkSettings(self.width, self.layers, self.heads, self.batch_size, self.learning_rate)


def makers(
    plan: BaselinesPlan,
    model: ShiftConfig,
    training: TokenizerTraining,
    llm: ClutchConfig,
    pretrain: PretrainConfig,
    protocol: Protocol,
    folder: Path,
    data_hash: str,
) -> dict[str, Callable[[], Baseline]]:
    """How each baseline is made, by name.

    Args:
        plan: their settings.
        model: the demo's tokenizer, of which theirs differ by `plan.tokenizers`.
        training: of the tokenizers.
        llm: the language model.
        pretrain: its training.
        protocol: temperature and guidance of sampling.
        folder: where tokenizers are kept.
        data_hash: of the data.
    """
    kinds = Tokenizers(plan.tokenizers, model, training, plan.tokenizer_share, folder, data_hash)
    drawn = (plan.network, protocol.temperature, protocol.guidance)
    sampling = Sampling(temperature=protocol.temperature, guidance=protocol.guidance)
    return {
        "retrieval": Retrieval,
        "plain_language_model": lambda: LanguageModel("plain", kinds, llm, pretrain, sampling),
        "plain_decoder": lambda: Decoder("plain", kinds, *drawn),
        "residual_masked": lambda: MaskedResidual("residual", kinds, *drawn, plan.masked_rounds),
        "fsq_decoder": lambda: Decoder("fsq", kinds, *drawn),
        "diffusion": lambda: Diffusion(plan.network, plan.diffusion_guidance, plan.diffusion_rounds),
        "shift_language_model": lambda: LanguageModel("shift", kinds, llm, pretrain, sampling),
    }
