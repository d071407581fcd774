"""Training a tokenizer: `train_tokenizer`, exact and resumable.

Design:
- All chance comes from one generator, whose state is saved with the model, the optimizer and the step: a run
  that was killed ends bit for bit as one that was not (on the same machine and number of threads).
- A batch mixes its sources by fixed shares: a small real source is not drowned by a large synthetic one.
- Geometry comes in from outside: `joints_fn` turns features into joints, `mirror_fn` mirrors a whole motion.
"""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike

import torch
from torch import Tensor, nn

from .checkpoint import TrainingState, fingerprint, load_state, remove_state, save_state
from .config import ShiftConfig
from .errors import ConfigError, ShiftTokenizerError
from .evaluation import evaluate_reconstruction
from .losses import JointsFn, commitment_loss, joint_losses, reconstruction_losses, translation_velocity_loss
from .progress import progress_bar
from .settings import NO_INFLUENCE, TokenizerTraining
from .tokenizer import ShiftOutput, ShiftTokenizer
from .usage import usage_of_counts
from .windows import Clip, WindowSampler, check_clips, hash_clips

logger = logging.getLogger(__name__)

OnLog = Callable[[int, dict[str, float]], None]


def train_tokenizer(
    clips: Sequence[Clip],
    config: ShiftConfig | None = None,
    training: TokenizerTraining | None = None,
    *,
    val_clips: Sequence[Clip] | None = None,
    joints_fn: JointsFn | None = None,
    mirror_fn: Callable[[Tensor], Tensor] | None = None,
    checkpoint_dir: str | PathLike[str] | None = None,
    on_log: OnLog | None = None,
) -> tuple[ShiftTokenizer, list[dict[str, float]]]:
    """Trains a tokenizer on clips.

    Args:
        clips: dicts with "features" (T, 198) and optionally "valid" (T, 2), "source"; T a multiple of
            frames_per_latent.
        config: of the tokenizer.
        training: of the run.
        val_clips: clips of which the reconstruction error is logged.
        joints_fn: features (B, T, 198) to joints (B, T, 2, J, 3) in metres, differentiable, joint 0 the
            wrist. Without it the joint losses are left out.
        mirror_fn: features (B, T, 198) to those of the mirrored motion, hands swapped. Needed for
            mirror_probability.
        checkpoint_dir: where the state is kept while training runs. If it holds one of the same configuration
            and data, training goes on from there. It is removed in the end.
        on_log: called with the step (from 1) and its metrics.

    Returns:
        the tokenizer, in eval mode on the training device, and the history: one dict per logged step.

    Raises:
        DataError: the clips do not fit.
        ConfigError: the settings do not fit together.
        ShiftTokenizerError: the loss is not finite, or the disk refuses a checkpoint.
    """
    run = _Run(clips, config or ShiftConfig(), training or TokenizerTraining(), joints_fn, mirror_fn)
    if val_clips:
        check_clips(val_clips, run.config.frames_per_latent)
    mark = run.fingerprint(clips) if checkpoint_dir is not None else ""
    if checkpoint_dir is not None:
        load_state(checkpoint_dir, run.state, mark)
    state, settings = run.state, run.training
    started, first = time.perf_counter(), state.step
    bar = progress_bar(settings.steps, state.step, "tokenizer")
    while state.step < settings.steps:
        losses = run.step()
        done, last = state.step, state.step == settings.steps
        bar.update(1)
        if done % settings.log_every == 0 or last:
            metrics = run.metrics(losses)
            metrics["seconds_per_step"] = (time.perf_counter() - started) / (done - first)
            if val_clips and (done % settings.validate_every == 0 or last):
                metrics |= evaluate_reconstruction(run.tokenizer, val_clips, joints_fn, prefix="val_")
            state.history.append({"step": done, **metrics})
            bar.set_postfix({"loss": f"{metrics['loss']:.3f}"})
            if on_log is not None:
                on_log(done, metrics)
        if checkpoint_dir is not None and done % settings.checkpoint_every == 0 and not last:
            save_state(checkpoint_dir, state, mark)
    bar.close()
    if checkpoint_dir is not None:
        remove_state(checkpoint_dir)
    return run.tokenizer.eval(), state.history


@dataclass(frozen=True)
class _Batch:
    """Windows: features and normalized (B, T, 198), valid (B, T, 2), mask (B, T), hands to work on (B, 2)."""

    features: Tensor
    normalized: Tensor
    valid: Tensor
    mask: Tensor
    hands: Tensor


