"""`ShiftTokenizer`: motion of two hands to tokens and back.

Design:
- One `Stream` (encoder, quantizer, decoder) per modality; hands that are coded apart go through it stacked on
  the batch axis, so they share weights and codebook.
- Inside, features are mirrored (the left hand, if so configured) and standardised: `normalize` and
  `denormalize`.
- `encode`, `decode` and `decode_probabilities` give a clip the same whatever else is in the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from .config import ShiftConfig
from .errors import FileFormatError
from .files import read_folder, write_folder
from .hub import find_folder
from .layout import (
    HAND_FEATURES,
    HANDS,
    POSE,
    ROTATION,
    TRANSLATION,
    join_hands,
    mirror_signs,
    split_hands,
)
from .ragged import buckets, hold_nearest
from .slots import check_features, check_finite, check_probabilities, check_tokens, join_slots, split_slots
from .streams import Stream
from .usage import CodebookUsage, usage_of_counts


@dataclass(frozen=True)
class ShiftOutput:
    """What one training forward gives.

    Attributes:
        reconstruction: (B, T, 198) in the normalised space.
        latents: per stream (N, L, D), before quantisation; N is B * parts, or as many hands as were chosen.
        indices: per stream (N, L, R) int64.
        sq_errors: per stream (N, L), the commitment error of each latent summed over D.
        targets: per stream (N, L, D), what the codes stand for: the latents, without what was predicted of them.
    """

    reconstruction: Tensor
    latents: tuple[Tensor, ...]
    indices: tuple[Tensor, ...]
    sq_errors: tuple[Tensor, ...]
    targets: tuple[Tensor, ...]


class ShiftTokenizer(nn.Module):
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
        seen = [hands[valid[:, hand], hand] for hand in range(HANDS)]
        if self.config.mirror_left:
            seen = [torch.cat(seen)] * HANDS
        seen = [rows if len(rows) > 1 else max(seen, key=len) for rows in seen]
        for hand, rows in enumerate(seen):
            if len(rows) < 2:
                continue
            self.mean[hand] = rows.mean(0)
            std = rows.std(0)
            if self.config.group_std:
                for group in (ROTATION, POSE, TRANSLATION):
                    std[list(group)] = std[list(group)].square().mean().sqrt()
            self.std[hand] = std.clamp(min=self.config.std_floor)

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
        frame_mask = None if mask is None else self._stack_mask(mask.to(normalized.dtype))
        frame_mask = frame_mask if rows is None or frame_mask is None else frame_mask[rows]
        step_mask = None if frame_mask is None else frame_mask[:, ::step]
        latents, quantized, decoded = [], [], []
        for stream, inputs in zip(self.stream_list(), self._stream_inputs(normalized), strict=True):
            z = stream.encoder(inputs if rows is None else inputs[rows], frame_mask)
            codes = stream.quantize(z)
            y = stream.decoder(codes.values, step_mask)
            if rows is not None:
                y = y.new_zeros(len(inputs), frames, y.shape[2]).index_copy(0, rows, y)
            decoded.append(y if y.dtype == torch.float64 else y.float())
            latents.append(z if z.dtype == torch.float64 else z.float())
            quantized.append(codes)
        return ShiftOutput(
            self._assemble(decoded),
            tuple(latents),
            tuple(q.indices for q in quantized),
            tuple(q.sq_errors for q in quantized),
            tuple(q.targets for q in quantized),
        )

    @torch.no_grad()
    def encode(self, features: Tensor, valid: Tensor | None = None) -> Tensor:
        """Motion to tokens.

        Args:
            features: (B, T, 198), or (T, 198) for one clip; finite; T a multiple of frames_per_latent.
            valid: (B, T, 2) or (T, 2) bool. Where given, what is not valid takes the nearest valid frame of
                that hand before encoding (a hand without a valid frame stays as it is).

        Returns:
            tokens (B, T / frames_per_latent, n_slots) int64, or without B for one clip.

        Raises:
            ShapeError: a shape does not fit or a feature is not finite.
        """
        features = torch.as_tensor(features, dtype=self.mean.dtype, device=self.mean.device)
        if features.ndim == 2:
            return self.encode(features[None], None if valid is None else torch.as_tensor(valid)[None])[0]
        check_features(features, self.config)
        if valid is not None:
            features = hold_nearest(features, torch.as_tensor(valid, device=features.device))
        check_finite(features)
        return self.quantize(self.latents(features))[0]

    def encode_list(
        self, clips: Sequence[Tensor], valid: Sequence[Tensor] | None = None, *, batch_size: int = 64
    ) -> list[Tensor]:
        """Clips (T_i, 198) of any lengths to tokens (T_i / frames_per_latent, n_slots); arrays are taken too.

        Clips of equal length share a batch, so that each gives what `encode` gives for it alone.
        """
        tokens: list[Tensor] = [torch.empty(0)] * len(clips)
        for members in buckets([len(clip) for clip in clips], batch_size):
            batch = torch.stack([torch.as_tensor(clips[i]) for i in members])
            mask = None if valid is None else torch.stack([torch.as_tensor(valid[i]) for i in members])
            for i, result in zip(members, self.encode(batch, mask), strict=True):
                tokens[i] = result
        return tokens

    @torch.no_grad()
    def decode(self, tokens: Tensor) -> Tensor:
        """Tokens (B, L, n_slots), or (L, n_slots), to features (B, L * frames_per_latent, 198), or without B.

        Raises:
            ShapeError: the shape does not fit, or an index is no code.
        """
        tokens = torch.as_tensor(tokens, device=self.mean.device).long()
        if tokens.ndim == 2:
            return self.decode(tokens[None])[0]
        check_tokens(tokens, self.config)
        return self.decode_values(self.embed(tokens))

    def decode_list(self, tokens: Sequence[Tensor], *, batch_size: int = 64) -> list[Tensor]:
        """Tokens (L_i, n_slots) of any lengths to features (L_i * frames_per_latent, 198)."""
        clips: list[Tensor] = [torch.empty(0)] * len(tokens)
        for members in buckets([len(t) for t in tokens], batch_size):
            batch = self.decode(torch.stack([torch.as_tensor(tokens[i]) for i in members]))
            for i, result in zip(members, batch, strict=True):
                clips[i] = result
        return clips

    def decode_probabilities(self, probabilities: Tensor) -> Tensor:
        """Distributions over codes to features, differentiable.

        Each slot's code becomes its expectation. With one-hot distributions this is `decode`; with
        straight-through samples it carries a gradient from motion space back to whoever predicted the tokens.

        Args:
            probabilities: (B, L, n_slots, K).

        Returns:
            features (B, L * frames_per_latent, 198).
        """
        check_probabilities(probabilities, self.config)
        probabilities = probabilities.to(self.mean.dtype)
        streams = zip(self.stream_list(), split_slots(probabilities, self.config), strict=True)
        return self.decode_values([stream.embed_probabilities(p) for stream, p in streams])

    @torch.no_grad()
    def latents(self, features: Tensor) -> list[Tensor]:
        """Features (B, T, 198) to the latents of each stream (B, parts, L, D), before quantisation."""
        inputs = zip(self.stream_list(), self._stream_inputs(self.normalize(features)), strict=True)
        return [stream.encoder(x).unflatten(0, (-1, self.config.n_parts)) for stream, x in inputs]

    @torch.no_grad()
    def quantize(
        self, latents: Sequence[Tensor], before: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Latents as `latents` gives them to tokens (B, L, n_slots), and what these say (`embed`).

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
        """Tokens (B, L, n_slots) to what they say, per stream (B, parts, L, D); `before` as in `quantize`."""
        streams = zip(self.stream_list(), split_slots(tokens, self.config), strict=True)
        return [s.embed(indices, None if before is None else before[i]) for i, (s, indices) in enumerate(streams)]

    def decode_values(self, values: Sequence[Tensor]) -> Tensor:
        """What tokens say, per stream (B, parts, L, D), to features (B, L * frames_per_latent, 198)."""
        decoded = [s.decoder(z.flatten(0, 1)) for s, z in zip(self.stream_list(), values, strict=True)]
        return self.denormalize(self._assemble(decoded))

    def codebooks(self) -> Tensor:
        """All codes (n_codebooks, K, D); slot s indexes number `config.slot_codebook[s]`."""
        return torch.stack([q.codebook for stream in self.stream_list() for q in stream.quantizer.quantizers()])

    def save_pretrained(self, folder: str | PathLike[str]) -> None:
        """Writes config.json and model.safetensors into a folder, each of them whole or not at all."""
        usages = self.running_usage()
        usage = [{"codes_in_use": u.in_use, "perplexity": u.perplexity} for u in usages]
        write_folder(folder, self.config, self.state_dict(), code_usage=usage, provenance=self.provenance)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | PathLike[str],
        *,
        device: str | torch.device = "cpu",
        revision: str | None = None,
        cache_dir: str | PathLike[str] | None = None,
    ) -> "ShiftTokenizer":
        """Reads what `save_pretrained` wrote.

        Args:
            folder: a folder, or where there is none of that name, a model of the Hugging Face hub, "owner/name".
            device: where the tokenizer goes.
            revision: branch, tag or commit on the hub.
            cache_dir: where the hub's files are kept, instead of its usual place.

        Raises:
            FileFormatError: a file is missing, corrupt or of another version.
            ShiftTokenizerError: the hub has no such model, cannot be reached, or its client is not installed.
        """
        config, tensors, provenance = read_folder(find_folder(folder, revision=revision, cache_dir=cache_dir))
        tokenizer = cls(config)
        tokenizer.provenance = provenance
        try:
            tokenizer.load_state_dict(tensors)
        except RuntimeError as error:
            raise FileFormatError(
                f"{folder}: expected weights that fit config.json, got: {error}. Save it again."
            ) from None
        return tokenizer.eval().to(device)

    def running_usage(self) -> list[CodebookUsage]:
        """How the codes were used at the end of training, per codebook, from the running counts.

        A code under the reset threshold of the configuration counts as not used; one that was brought back a
        moment ago counts as used. For use on clips, take `codebook_usage` of their tokens. Empty before training.
        """
        books = [q for stream in self.stream_list() for q in stream.quantizer.quantizers()]
        if not all(int(book.steps) for book in books):
            return []
        counts = [book.counts.cpu() for book in books]
        return [usage_of_counts(c.where(c >= self.config.reset_threshold * c.mean(), 0)) for c in counts]

    def stream_list(self) -> list[Stream]:
        """The streams, one per modality."""
        return [stream for stream in self.streams if isinstance(stream, Stream)]

    def _stream_inputs(self, normalized: Tensor) -> list[Tensor]:
        """(B, T, 198) -> per stream (B * parts, T, C)."""
        hands = split_hands(normalized)
        if self.config.encoder_input == "whole" or self.config.n_modalities == 1:
            return [self._stack(hands)] * self.config.n_modalities
        pose = hands[..., POSE.start : POSE.stop]
        trajectory = torch.cat([hands[..., : POSE.start], hands[..., POSE.stop :]], -1)
        return [self._stack(trajectory), self._stack(pose)]

    def _stack(self, hands: Tensor) -> Tensor:
        """(B, T, 2, C) -> (2 B, T, C) if hands are coded apart, else (B, T, 2 C)."""
        if self.config.splits_parts:
            return hands.transpose(1, 2).flatten(0, 1)
        return hands.flatten(2)

    def _stack_mask(self, mask: Tensor) -> Tensor:
        """(B, T) -> (B * parts, T, 1)."""
        return mask.repeat_interleave(self.config.n_parts, 0)[..., None]

    def _assemble(self, decoded: list[Tensor]) -> Tensor:
        """Per stream (B * parts, T, C) -> (B, T, 198)."""
        if self.config.splits_parts:
            decoded = [d.unflatten(0, (-1, HANDS)).transpose(1, 2) for d in decoded]
        else:
            decoded = [d.unflatten(-1, (HANDS, -1)) for d in decoded]
        if self.config.n_modalities == 1:
            return join_hands(decoded[0])
        trajectory, pose = decoded  # (B, T, 2, 9), (B, T, 2, 90)
        return join_hands(torch.cat([trajectory[..., : POSE.start], pose, trajectory[..., POSE.start :]], -1))
