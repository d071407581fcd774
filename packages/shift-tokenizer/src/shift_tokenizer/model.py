"""`ShiftModel`: the networks of a tokenizer and the statistics of its features; what training works on.

Design:
- One `Stream` (encoder, quantizer, decoder) per modality; hands that are coded apart go through it stacked on
  the batch axis, so they share weights and codebook.
- Inside, features are mirrored (the left hand, if so configured) and standardised: `normalize` and
  `denormalize`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .config import ShiftConfig
from .layout import HAND_FEATURES, HANDS, join_hands, mirror_signs, split_hands
from .normalisation import hand_statistics, streamed_statistics
from .slots import join_slots, split_slots
from .stacking import assemble, stack_mask, stream_inputs
from .streams import Stream


@dataclass(frozen=True)
class ShiftOutput:
    """What one training forward gives.

    Attributes:
        reconstruction: (B, T, 198) in the normalised space.
        latents: per stream (N, L, D), before quantisation; N is B * parts, or as many hands as were chosen.
        indices: per stream (N, L, R) int64.
        sq_errors: per stream (N, L), the commitment error of each latent summed over D.
        targets: per stream (N, L, D), what was quantised: the latents minus what was predicted of them.
    """

    reconstruction: Tensor
    latents: tuple[Tensor, ...]
    indices: tuple[Tensor, ...]
    sq_errors: tuple[Tensor, ...]
    targets: tuple[Tensor, ...]


class ShiftModel(nn.Module):
    """A family of VQ-VAEs over the 198 motion features; see `ShiftConfig` for its members."""

    mean: Tensor
    std: Tensor
    signs: Tensor

    def __init__(self, config: ShiftConfig | None = None, *, seed: int = 0) -> None:
        """Builds a tokenizer with fresh weights.

        Args:
            config: sizes and choices; the demo's by default.
            seed: of the weights. The global random state is left as it was.
        """
        super().__init__()
        self.config = config or ShiftConfig()
        self.provenance: dict[str, Any] = {}
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            members = zip(self.config.stream_features, self.config.stream_predictions, strict=True)
            self.streams = nn.ModuleList(Stream(self.config, *member) for member in members)
        self.register_buffer("mean", torch.zeros(HANDS, HAND_FEATURES))
        self.register_buffer("std", torch.ones(HANDS, HAND_FEATURES))
        signs = torch.ones(HANDS, HAND_FEATURES)
        if self.config.mirror_left:
            signs[0] = mirror_signs()
        self.register_buffer("signs", signs, persistent=False)

    def normalize(self, features: Tensor) -> Tensor:
        """Features (..., 198) -> the space that the networks work in (..., 198): mirrored and standardised."""
        return join_hands((split_hands(features) * self.signs - self.mean) / self.std)

    def denormalize(self, normalized: Tensor) -> Tensor:
        """The inverse of `normalize`."""
        return join_hands((split_hands(normalized) * self.std + self.mean) * self.signs)

    @torch.no_grad()
    def fit_normalisation(self, features: Tensor, valid: Tensor) -> None:
        """Sets mean and standard deviation from frames: features (N, 198), valid (N, 2).

        A mirrored left hand shares the right hand's statistics. A hand with fewer than two valid frames takes
        the other's; with none at all, nothing is changed.
        """
        hands = split_hands(features) * self.signs
        self._set_normalisation(hand_statistics(hands, valid, self.config))

    @torch.no_grad()
    def stream_normalisation(self, blocks: Iterable[tuple[Tensor, Tensor]]) -> None:
        """The same from blocks of frames, in constant memory; equal to float32's rounding."""
        signed = ((split_hands(features) * self.signs, valid) for features, valid in blocks)
        self._set_normalisation(streamed_statistics(signed, self.config))

    def _set_normalisation(self, found: list[tuple[Tensor, Tensor] | None]) -> None:
        for hand, statistics in enumerate(found):
            if statistics is not None:
                self.mean[hand], self.std[hand] = statistics

    def forward(self, normalized: Tensor, mask: Tensor | None = None, hands: Tensor | None = None) -> ShiftOutput:
        """Encodes, quantises and decodes, with gradients.

        Args:
            normalized: (B, T, 198) from `normalize`, T a multiple of frames_per_latent.
            mask: (B, T) bool, true on each clip's own frames (a multiple of frames_per_latent, from the
                start); None if all are.
            hands: (B, parts) bool, the hands to work on where they are coded apart; the others cost nothing, and
                are zero in the reconstruction. None if all are.
        """
        frames, step = normalized.shape[1], self.config.frames_per_latent
        rows = None if hands is None else hands.flatten().nonzero()[:, 0]
        frame_mask = None if mask is None else stack_mask(mask.to(normalized.dtype), self.config)
        frame_mask = frame_mask if rows is None or frame_mask is None else frame_mask[rows]
        step_mask = None if frame_mask is None else frame_mask[:, ::step]
        latents, quantized, decoded = [], [], []
        for stream, inputs in zip(self.stream_list(), stream_inputs(normalized, self.config), strict=True):
            z = stream.encoder(inputs if rows is None else inputs[rows], frame_mask)
            codes = stream.quantize(z)
            y = stream.decoder(codes.values, step_mask)
            if rows is not None:
                y = y.new_zeros(len(inputs), frames, y.shape[2]).index_copy(0, rows, y)
            decoded.append(y if y.dtype == torch.float64 else y.float())
            latents.append(z if z.dtype == torch.float64 else z.float())
            quantized.append(codes)
        return ShiftOutput(
            assemble(decoded, self.config),
            tuple(latents),
            tuple(q.indices for q in quantized),
            tuple(q.sq_errors for q in quantized),
            tuple(q.targets for q in quantized),
        )

    @torch.no_grad()
    def latents(self, features: Tensor) -> list[Tensor]:
        """Features (B, T, 198) to the latents of each stream (B, parts, L, D), before quantisation."""
        inputs = zip(self.stream_list(), stream_inputs(self.normalize(features), self.config), strict=True)
        return [stream.encoder(x).unflatten(0, (-1, self.config.n_parts)) for stream, x in inputs]

    @torch.no_grad()
    def quantize(
        self, latents: Sequence[Tensor], before: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Latents as `latents` gives them to tokens (B, L, n_slots), and the quantised latents (`embed`).

        `before`: the values of the step before, per stream (B, parts, D), where the latents go on from one.
        """
        quantized = [
            stream.quantize(z.flatten(0, 1), None if before is None else before[i].flatten(0, 1))
            for i, (stream, z) in enumerate(zip(self.stream_list(), latents, strict=True))
        ]
        values = [q.values.unflatten(0, (-1, self.config.n_parts)) for q in quantized]
        return join_slots([q.indices for q in quantized], self.config), values

    @torch.no_grad()
    def embed(self, tokens: Tensor, before: Sequence[Tensor] | None = None) -> list[Tensor]:
        """Tokens (B, L, n_slots) to quantised latents, per stream (B, parts, L, D); `before` as in `quantize`."""
        streams = zip(self.stream_list(), split_slots(tokens, self.config), strict=True)
        return [s.embed(indices, None if before is None else before[i]) for i, (s, indices) in enumerate(streams)]

    def decode_values(self, values: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        """Quantised latents, per stream (B, parts, L, D), to features (B, L * frames_per_latent, 198).

        `mask` (B, L) bool as in `decode`.
        """
        step_mask = None if mask is None else stack_mask(mask.to(values[0].dtype), self.config)
        decoded = [s.decoder(z.flatten(0, 1), step_mask) for s, z in zip(self.stream_list(), values, strict=True)]
        normalized = assemble(decoded, self.config)
        if mask is not None:
            normalized = normalized * mask.repeat_interleave(self.config.frames_per_latent, 1)[..., None]
        return self.denormalize(normalized)

    def codebooks(self) -> Tensor:
        """All codes (n_codebooks, K, D); slot s indexes number `config.slot_codebook[s]`."""
        return torch.stack([q.codebook for stream in self.stream_list() for q in stream.quantizer.quantizers()])

    def stream_list(self) -> list[Stream]:
        """The streams, one per modality."""
        return [stream for stream in self.streams if isinstance(stream, Stream)]
