"""Geometric refinement: the motion that the model would write is drawn, decoded and compared in motion space.

CLUTCH trains ``L = alpha * L_LM + lambda * L_rec``. Cross-entropy calls every wrong code equally wrong; in motion
space a neighbouring code is nearly right. So codes are drawn from the teacher-forced distributions with
Gumbel-softmax, each slot over its own codebook, decoded by the frozen SHIFT decoder, and the decoded motion is
compared with the true one: smooth-L1 on normalised features, joint positions and joint velocities. The gradient runs
from the motion through the decoder and the drawn codes into the language model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from shift_tokenizer import ShiftTokenizer

from clutch_llm.corpus import Clip

#: features (…, T, 198) -> joints (…, T, 2, 21, 3) in metres; `hand_geometry.features_to_joints`.
JointsFn = Callable[[torch.Tensor], torch.Tensor]

#: A joint that is off by this many metres counts like a normalised feature that is off by one.
JOINT_SCALE = 0.05
#: And so does a joint that moves by this many metres too much from one frame to the next.
VELOCITY_SCALE = 0.01


@dataclass
class TrueMotion:
    """The motions of a batch, edge-padded to the longest: features (B, T, 198) and valid (B, T, 2)."""

    features: torch.Tensor
    valid: torch.Tensor

    @classmethod
    def of(cls, examples: Sequence[Clip]) -> TrueMotion:
        """Collect the motions of examples; padding repeats the last frame and is not valid."""
        frames = max(len(e["features"]) for e in examples)
        features = np.empty((len(examples), frames, examples[0]["features"].shape[1]), dtype=np.float32)
        valid = np.zeros((len(examples), frames, 2), dtype=bool)
        for k, example in enumerate(examples):
            T = len(example["features"])
            features[k, :T], features[k, T:] = example["features"], example["features"][-1]
            valid[k, :T] = example["valid"]
        return cls(torch.from_numpy(features), torch.from_numpy(valid))

    def to(self, device: torch.device) -> TrueMotion:
        """The same motions on a device."""
        return TrueMotion(self.features.to(device), self.valid.to(device))


def draw_codes(slot_logits: torch.Tensor, temperature: float, *, hard: bool) -> torch.Tensor:
    """Gumbel-softmax over each slot's codebook: (B, L, n_slots, K) -> distributions of the same shape.

    Hard samples are one-hot forward and have the soft sample's gradient (straight-through).
    Noise comes from torch's seeded global generator, as dropout's does.
    """
    return F.gumbel_softmax(slot_logits, tau=temperature, hard=hard, dim=-1)


def pad_steps(p: torch.Tensor, step_mask: torch.Tensor) -> torch.Tensor:
    """Repeat each motion's last step over its padding: p (B, L, n_slots, K), step_mask (B, L)."""
    last = step_mask.sum(1).clamp(min=1) - 1
    index = torch.minimum(torch.arange(p.shape[1], device=p.device)[None], last[:, None])
    return p[torch.arange(len(p), device=p.device)[:, None], index]


def reconstruction_loss(
    decoded: torch.Tensor,
    truth: TrueMotion,
    tokenizer: ShiftTokenizer,
    *,
    joints_fn: JointsFn | None = None,
    joint_weight: float = 1.0,
    velocity_weight: float = 1.0,
) -> torch.Tensor:
    """Distance of decoded from true motion over valid frames, every motion counting alike: a scalar.

    Args:
        decoded: decoded features (B, T, 198).
        truth: the true motions, same T.
        tokenizer: gives the normalisation.
        joints_fn: forward kinematics; without it, features alone count.
        joint_weight: weight of the joint positions.
        velocity_weight: weight of the joints' frame-to-frame movement, which is where drawn codes that do not fit
            their neighbours show.
    """
    pair = tokenizer.normalize(decoded), tokenizer.normalize(truth.features)
    apart = F.smooth_l1_loss(*pair, reduction="none").unflatten(-1, (2, -1)).mean(-1)  # (B, T, 2)
    loss = _valid_mean(apart, truth.valid)
    if joints_fn is None or not (joint_weight or velocity_weight):
        return loss
    with torch.no_grad():
        true_joints = joints_fn(truth.features)
    error = joints_fn(decoded) - true_joints  # (B, T, 2, 21, 3)
    moving = error[:, 1:] - error[:, :-1]
    joints = _valid_mean(_smooth_l1(error / JOINT_SCALE), truth.valid)
    velocity = _valid_mean(_smooth_l1(moving / VELOCITY_SCALE), truth.valid[:, 1:] & truth.valid[:, :-1])
    return loss + joint_weight * joints + velocity_weight * velocity


def _smooth_l1(error: torch.Tensor) -> torch.Tensor:
    """Mean over joints and axes: (…, 21, 3) -> (…)."""
    return F.smooth_l1_loss(error, torch.zeros_like(error), reduction="none").mean((-1, -2))


def _valid_mean(values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Mean over each motion's valid frames, then over motions, so that short ones count like long ones: (B, T, 2)."""
    frames = valid.sum((1, 2))
    means = (values * valid).sum((1, 2)) / frames.clamp(min=1)
    return means.sum() / (frames > 0).sum().clamp(min=1)


def refinement_loss(
    slot_logits: torch.Tensor,
    step_mask: torch.Tensor,
    truth: TrueMotion,
    tokenizer: ShiftTokenizer,
    *,
    temperature: float,
    hard: bool = True,
    joints_fn: JointsFn | None = None,
    joint_weight: float = 1.0,
    velocity_weight: float = 1.0,
) -> torch.Tensor:
    """``L_rec`` of the motions that the logits would draw: (B, L, n_slots, K) -> a scalar with gradient."""
    drawn = pad_steps(draw_codes(slot_logits, temperature, hard=hard), step_mask)
    decoded = tokenizer.decode_probabilities(drawn)
    weights = {"joint_weight": joint_weight, "velocity_weight": velocity_weight}
    return reconstruction_loss(decoded, truth, tokenizer, joints_fn=joints_fn, **weights)
