"""One stream of tokens: the encoder, quantizer and decoder of a modality, and what a step predicts of the next.

Source of the prediction: Cuperman and Gersho 1985, "Vector predictive coding of speech at 16 kbit/s", with a fixed
predictor that leaks, so that a wrong code is forgotten.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .config import ShiftConfig
from .fsq import FiniteScalarQuantizer
from .layout import HAND_FEATURES, HANDS
from .networks import Decoder, Encoder
from .quantizer import EmaQuantizer, Level, ResidualQuantizer


@dataclass(frozen=True)
class Quantized:
    """Latents of N clips as codes.

    Attributes:
        indices: (N, L, R) int64.
        values: (N, L, D), the quantised latents: of each step, what the step before predicts plus its codes. Their
            gradient goes straight through to the latents.
        sq_errors: (N, L), squared distance of the targets to their codes, a mean over the levels.
        targets: (N, L, D), what is quantised: the latents minus what the step before predicts.
    """

    indices: Tensor
    values: Tensor
    sq_errors: Tensor
    targets: Tensor


class Stream(nn.Module):
    """Encoder, quantizer and decoder of one modality.

    With a prediction p, a step is expected to be p times the value of the step before, and its codes stand
    for the rest. So the error of a hand that keeps still falls with every step, at the same tokens.
    """

    def __init__(self, config: ShiftConfig, features: tuple[int, ...], prediction: float) -> None:
        super().__init__()
        hands = HANDS // config.n_parts
        inputs = len(features) if config.encoder_input == "own" else HAND_FEATURES
        shape = (config.frames_per_latent, config.n_stages, config.dilations)
        self.prediction = prediction
        self.encoder = Encoder(inputs * hands, config.width, config.code_dim, *shape)
        self.quantizer = ResidualQuantizer([_quantizer(config) for _ in range(config.residual_depth)])
        self.decoder = Decoder(config.code_dim, config.width, len(features) * hands, *shape)

    def quantize(self, latents: Tensor, before: Tensor | None = None) -> Quantized:
        """Chooses codes for latents (N, L, D); `before` (N, D) is the value of the step before them, if any."""
        latents = latents if latents.dtype == torch.float64 else latents.float()
        if not self.prediction or not self.quantizer.ready:
            indices, values, errors = (x.unflatten(0, latents.shape[:2]) for x in self.quantizer(latents.flatten(0, 1)))
            return Quantized(indices, values, errors, latents)
        expected = torch.zeros_like(latents[:, 0]) if before is None else self.prediction * before
        steps = []
        for latent in latents.unbind(1):
            target = latent - expected
            index, code, error = self.quantizer(target)
            value = expected + code
            steps.append((index, value, error, target))
            expected = self.prediction * value.detach()
        return Quantized(*(torch.stack(column, 1) for column in zip(*steps, strict=True)))

    def embed(self, indices: Tensor, before: Tensor | None = None) -> Tensor:
        """Indices (..., L, R) -> values (..., L, D); `before` (..., D) as in `quantize`."""
        return self._accumulate(self.quantizer.embed(indices), before)

    def embed_probabilities(self, probabilities: Tensor) -> Tensor:
        """Distributions (..., L, R, K) -> expected values (..., L, D)."""
        return self._accumulate(self.quantizer.embed_probabilities(probabilities), None)

    def _accumulate(self, codes: Tensor, before: Tensor | None) -> Tensor:
        if not self.prediction:
            return codes
        value = torch.zeros_like(codes[..., 0, :]) if before is None else before
        values = []
        for code in codes.unbind(-2):
            value = self.prediction * value + code
            values.append(value)
        return torch.stack(values, -2)


def _quantizer(config: ShiftConfig) -> Level:
    if config.quantizer == "fsq":
        return FiniteScalarQuantizer(config.fsq_levels, config.code_dim, decay=config.decay)
    return EmaQuantizer(
        config.codebook_size,
        config.code_dim,
        decay=config.decay,
        reset_every=config.reset_every,
        reset_threshold=config.reset_threshold,
        cosine=config.quantizer == "cosine",
        kmeans=config.codebook_init == "kmeans",
    )
