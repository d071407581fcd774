"""`ShiftTokenizer`: motion of two hands to tokens and back; the front door of the package.

Design:
- `encode`, `decode` and `decode_probabilities` give a clip the same whatever else is in the batch.
- What stands in frames in which a hand is not seen, or in padding, changes nothing.
"""

from collections.abc import Sequence
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from .devices import find_device
from .errors import FileFormatError
from .files import read_folder, write_folder
from .hub import find_folder, push_folder
from .model import ShiftModel
from .ragged import buckets, hold_nearest
from .rates import check_rate
from .slots import check_features, check_finite, check_mask, check_probabilities, check_tokens, split_slots
from .usage import CodebookUsage, usage_of_counts


class ShiftTokenizer(ShiftModel):
    """Motion of two hands to discrete tokens and back; see `ShiftConfig` for the members of the family."""

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

    def save_pretrained(self, folder: str | PathLike[str]) -> None:
        """Writes config.json and model.safetensors into a folder, each of them whole or not at all."""
        usages = self.running_usage()
        usage = [{"codes_in_use": u.in_use, "perplexity": u.perplexity} for u in usages]
        write_folder(folder, self.config, self.state_dict(), code_usage=usage, provenance=self.provenance)

    def push_to_hub(self, name: str, **options: Any) -> str:
        """Uploads what `save_pretrained` writes to the Hugging Face hub, for `from_pretrained(name)`.

        Args:
            name: "owner/name"; made if it is not there.
            options: of huggingface_hub's `ModelHubMixin.push_to_hub`: private, token, branch, commit_message, ...

        Returns:
            the address of the commit.

        Raises:
            ShiftTokenizerError: the hub refuses, cannot be reached, or its client (extra `hub`) is not installed.
        """
        return push_folder(name, self.save_pretrained, **options)

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | PathLike[str],
        *,
        device: str | torch.device = "cpu",
        revision: str | None = None,
        cache_dir: str | PathLike[str] | None = None,
    ) -> "ShiftTokenizer":
        """Reads what `save_pretrained` wrote.

        Args:
            name_or_folder: a folder, or where there is none of that name, a model of the hub, "owner/name".
            device: where the tokenizer goes: "cpu", "cuda:0"; "auto": a CUDA device if there is one.
            revision: branch, tag or commit on the hub.
            cache_dir: where the hub's files are kept, instead of its usual place.

        Raises:
            FileFormatError: a file is missing, corrupt or of a later version.
            ConfigError: there is no such device.
            ShiftTokenizerError: the hub has no such model, cannot be reached, or its client is not installed.
        """
        place = find_device(device)
        config, tensors, provenance = read_folder(find_folder(name_or_folder, revision=revision, cache_dir=cache_dir))
        tokenizer = cls(config)
        tokenizer.provenance = provenance
        try:
            tokenizer.load_state_dict(tensors)
        except RuntimeError as error:
            raise FileFormatError(
                f"{name_or_folder}: expected weights that fit config.json, got: {error}. Save it again."
            ) from None
        return tokenizer.eval().to(place)

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
