"""The judge: names what a motion does from its joints alone; a second opinion beside the contrastive evaluator.

Design choices:

- It sees true joint positions in metres, never captions, tokens or features, and is no part of any training or
  choice: what it says of generated motion was not optimised.
- A temporal convolution over all frames; an answer depends on the motion alone, not on what it was batched with.
- One answer for every categorical attribute that a source's clips carry (``attribute_classes``): sources share the
  network, not the answers. What could not be learnt from the train split is marked by the val split (``learnt``).
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from hand_geometry import features_to_joints
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from clutch_llm.errors import ConfigError
from clutch_llm.evaluation.folders import fit_weights, load_folder, save_folder
from clutch_llm.evaluation.padding import padded_batches

FORMAT, FORMAT_VERSION = "clutch-judge", 1
N_COORDINATES = 126  # two hands of 21 joints
N_INPUTS = 2 * N_COORDINATES  # coordinates and their change from frame to frame
MIN_FRAMES = 4

Classes = Mapping[str, Mapping[str, Sequence[str]]]


@dataclass(frozen=True)
class JudgeConfig:
    """Sizes and training of the judge.

    Attributes:
        width: channels.
        dilations: of the residual convolutions, in order, in steps of two frames.
        steps: optimizer steps.
        batch_size: clips per step, of all sources.
        learning_rate: peak of a cosine schedule.
        weight_decay: of AdamW.
        dropout: before the answers.
        noise: standard deviation in metres of noise on each joint and frame, in training.
        offset: standard deviation in metres of one shift of each clip, in training.
        max_frames: longer motions are judged by their first frames.
        checkpoint_every: steps between saved states, when a folder is given.
    """

    width: int = 128
    dilations: tuple[int, ...] = (1, 2, 4)
    steps: int = 1000
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    dropout: float = 0.3
    noise: float = 0.001
    offset: float = 0.02
    max_frames: int = 256
    checkpoint_every: int = 200

    def __post_init__(self) -> None:
        object.__setattr__(self, "dilations", tuple(self.dilations))
        for name in ("width", "steps", "batch_size", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"Expected {name} of at least 1, got {getattr(self, name)}. Raise it.")
        if not self.dilations or min(self.dilations) < 1:
            raise ConfigError(f"Expected dilations of at least 1, got {self.dilations}. Give one or more.")
        if self.max_frames < MIN_FRAMES:
            raise ConfigError(f"Expected max_frames of at least {MIN_FRAMES}, got {self.max_frames}. Raise it.")
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(f"Expected dropout in [0, 1), got {self.dropout}. It is a probability.")
        for name in ("learning_rate", "weight_decay", "noise", "offset"):
            if getattr(self, name) < 0:
                raise ConfigError(f"Expected {name} of at least 0, got {getattr(self, name)}.")


def coordinates(joints: ArrayLike) -> NDArray[np.float32]:
    """Joints (T, 2, 21, 3) in metres -> (T, 126): both wrists, then the other joints relative to their wrist.

    The wrists are relative to the mean of the two in frame 0, so that a motion that was moved as a whole reads alike.
    """
    j = np.array(joints, dtype=np.float32)
    if j.ndim != 4 or j.shape[1:] != (2, 21, 3) or len(j) < MIN_FRAMES:
        raise ValueError(f"Expected joints of shape (T >= {MIN_FRAMES}, 2, 21, 3), got {j.shape}. Pass both hands.")
    if not np.isfinite(j).all():
        raise ValueError("Expected finite joints, got NaN or infinity. Fill unseen hands first (fill_unseen).")
    wrists = j[:, :, :1] - j[0, :, 0].mean(0)
    return np.concatenate([wrists, j[:, :, 1:] - j[:, :, :1]], 2).reshape(len(j), N_COORDINATES)


def with_changes(x: Tensor) -> Tensor:
    """Coordinates (..., T, 126) and their change since the frame before (0 in the first): (..., T, 252)."""
    return torch.cat([x, F.pad(x[..., 1:, :] - x[..., :-1, :], (0, 0, 1, 0))], -1)


class _Block(nn.Module):
    """A residual convolution over time that keeps what is past the end at zero."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, width, 5, padding=2 * dilation, dilation=dilation)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """States (B, T, C), mask (B, T, 1)."""
        h = F.gelu(self.norm(x)) * mask
        return (x + self.conv(h.transpose(1, 2)).transpose(1, 2)) * mask


class Judge(nn.Module):
    """Names the attributes of motions; built by ``train_judge`` or ``from_pretrained``.

    Args:
        config: sizes.
        classes: for each source and attribute the values that it can answer.
        seed: of its training.
        data_hash: of the data that it was trained on.
        reliability: for each source and attribute what it reached on the val split (``train_judge``).
    """

    mean: Tensor
    std: Tensor
    filler: Tensor

    def __init__(
        self,
        config: JudgeConfig,
        classes: Classes,
        *,
        seed: int | None = None,
        data_hash: str = "",
        reliability: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
    ) -> None:
        super().__init__()
        self.config, self.seed, self.data_hash = config, seed, data_hash
        self.classes = {s: {a: list(v) for a, v in own.items()} for s, own in classes.items()}
        self.reliability = {s: {a: dict(v) for a, v in own.items()} for s, own in (reliability or {}).items()}
        self.enter = nn.Conv1d(N_INPUTS, config.width, 5, stride=2, padding=2)
        self.blocks = nn.ModuleList([_Block(config.width, d) for d in config.dilations])
        self.norm = nn.LayerNorm(3 * config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.answers = [(s, a) for s, own in self.classes.items() for a in own]
        self.heads = nn.ModuleList([nn.Linear(3 * config.width, len(self.classes[s][a])) for s, a in self.answers])
        self.register_buffer("mean", torch.zeros(N_INPUTS))
        self.register_buffer("std", torch.ones(N_INPUTS))
        self.register_buffer("filler", torch.zeros(198))  # features that stand for a hand that is never seen

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.mean.device

    def learnt(self, source: str, attribute: str) -> bool:
        """Whether the val split shows that the attribute can be told from joints; True where nothing was measured."""
        return bool(self.reliability.get(source, {}).get(attribute, {}).get("learnt", True))

    def forward(self, x: Tensor, lengths: Tensor) -> list[Tensor]:
        """Coordinates (B, T, 126) and lengths (B,) -> the logits of each of ``answers``, (B, classes)."""
        inside = (torch.arange(x.shape[1], device=x.device)[None] < lengths[:, None])[..., None]
        x = ((with_changes(x) - self.mean) / self.std).masked_fill(~inside, 0.0)
        h = self.enter(x.transpose(1, 2)).transpose(1, 2)
        mask = inside[:, ::2]
        h = h * mask
        for block in self.blocks:
            h = block(h, mask)
        total = h.sum(1)
        pooled = [total / mask.sum(1), h.masked_fill(~mask, -1e4).amax(1), total / 32.0]  # a sum can count
        states = self.dropout(F.gelu(self.norm(torch.cat(pooled, -1))))
        return [head(states) for head in self.heads]

    @torch.no_grad()
    def name(self, joints: Sequence[ArrayLike], source: str, *, batch_size: int = 128) -> dict[str, list[str]]:
        """The judge's answers for motions of one source.

        Args:
            joints: N motions, joints (T_i, 2, 21, 3) in metres, T_i at least 4.
            source: whose attributes are asked for.
            batch_size: motions at a time, neighbours in length.

        Returns:
            For each attribute of the source N values as text; empty for a source without attributes.

        Raises:
            ValueError: for another shape or a motion that is not finite.
        """
        wanted = [k for k, (s, _) in enumerate(self.answers) if s == source]
        if not wanted:
            return {}
        clips = [torch.from_numpy(coordinates(j)[: self.config.max_frames]) for j in joints]
        found = {self.answers[k][1]: [""] * len(clips) for k in wanted}
        was_training = self.training
        self.eval()
        for picks, x, lengths in padded_batches(clips, batch_size, self.device):
            logits = self(x, lengths)
            for k in wanted:
                attribute = self.answers[k][1]
                for i, answer in zip(picks, logits[k].argmax(-1).tolist(), strict=True):
                    found[attribute][i] = self.classes[source][attribute][answer]
        self.train(was_training)
        return found

    def name_features(self, motions: Sequence[ArrayLike], source: str) -> dict[str, list[str]]:
        """``name`` for features (T_i, 198)."""
        return self.name(joints_of(motions), source)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write ``config.json`` and ``model.safetensors``; each file appears whole or not at all."""
        record = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "config": dataclasses.asdict(self.config),
            "classes": self.classes,
            "reliability": self.reliability,
            "seed": self.seed,
            "data_hash": self.data_hash,
        }
        save_folder(folder, record, self)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str]) -> Judge:
        """Load what ``save_pretrained`` wrote, in evaluation mode.

        Raises:
            FileNotFoundError: if a file is missing.
            ValueError: if the folder holds something else, another version, or a damaged file.
        """
        record, weights = load_folder(folder, FORMAT, (FORMAT_VERSION,))
        judge = cls(
            JudgeConfig(**record["config"]),
            record["classes"],
            seed=record["seed"],
            data_hash=record["data_hash"],
            reliability=record["reliability"],
        )
        fit_weights(judge, weights, folder)
        return judge.eval()


@torch.no_grad()
def joints_of(motions: Sequence[ArrayLike]) -> list[NDArray[np.float32]]:
    """Joints (T_i, 2, 21, 3) in metres of features (T_i, 198)."""
    if not len(motions):
        return []
    frames = [torch.as_tensor(np.asarray(m, dtype=np.float32)) for m in motions]
    joints = features_to_joints(torch.cat(frames)).split([len(f) for f in frames])
    return [np.asarray(j, dtype=np.float32) for j in joints]
