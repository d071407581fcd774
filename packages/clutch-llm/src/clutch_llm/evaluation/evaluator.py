"""The evaluator: two small encoders that put a caption and its motion at the same place on a unit sphere.

Design choices:

- Motion: masked convolutions (time / 4) and a bidirectional GRU over all 198 features. An embedding depends
  on the clip alone, never on what it was batched with.
- The encoder sees features and length, no validity: truth and generated motion are looked at alike.
- Text: the evaluator's own word vocabulary and a bidirectional GRU. Nothing is downloaded.
- An auxiliary head classifies the attributes that clips carry (letter, action family, hand, speed, ...); it
  only helps training.

Shape after Guo et al. 2022 (movement convolution and bi-GRU; text bi-GRU), trained with InfoNCE instead of a
margin.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from clutch_llm.errors import ConfigError
from clutch_llm.evaluation.folders import fit_weights, load_folder, save_folder
from clutch_llm.evaluation.grouping import Clip
from clutch_llm.evaluation.padding import padded_batches
from clutch_llm.evaluation.unseen import filled
from clutch_llm.evaluation.vocabulary import WordVocabulary

N_FEATURES = 198
FORMAT, FORMAT_VERSION = "clutch-evaluator", 2


@dataclass(frozen=True)
class EvaluatorConfig:
    """Sizes and training of the evaluator.

    Attributes:
        width: channels of the motion convolutions.
        hidden: units of each GRU direction.
        embedding: dimensions of the shared space.
        word_width: dimensions of a word vector.
        steps: optimizer steps.
        batch_size: pairs per step, all of one source, so that the negatives are hard.
        learning_rate: peak of a cosine schedule.
        weight_decay: of AdamW.
        source_weights: probability of drawing a batch from each source; None weighs all equally.
        attribute_weight: weight of the auxiliary classification; 0 turns it off.
        max_frames: longer clips are cropped at random in training.
        mirror: probability of mirroring a clip, with left and right swapped in its words.
        drop_frames: largest share of frames dropped from a clip.
        noise: standard deviation of noise on each frame, in normalised features.
        offset: standard deviation of one offset per clip, in normalised features.
        drop_words: probability of hiding a word.
        min_count: words rarer than this become unknown.
        checkpoint_every: steps between saved states, when a folder is given.
    """

    width: int = 128
    hidden: int = 96
    embedding: int = 128
    word_width: int = 96
    steps: int = 500
    batch_size: int = 64
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.02
    source_weights: Mapping[str, float] | None = None
    attribute_weight: float = 0.3
    max_frames: int = 64
    mirror: float = 0.3
    drop_frames: float = 0.15
    noise: float = 0.1
    offset: float = 0.2
    drop_words: float = 0.05
    min_count: int = 1
    checkpoint_every: int = 200

    def __post_init__(self) -> None:
        for name in ("width", "hidden", "embedding", "word_width", "steps", "min_count", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"Expected {name} of at least 1, got {getattr(self, name)}. Raise it.")
        if self.batch_size < 2:
            raise ConfigError(f"Expected batch_size of at least 2, got {self.batch_size}. Contrast needs two pairs.")
        if self.max_frames < 4:
            raise ConfigError(f"Expected max_frames of at least 4, got {self.max_frames}. One latent step is 4 frames.")
        for name in ("mirror", "drop_frames", "drop_words"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"Expected {name} in [0, 1], got {getattr(self, name)}. It is a probability.")
        for name in ("learning_rate", "weight_decay", "attribute_weight", "noise", "offset"):
            if getattr(self, name) < 0:
                raise ConfigError(f"Expected {name} of at least 0, got {getattr(self, name)}.")


def _pool(states: Tensor, mask: Tensor) -> Tensor:
    """Mean and maximum over the valid steps: states (B, T, C), mask (B, T) bool -> (B, 2 C)."""
    m = mask[..., None]
    mean = (states * m).sum(1) / m.sum(1).clamp(min=1)
    return torch.cat([mean, states.masked_fill(~m, -1e4).amax(1)], dim=-1)


def _gru(gru: nn.GRU, x: Tensor, lengths: Tensor) -> Tensor:
    packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
    states, _ = pad_packed_sequence(gru(packed)[0], batch_first=True, total_length=x.shape[1])
    return states


def _steps_mask(lengths: Tensor, steps: int) -> Tensor:
    return torch.arange(steps, device=lengths.device)[None] < lengths[:, None]


class HalvingConv(nn.Linear):
    """Convolution over time of width 4 and stride 2, as one matrix product: (B, T, C) -> (B, T // 2, D).

    On a CPU this is twice as fast as ``nn.Conv1d`` at these sizes, backwards above all.
    """

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(4 * channels, out)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return super().forward(F.pad(x, (0, 0, 1, 1)).unfold(1, 4, 2).flatten(2))


class MotionEncoder(nn.Module):
    """Normalised features (B, T, 198) and lengths (B,) -> (B, E), not on the sphere yet; T at least 4."""

    def __init__(self, config: EvaluatorConfig) -> None:
        super().__init__()
        w = config.width
        self.convs = nn.ModuleList([HalvingConv(N_FEATURES, w), HalvingConv(w, w)])
        self.gru = nn.GRU(w, config.hidden, batch_first=True, bidirectional=True)
        self.head = nn.Sequential(
            nn.Linear(4 * config.hidden, 2 * config.hidden),
            nn.GELU(),
            nn.Linear(2 * config.hidden, config.embedding),
        )

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """See the class."""
        h, n = x, lengths
        for conv in self.convs:
            h = F.gelu(conv(h * _steps_mask(n, h.shape[1])[..., None]))
            n = n // 2
        return self.head(_pool(_gru(self.gru, h, n), _steps_mask(n, h.shape[1])))


class TextEncoder(nn.Module):
    """Word ids (B, W), 0 where padded -> (B, E), not yet on the sphere."""

    def __init__(self, config: EvaluatorConfig, n_words: int) -> None:
        super().__init__()
        self.words = nn.Embedding(n_words, config.word_width, padding_idx=0)
        self.gru = nn.GRU(config.word_width, config.hidden, batch_first=True, bidirectional=True)
        self.head = nn.Linear(4 * config.hidden, config.embedding)

    def forward(self, ids: Tensor) -> Tensor:
        """See the class."""
        mask = ids != 0
        return self.head(_pool(_gru(self.gru, self.words(ids), mask.sum(1)), mask))


class Evaluator(nn.Module):
    """Embeds captions and motions side by side; built by ``train_evaluator`` or ``from_pretrained``.

    Args:
        config: sizes.
        words: the vocabulary's words in order.
        attributes: classes of each auxiliary attribute, by name.
        seed: of its training.
        data_hash: of the data that it was trained on.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        config: EvaluatorConfig,
        words: Sequence[str],
        attributes: Mapping[str, Sequence[str]] | None = None,
        *,
        seed: int | None = None,
        data_hash: str = "",
    ) -> None:
        super().__init__()
        self.config, self.seed, self.data_hash = config, seed, data_hash
        self.vocabulary = WordVocabulary(words)
        self.attributes = {name: list(classes) for name, classes in (attributes or {}).items()}
        self.motion = MotionEncoder(config)
        self.text = TextEncoder(config, len(self.vocabulary))
        self.heads = nn.ModuleDict(
            {str(i): nn.Linear(config.embedding, len(c)) for i, c in enumerate(self.attributes.values())}
        )
        self.log_scale = nn.Parameter(torch.tensor(2.6))
        self.register_buffer("mean", torch.zeros(N_FEATURES))
        self.register_buffer("std", torch.ones(N_FEATURES))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.mean.device

    def normalize(self, features: Tensor) -> Tensor:
        """Features (..., 198) to zero mean and unit deviation over the training clips."""
        return (features - self.mean) / self.std

    @torch.no_grad()
    def embed_motions(
        self, motions: Sequence[NDArray[np.float32] | Tensor], *, batch_size: int = 128
    ) -> NDArray[np.float32]:
        """Motions to unit vectors.

        Args:
            motions: N arrays of features (T_i, 198), T_i at least 4.
            batch_size: motions at a time, neighbours in length.

        Returns:
            (N, E) float32 of norm 1.

        Raises:
            ValueError: for another shape or a motion that is not finite.
        """
        clips = [torch.as_tensor(np.asarray(m, dtype=np.float32)) for m in motions]
        for i, clip in enumerate(clips):
            if clip.ndim != 2 or clip.shape[1] != N_FEATURES or len(clip) < 4:
                raise ValueError(
                    f"Expected motion {i} of shape (T >= 4, {N_FEATURES}), got {tuple(clip.shape)}. Pass features."
                )
            if not torch.isfinite(clip).all():
                raise ValueError(
                    f"Expected finite features, got NaN or infinity in motion {i}. Drop it or mend it first."
                )
        out = np.zeros((len(clips), self.config.embedding), np.float32)
        was_training = self.training
        self.eval()
        for picks, x, lengths in padded_batches(clips, batch_size, self.device):
            out[picks] = F.normalize(self.motion(self.normalize(x), lengths), dim=-1).cpu().numpy()
        self.train(was_training)
        return out

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str], *, batch_size: int = 256) -> NDArray[np.float32]:
        """Captions to unit vectors (N, E) float32; equal captions get equal vectors, to the bit."""
        unique = list(dict.fromkeys(texts))
        where = {text: i for i, text in enumerate(unique)}
        out = np.zeros((len(unique), self.config.embedding), np.float32)
        was_training = self.training
        self.eval()
        for start in range(0, len(unique), batch_size):
            ids = self.vocabulary.encode(unique[start : start + batch_size]).to(self.device)
            out[start : start + len(ids)] = F.normalize(self.text(ids), dim=-1).cpu().numpy()
        self.train(was_training)
        return out[[where[text] for text in texts]]

    def embed_clips(self, clips: Sequence[Clip]) -> NDArray[np.float32]:
        """``embed_motions`` of clips; what stands in the frames of unseen hands changes nothing."""
        return self.embed_motions(filled(clips, self.mean.cpu().numpy()))

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write ``config.json`` and ``model.safetensors``; each file appears whole or not at all."""
        record = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "config": dataclasses.asdict(self.config),
            "words": self.vocabulary.words,
            "attributes": self.attributes,
            "seed": self.seed,
            "data_hash": self.data_hash,
        }
        save_folder(folder, record, self)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str]) -> Evaluator:
        """Load what ``save_pretrained`` wrote, in evaluation mode; version 1 did not know its seed and data.

        Raises:
            FileNotFoundError: if a file is missing.
            ValueError: if the folder holds something else, another version, or a damaged file.
        """
        record, weights = load_folder(folder, FORMAT, (1, FORMAT_VERSION))
        evaluator = cls(
            EvaluatorConfig(**record["config"]),
            record["words"],
            record["attributes"],
            seed=record.get("seed"),
            data_hash=record.get("data_hash", ""),
        )
        fit_weights(evaluator, weights, folder)
        return evaluator.eval()
