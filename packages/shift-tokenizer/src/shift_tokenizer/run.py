"""One training run of a tokenizer: its batches, losses and steps, on one process or on several.

Several processes under `torch.distributed` take one step on one joint batch: all draw it from the same generator,
each works on its share of the windows, means are taken over all of them, and gradients and statistics of the codes
are summed. So many processes end where one would, to float tolerance.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from .checkpoint import TrainingState, fingerprint
from .config import ShiftConfig
from .devices import find_device
from .distributed import any_over_ranks, rank, sum_gradients, sum_over_ranks, world_size
from .errors import ConfigError, ShiftTokenizerError
from .losses import JointsFn, commitment_loss, joint_losses, reconstruction_losses, translation_velocity_loss
from .mixing import source_shares
from .model import ShiftOutput
from .ragged import hold_nearest
from .settings import NO_INFLUENCE, TokenizerTraining
from .tokenizer import ShiftTokenizer
from .usage import usage_of_counts
from .windows import Clips, WindowSampler, hash_clips, survey_clips

_ADAM_BETAS = (0.9, 0.99)  # squares are averaged over about 100 steps, which is short beside the demo's 1250


@dataclass(frozen=True)
class _Batch:
    """Windows: features and normalized (B, T, 198), valid (B, T, 2), mask (B, T), hands to work on (B, 2)."""

    features: Tensor
    normalized: Tensor
    valid: Tensor
    mask: Tensor
    hands: Tensor


class Run:
    """The objects of one training run, and its step."""

    def __init__(
        self,
        clips: Clips,
        config: ShiftConfig,
        training: TokenizerTraining,
        joints_fn: JointsFn | None,
        mirror_fn: Callable[[Tensor], Tensor] | None,
    ) -> None:
        if training.window % config.frames_per_latent:
            raise ConfigError(
                f"TokenizerTraining.window: expected a multiple of frames_per_latent {config.frames_per_latent}, got "
                f"{training.window}. Correct one of them."
            )
        if training.mirror_probability and mirror_fn is None:
            raise ConfigError(
                "Expected a mirror_fn for mirror_probability above 0, got none. Pass one, or set it to 0."
            )
        if training.batch_size < world_size():
            raise ConfigError(
                f"TokenizerTraining.batch_size: expected at least the {world_size()} processes, got "
                f"{training.batch_size}. Raise it: it counts the windows of all of them."
            )
        self.config, self.training, self.joints_fn, self.mirror_fn = config, training, joints_fn, mirror_fn
        self.survey = survey_clips(clips, config.frames_per_latent, config.fps)
        counts = dict(sorted(Counter(self.survey.sources).items()))
        self.sampler = WindowSampler(
            clips,
            window=training.window,
            batch_size=training.batch_size,
            shares=source_shares(counts, training.source_temperature, training.source_weights),
            frames_per_latent=config.frames_per_latent,
            fps=config.fps,
            survey=self.survey,
            memory=training.memory_mb * 2**20,
        )
        self.device = find_device(training.device)
        self.tokenizer = ShiftTokenizer(config, seed=training.seed)
        if self.sampler.packed:
            self.tokenizer.fit_normalisation(self.sampler.features, self.sampler.valid)
        else:
            self.tokenizer.stream_normalisation(self.sampler.each())
        never = self.tokenizer.mean * self.tokenizer.signs
        self.sampler.fill_unseen(partial(_fill, never=never))  # on the CPU, wherever the tokenizer goes
        self.tokenizer.to(self.device).train()
        optimizer = torch.optim.AdamW(
            self.tokenizer.parameters(),
            lr=training.learning_rate,
            betas=_ADAM_BETAS,
            weight_decay=training.weight_decay,
            fused=True,
        )
        generator = torch.Generator().manual_seed(training.seed)
        self.state = TrainingState(self.tokenizer, optimizer, generator, 0, [])

    def fingerprint(self, val_clips: Clips | None) -> str:
        """Hash of all that shapes the result; under keep="best" validation does."""
        best = self.training.keep == "best"
        ignored = [name for name in NO_INFLUENCE if not (best and name == "validate_every")]
        settings = {k: v for k, v in self.training.to_dict().items() if k not in ignored}
        return fingerprint(
            config=self.config.to_dict(),
            training=settings,
            data=self.survey.sha256,
            validation=hash_clips(val_clips) if best and val_clips is not None else "",
            joints=self.joints_fn is not None,
            device=self.device.type,
        )

    def step(self) -> dict[str, Tensor]:
        """One optimizer step; returns its losses, detached, of all processes together."""
        state, batch = self.state, self._batch()
        if state.step == 0:
            self._initialise_codes(batch)
        output = self._forward(batch)
        losses = self._losses(output, batch)
        totals = sum_over_ranks(torch.stack([value.detach() for value in losses.values()]))
        loss = float(totals[0])
        if not math.isfinite(loss):
            raise ShiftTokenizerError(
                f"Step {state.step + 1}: expected a finite loss, got {loss}. Lower learning_rate, or check joints_fn."
            )
        for group in state.optimizer.param_groups:
            group["lr"] = self.learning_rate(state.step)
        state.optimizer.zero_grad()
        losses["loss"].backward()
        sum_gradients(self.tokenizer.parameters())
        nn.utils.clip_grad_norm_(self.tokenizer.parameters(), self.training.gradient_clip)
        state.optimizer.step()
        self._update_codes(output, batch)
        state.step += 1
        return dict(zip(losses, totals, strict=True))

    def learning_rate(self, step: int) -> float:
        """Warmed up, then a cosine."""
        settings = self.training
        warm = min(1.0, (step + 1) / max(1, settings.warmup_steps))
        cosine = 0.5 + 0.5 * math.cos(math.pi * step / settings.steps)
        return settings.learning_rate * warm * (settings.final_rate + (1 - settings.final_rate) * cosine)

    def metrics(self, losses: dict[str, Tensor]) -> dict[str, float]:
        """Losses of a step, and how the running counts spread over the codes."""
        values = {name: float(value) for name, value in losses.items()}
        books = [q for stream in self.tokenizer.stream_list() for q in stream.quantizer.quantizers()]
        perplexities = [usage_of_counts(book.counts.cpu()).perplexity for book in books]
        values["perplexity"] = sum(perplexities) / len(perplexities)
        values["learning_rate"] = self.learning_rate(self.state.step - 1)
        return values

    def _batch(self) -> _Batch:
        settings, generator = self.training, self.state.generator
        features, valid, mask = self.sampler.draw(generator)
        if self.mirror_fn is not None and settings.mirror_probability:
            flip = torch.rand(len(features), generator=generator) < settings.mirror_probability
            features = torch.where(flip[:, None, None], self.mirror_fn(features), features)
            valid = torch.where(flip[:, None, None], valid.flip(-1), valid)
        hands = valid.any(1)
        if self.config.splits_parts:
            hands = hands | (torch.rand(hands.shape, generator=generator) < settings.unseen_share)
            hands[0] |= ~hands.any()
        else:
            hands = torch.ones_like(hands)
        share = [x.tensor_split(world_size())[rank()] for x in (features, valid, mask, hands)]
        features, valid, mask, hands = (x.to(self.device) for x in share)
        return _Batch(features, self.tokenizer.normalize(features), valid, mask, hands)

    def _forward(self, batch: _Batch) -> ShiftOutput:
        whole, every = bool(batch.mask.all()), bool(batch.hands.all())
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.training.precision == "bf16"):
            output: ShiftOutput = self.tokenizer(
                batch.normalized, None if whole else batch.mask, None if every else batch.hands
            )
        return output

    def _losses(self, output: ShiftOutput, batch: _Batch) -> dict[str, Tensor]:
        settings, target = self.training, batch.normalized
        weights = torch.where(batch.valid, 1.0, settings.invalid_weight) * batch.mask[..., None]
        weights = weights * batch.hands[:, None]  # (B, T, 2)
        groups = reconstruction_losses(output.reconstruction, target, weights, sum_over_ranks)
        losses = {
            "rotation": groups.rotation,
            "translation": groups.translation,
            "pose": groups.pose,
            "commitment": commitment_loss(output.sq_errors, self._own(batch), self.config.code_dim, sum_over_ranks),
            "velocity": translation_velocity_loss(output.reconstruction, target, weights, sum_over_ranks),
        }
        if self.joints_fn is not None and settings.joint_weight + settings.root_joint_weight > 0:
            decoded = self.tokenizer.denormalize(output.reconstruction)
            absolute, relative = joint_losses(decoded, batch.features, weights, self.joints_fn, sum_over_ranks)
            losses["joint"], losses["root_joint"] = absolute, relative
        total = torch.stack([getattr(settings, f"{name}_weight") * value for name, value in losses.items()]).sum()
        return {"loss": total, **losses}

    @torch.no_grad()
    def _initialise_codes(self, batch: _Batch) -> None:
        output, own, seen = self._forward(batch), self._own(batch), self._seen(batch)
        chosen = seen if any_over_ranks(bool(seen.any()), self.device) else own
        for stream, latents in zip(self.tokenizer.stream_list(), output.latents, strict=True):
            stream.quantizer.initialise(latents[chosen], self.state.generator)

    @torch.no_grad()
    def _update_codes(self, output: ShiftOutput, batch: _Batch) -> None:
        own, seen = self._own(batch), self._seen(batch)
        for stream, z, index in zip(self.tokenizer.stream_list(), output.targets, output.indices, strict=True):
            stream.quantizer.update(z.detach()[own], index[own], seen[own], self.state.generator)

    def _own(self, batch: _Batch) -> Tensor:
        """Which latents are of a clip and not of its padding, (N, L)."""
        steps = batch.mask[:, :: self.config.frames_per_latent]
        return self._rows(steps[:, None].expand(-1, self.config.n_parts, -1), batch)

    def _seen(self, batch: _Batch) -> Tensor:
        """Which latents show a hand, (N, L)."""
        steps = batch.valid.unflatten(1, (-1, self.config.frames_per_latent)).any(2).transpose(1, 2)  # (B, 2, L)
        return self._rows(steps if self.config.splits_parts else steps.any(1, keepdim=True), batch)

    def _rows(self, by_part: Tensor, batch: _Batch) -> Tensor:
        """(B, parts, L) -> (N, L), of the hands that are worked on."""
        return by_part[batch.hands] if self.config.splits_parts else by_part.flatten(0, 1)


def _fill(features: Tensor, valid: Tensor, never: Tensor) -> Tensor:
    """`ShiftTokenizer.fill_unseen` of one clip (T, 198), (T, 2)."""
    return hold_nearest(features[None], valid[None], never)[0]