class _Run:
    """The objects of one training run, and its step."""

    def __init__(
        self,
        clips: Sequence[Clip],
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
        self.config, self.training, self.joints_fn, self.mirror_fn = config, training, joints_fn, mirror_fn
        self.sampler = WindowSampler(
            clips,
            window=training.window,
            batch_size=training.batch_size,
            source_weights=training.source_weights,
            step=config.frames_per_latent,
        )
        self.device = _device(training.device)
        self.tokenizer = ShiftTokenizer(config, seed=training.seed)
        self.tokenizer.fit_normalisation(self.sampler.features, self.sampler.valid)
        self.tokenizer.to(self.device).train()
        optimizer = torch.optim.AdamW(
            self.tokenizer.parameters(),
            lr=training.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=training.weight_decay,
            fused=True,
        )
        generator = torch.Generator().manual_seed(training.seed)
        self.state = TrainingState(self.tokenizer, optimizer, generator, 0, [])

    def fingerprint(self, clips: Sequence[Clip]) -> str:
        """Hash of all that shapes the result."""
        settings = {k: v for k, v in self.training.to_dict().items() if k not in NO_INFLUENCE}
        return fingerprint(
            config=self.config.to_dict(),
            training=settings,
            data=hash_clips(clips),
            joints=self.joints_fn is not None,
            device=self.device.type,
        )

    def step(self) -> dict[str, Tensor]:
        """One optimizer step; returns its losses, detached."""
        state, batch = self.state, self._batch()
        if state.step == 0:
            self._initialise_codes(batch)
        output = self._forward(batch)
        losses = self._losses(output, batch)
        loss = float(losses["loss"].detach())
        if not math.isfinite(loss):
            raise ShiftTokenizerError(
                f"Step {state.step + 1}: expected a finite loss, got {loss}. Lower learning_rate, or check joints_fn."
            )
        for group in state.optimizer.param_groups:
            group["lr"] = self.learning_rate(state.step)
        state.optimizer.zero_grad()
        losses["loss"].backward()
        nn.utils.clip_grad_norm_(self.tokenizer.parameters(), self.training.gradient_clip)
        state.optimizer.step()
        self._update_codes(output, batch)
        state.step += 1
        return {name: value.detach() for name, value in losses.items()}

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
        features, valid, mask, hands = (x.to(self.device) for x in (features, valid, mask, hands))
        return _Batch(features, self.tokenizer.normalize(features), valid, mask, hands)

    def _forward(self, batch: _Batch) -> ShiftOutput:
        whole, every = bool(batch.mask.all()), bool(batch.hands.all())
        return self.tokenizer(batch.normalized, None if whole else batch.mask, None if every else batch.hands)

    def _losses(self, output: ShiftOutput, batch: _Batch) -> dict[str, Tensor]:
        settings, target = self.training, batch.normalized
        weights = torch.where(batch.valid, 1.0, settings.invalid_weight) * batch.mask[..., None]
        weights = weights * batch.hands[:, None]  # (B, T, 2)
        groups = reconstruction_losses(output.reconstruction, target, weights)
        losses = {
            "rotation": groups.rotation,
            "translation": groups.translation,
            "pose": groups.pose,
            "commitment": commitment_loss(output.sq_errors, self._own(batch), self.config.code_dim),
            "velocity": translation_velocity_loss(output.reconstruction, target, weights),
        }
        if self.joints_fn is not None and settings.joint_weight + settings.root_joint_weight > 0:
            decoded = self.tokenizer.denormalize(output.reconstruction)
            losses["joint"], losses["root_joint"] = joint_losses(decoded, batch.features, weights, self.joints_fn)
        total = torch.stack([getattr(settings, f"{name}_weight") * value for name, value in losses.items()]).sum()
        return {"loss": total, **losses}

    @torch.no_grad()
    def _initialise_codes(self, batch: _Batch) -> None:
        output, own, seen = self._forward(batch), self._own(batch), self._seen(batch)
        for stream, latents in zip(self.tokenizer.stream_list(), output.latents, strict=True):
            stream.quantizer.initialise(latents[seen if bool(seen.any()) else own], self.state.generator)

    @torch.no_grad()
    def _update_codes(self, output: ShiftOutput, batch: _Batch) -> None:
        own, seen = self._own(batch), self._seen(batch)
        for stream, z, index in zip(self.tokenizer.stream_list(), output.latents, output.indices, strict=True):
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


def _device(name: str) -> torch.device:
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
