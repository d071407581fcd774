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
from .layout import HAND_FEATURES, HANDS, join_hands, mirror_signs, split_hands
from .normalisation import hand_statistics
from .ragged import buckets, hold_nearest
from .rates import check_rate
from .slots import check_features, check_finite, check_mask, check_probabilities, check_tokens, join_slots, split_slots
from .stacking import assemble, stack_mask, stream_inputs
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
        for hand, statistics in enumerate(hand_statistics(hands, valid, self.config)):
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

    def fill_unseen(self, features: Tensor, valid: Tensor) -> Tensor:
        """Replaces the frames in which a hand is not seen, so that nothing depends on what stands there.

        Args:
            features: (B, T, 198) or (T, 198); anything may stand where a hand is not seen, NaN too.
            valid: (B, T, 2) or (T, 2) bool.

        Returns:
            features of the same shape: such a frame of a hand holds its nearest seen frame (the earlier of two), or
            the mean of the training data where the hand is never seen in its clip.

        Raises:
            ShapeError: valid does not fit the features.
        """
        features, valid = self._tensor(features), torch.as_tensor(valid, device=self.mean.device)
        if features.ndim == 2:
            return self.fill_unseen(features[None], valid[None])[0]
        return hold_nearest(features, valid, self.mean * self.signs)

    @torch.no_grad()
    def encode(self, features: Tensor, valid: Tensor | None = None, *, fps: float | None = None) -> Tensor:
        """Motion to tokens.

        Args:
            features: (B, T, 198), or (T, 198) for one clip; finite; T a multiple of frames_per_latent.
            valid: (B, T, 2) or (T, 2) bool, whether each hand is seen. What stands in the other frames changes nothing
                (`fill_unseen`). None if all are seen.
            fps: frames a second of the features, which must be `config.fps`. None where the caller knows that.

        Returns:
            tokens (B, T / frames_per_latent, n_slots) int64, or without B for one clip.

        Raises:
            ShapeError: a shape does not fit or a feature of a hand that is seen is not finite.
            RateError: `fps` is another than the tokenizer's.
        """
        if fps is not None:
            check_rate(fps, self.config.fps)
        features = self._tensor(features)
        if features.ndim == 2:
            return self.encode(features[None], None if valid is None else torch.as_tensor(valid)[None])[0]
        check_features(features, self.config)
        if valid is not None:
            features = self.fill_unseen(features, valid)
        check_finite(features)
        return self.quantize(self.latents(features))[0]

    def encode_list(
        self,
        clips: Sequence[Tensor],
        valid: Sequence[Tensor] | None = None,
        *,
        fps: float | None = None,
        batch_size: int = 64,
    ) -> list[Tensor]:
        """Clips (T_i, 198) of any lengths to tokens (T_i / frames_per_latent, n_slots); arrays are taken too.

        Clips of equal length share a batch, so that each gives what `encode` gives for it alone. `valid`, of each clip
        (T_i, 2), and `fps`, of all clips, are as in `encode`.
        """
        tokens: list[Tensor] = [torch.empty(0)] * len(clips)
        for members in buckets([len(clip) for clip in clips], batch_size):
            batch = torch.stack([torch.as_tensor(clips[i]) for i in members])
            seen = None if valid is None else torch.stack([torch.as_tensor(valid[i]) for i in members])
            for i, result in zip(members, self.encode(batch, seen, fps=fps), strict=True):
                tokens[i] = result
        return tokens

    @torch.no_grad()
    def decode(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Tokens to motion.

        Args:
            tokens: (B, L, n_slots), or (L, n_slots) for one clip. Anything may stand where the mask is false.
            mask: (B, L) or (L,) bool, true on each clip's own steps and false on the padding behind them; None if
                nothing is padding. A clip in a padded batch gives what it gives alone.

        Returns:
            features (B, L * frames_per_latent, 198), or without B for one clip; the mean of the training data in the
            frames of padding.

        Raises:
            ShapeError: a shape does not fit, an index is no code, or the mask has padding before a step.
        """
        tokens = torch.as_tensor(tokens, device=self.mean.device).long()
        if tokens.ndim == 2:
            return self.decode(tokens[None], None if mask is None else torch.as_tensor(mask)[None])[0]
        if mask is not None:
            mask = torch.as_tensor(mask, device=tokens.device)
            check_mask(mask, *tokens.shape[:2])
            tokens = tokens.masked_fill(~mask[..., None], 0)
        check_tokens(tokens, self.config)
        return self.decode_values(self.embed(tokens), mask)

    def decode_list(self, tokens: Sequence[Tensor], *, batch_size: int = 64) -> list[Tensor]:
        """Tokens (L_i, n_slots) of any lengths to features (L_i * frames_per_latent, 198).

        Clips of similar length share a batch, padded and masked, so that each gives what `decode` gives for it alone.
        """
        clips: list[Tensor] = [torch.empty(0)] * len(tokens)
        by_length = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
        for start in range(0, len(tokens), batch_size):
            members = by_length[start : start + batch_size]
            rows = [torch.as_tensor(tokens[i]) for i in members]
            lengths = torch.tensor([len(row) for row in rows])
            mask = torch.arange(int(lengths.max())) < lengths[:, None]
            decoded = self.decode(nn.utils.rnn.pad_sequence(rows, batch_first=True), mask)
            for i, result, length in zip(members, decoded, lengths.tolist(), strict=True):
                clips[i] = result[: length * self.config.frames_per_latent]
        return clips

    def decode_probabilities(self, probabilities: Tensor, mask: Tensor | None = None) -> Tensor:
        """Distributions over codes to features, differentiable.

        Each slot's code becomes its expectation. With one-hot distributions this is `decode`; with
        straight-through samples it carries a gradient from motion space back to whoever predicted the tokens.

        Args:
            probabilities: (B, L, n_slots, K). Anything may stand where the mask is false; it gets no gradient.
            mask: (B, L) bool, as in `decode`.

        Returns:
            features (B, L * frames_per_latent, 198), as from `decode`.

        Raises:
            ShapeError: a shape does not fit, or the mask has padding before a step.
        """
        check_probabilities(probabilities, self.config)
        probabilities = probabilities.to(self.mean.dtype)
        if mask is not None:
            mask = torch.as_tensor(mask, device=probabilities.device)
            check_mask(mask, *probabilities.shape[:2])
            probabilities = probabilities.masked_fill(~mask[..., None, None], 0)
        streams = zip(self.stream_list(), split_slots(probabilities, self.config), strict=True)
        return self.decode_values([stream.embed_probabilities(p) for stream, p in streams], mask)

    @torch.no_grad()
    def latents(self, features: Tensor) -> list[Tensor]:
        """Features (B, T, 198) to the latents of each stream (B, parts, L, D), before quantisation."""
        inputs = zip(self.stream_list(), stream_inputs(self.normalize(features), self.config), strict=True)
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

    def decode_values(self, values: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        """What tokens say, per stream (B, parts, L, D), to features (B, L * frames_per_latent, 198); `mask` as above."""
        step_mask = None if mask is None else stack_mask(mask.to(values[0].dtype), self.config)
        decoded = [s.decoder(z.flatten(0, 1), step_mask) for s, z in zip(self.stream_list(), values, strict=True)]
        normalized = assemble(decoded, self.config)
        if mask is not None:
            normalized = normalized * mask.repeat_interleave(self.config.frames_per_latent, 1)[..., None]
        return self.denormalize(normalized)

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

    def _tensor(self, features: Tensor) -> Tensor:
        """Features in the type and on the device of the tokenizer."""
        return torch.as_tensor(features, dtype=self.mean.dtype, device=self.mean.device)

    def stream_list(self) -> list[Stream]:
        """The streams, one per modality."""
        return [stream for stream in self.streams if isinstance(stream, Stream)]
