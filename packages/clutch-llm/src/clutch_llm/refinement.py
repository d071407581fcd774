"""Geometric refinement: the motion that the model would write is drawn, decoded and compared in motion space.

CLUTCH trains ``L = alpha * L_LM + lambda * L_rec``. Cross-entropy calls every wrong code equally wrong; in motion
space a neighbouring code is nearly right. So codes are drawn from the teacher-forced distributions with
Gumbel-softmax, each slot over its own codebook, decoded by the frozen SHIFT decoder, and the decoded motion is
compared with the true one: smooth-L1 on normalised features, joint positions and joint velocities. The gradient runs
from the motion through the decoder and the drawn codes into the language model.

Two rivals share the code (`RefineConfig.relaxation`): the decoded mixture of codes by their probabilities, and the
regression of each slot's expected code vector, which decodes nothing.

Motions of a batch are decoded under the mask of their own steps, so that each is the motion that generation would
decode from its codes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from shift_tokenizer import ShiftTokenizer

from clutch_llm.clips import FEATURES, Clip, Example

#: features (…, T, 198) -> joints (…, T, 2, 21, 3) in metres; `hand_geometry.features_to_joints`.
JointsFn = Callable[[torch.Tensor], torch.Tensor]

#: Metres. A joint that is off by as much counts like a normalised feature that is off by one: about the absolute joint
#: error of a small model after cross-entropy alone, so that smooth-L1 turns from quadratic to linear there.
JOINT_SCALE = 0.05
#: Metres a frame. A joint that moves too far by as much from one frame to the next counts alike: about twice what
#: joints of true motion move.
VELOCITY_SCALE = 0.01


@dataclass
class TrueMotion:
    """The motions of a batch, padded to the longest: features (B, T, 198) and valid (B, T, 2)."""

    features: torch.Tensor
    valid: torch.Tensor

    @classmethod
    def of(cls, examples: Sequence[Clip], frames: int | None = None) -> TrueMotion:
        """Collect the first ``frames`` of each motion (None: of the longest); padding is zero and not valid."""
        frames = frames or max(len(e["features"]) for e in examples)
        features = np.zeros((len(examples), frames, FEATURES), dtype=np.float32)
        valid = np.zeros((len(examples), frames, 2), dtype=bool)
        for k, example in enumerate(examples):
            T = min(len(example["features"]), frames)
            features[k, :T], valid[k, :T] = np.asarray(example["features"])[:T], example["valid"][:T]
        return cls(torch.from_numpy(features), torch.from_numpy(valid))

    def to(self, device: torch.device) -> TrueMotion:
        """The same motions on a device."""
        return TrueMotion(self.features.to(device), self.valid.to(device))

    def where_seen(self, decoded: torch.Tensor) -> torch.Tensor:
        """The true features, and where a hand is not seen those that were decoded: no error there, and no NaN."""
        seen = self.valid[..., None].expand(*self.valid.shape, decoded.shape[-1] // 2).flatten(-2)
        return torch.where(seen, self.features, decoded.detach())


def gumbel_noise(seeds: Sequence[int], step_mask: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Standard Gumbel noise (B, L, n_slots, K), each motion's from a seed of its own; zero on padding.

    A motion's noise depends on its seed and length alone, so that it is drawn alike in any batch.

    Args:
        seeds: B of them.
        step_mask: (B, L) bool, true on each motion's own steps.
        shape: (n_slots, K).
    """
    noise = torch.zeros(*step_mask.shape, *shape, device=step_mask.device)
    generator = torch.Generator(step_mask.device)
    for k, (seed, length) in enumerate(zip(seeds, step_mask.sum(1).tolist(), strict=True)):
        own = torch.empty(length, *shape, device=noise.device).exponential_(generator=generator.manual_seed(seed))
        noise[k, :length] = -own.log()
    return noise


def draw_codes(slot_logits: torch.Tensor, noise: torch.Tensor, temperature: float, *, hard: bool) -> torch.Tensor:
    """Gumbel-softmax over each slot's codebook: (B, L, n_slots, K) -> distributions of the same shape.

    Jang et al. 2017, with the noise given (`gumbel_noise`). Hard samples are one-hot forward and have the soft sample's
    gradient (straight-through).
    """
    soft = ((slot_logits + noise) / temperature).softmax(-1)
    if not hard:
        return soft
    one_hot = F.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft.dtype)
    return one_hot - soft.detach() + soft


def motion_distances(
    decoded: torch.Tensor,
    truth: TrueMotion,
    tokenizer: ShiftTokenizer,
    *,
    joints_fn: JointsFn | None = None,
    joint_weight: float = 1.0,
    velocity_weight: float = 1.0,
) -> torch.Tensor:
    """Distance of each decoded motion from its true one, over the frames in which a hand is seen: (B,).

    Args:
        decoded: decoded features (B, T, 198).
        truth: the true motions, same T.
        tokenizer: gives the normalisation.
        joints_fn: forward kinematics; without it, features alone count.
        joint_weight: weight of the joint positions.
        velocity_weight: weight of the joints' frame-to-frame movement, which is where drawn codes that do not fit
            their neighbours show.

    Returns:
        smooth-L1 of normalised features, of joints over `JOINT_SCALE` and of velocities over `VELOCITY_SCALE`, each a
        mean over the motion's seen hand-frames and weighted; 0 for a motion in which no hand is seen.
    """
    true_features = truth.where_seen(decoded)
    pair = tokenizer.normalize(decoded), tokenizer.normalize(true_features)
    apart = F.smooth_l1_loss(*pair, reduction="none").unflatten(-1, (2, -1)).mean(-1)  # (B, T, 2)
    loss = _seen_mean(apart, truth.valid)
    if joints_fn is None or not (joint_weight or velocity_weight):
        return loss
    with torch.no_grad():
        true_joints = joints_fn(true_features)
    error = joints_fn(decoded) - true_joints  # (B, T, 2, 21, 3)
    moving = error[:, 1:] - error[:, :-1]
    joints = _seen_mean(_smooth_l1(error / JOINT_SCALE), truth.valid)
    velocity = _seen_mean(_smooth_l1(moving / VELOCITY_SCALE), truth.valid[:, 1:] & truth.valid[:, :-1])
    return loss + joint_weight * joints + velocity_weight * velocity


def _smooth_l1(error: torch.Tensor) -> torch.Tensor:
    """Mean over joints and axes: (…, 21, 3) -> (…)."""
    return F.smooth_l1_loss(error, torch.zeros_like(error), reduction="none").mean((-1, -2))


def _seen_mean(values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Mean over each motion's seen hand-frames, 0 where there are none: (B, T, 2) -> (B,)."""
    return (values * valid).sum((1, 2)) / valid.sum((1, 2)).clamp(min=1)


def refinement_distances(
    slot_logits: torch.Tensor,
    step_mask: torch.Tensor,
    noise: torch.Tensor,
    truth: TrueMotion,
    tokenizer: ShiftTokenizer,
    *,
    temperature: float,
    hard: bool = True,
    relaxation: str = "gumbel",
    joints_fn: JointsFn | None = None,
    joint_weight: float = 1.0,
    velocity_weight: float = 1.0,
) -> torch.Tensor:
    """``L_rec`` of each motion that the logits would draw: (B, L, n_slots, K) -> (B,) with gradient.

    ``step_mask`` (B, L) is true on each motion's own steps, which are those that are compared: a target may be the
    beginning of its motion. With the relaxation "soft" the codes are mixed, and noise and ``hard`` have no say. The
    rest is as in `draw_codes` and `motion_distances`.
    """
    if relaxation == "soft":
        drawn = (slot_logits / temperature).softmax(-1)
    else:
        drawn = draw_codes(slot_logits, noise, temperature, hard=hard)
    decoded = tokenizer.decode_probabilities(drawn, step_mask)
    asked = step_mask.repeat_interleave(tokenizer.config.frames_per_latent, 1)[..., None]
    truth = TrueMotion(truth.features, truth.valid & asked)
    weights = {"joint_weight": joint_weight, "velocity_weight": velocity_weight}
    return motion_distances(decoded, truth, tokenizer, joints_fn=joints_fn, **weights)


def code_distances(
    slot_logits: torch.Tensor, step_mask: torch.Tensor, clips: Sequence[Example], tokenizer: ShiftTokenizer
) -> torch.Tensor:
    """Distance of the code vectors that the logits expect from those of the true codes: (B, L, n_slots, K) -> (B,).

    Returns:
        The mean over each motion's steps and slots of the squared distance, as a share of the codebook's variance: 0
        for logits that are sure of every code, about 1 for those that know nothing.
    """
    shift = tokenizer.config
    codebooks = tokenizer.codebooks().detach().to(slot_logits.dtype)
    variance = (codebooks - codebooks.mean(1, keepdim=True)).square().sum(-1).mean(1)  # (n_codebooks,)
    true = torch.zeros(*step_mask.shape, shift.n_slots, dtype=torch.int64)
    for k, clip in enumerate(clips):
        steps = min(len(clip["tokens"]), true.shape[1])
        true[k, :steps] = torch.from_numpy(np.ascontiguousarray(clip["tokens"][:steps], dtype=np.int64))
    true = true.to(slot_logits.device)
    apart = []
    for slot, book in enumerate(shift.slot_codebook):
        expected = slot_logits[:, :, slot].softmax(-1) @ codebooks[book]  # (B, L, D)
        apart.append((expected - codebooks[book][true[:, :, slot]]).square().sum(-1) / variance[book].clamp(min=1e-12))
    mean = torch.stack(apart).mean(0)  # (B, L)
    return (mean * step_mask).sum(1) / step_mask.sum(1).clamp(min=1)
