"""The front door: one object that turns text into two-hand motion and motion into text."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from shift_tokenizer import ShiftTokenizer

from clutch_llm import prompts
from clutch_llm.backbone import load_t5, new_t5, seed_motion_embeddings, t5_config
from clutch_llm.config import ClutchConfig
from clutch_llm.errors import ConfigError, DataError
from clutch_llm.files import load_parts, save_clutch
from clutch_llm.generation import Sampling, generate_free, generate_motion, generate_text
from clutch_llm.model import ClutchModel
from clutch_llm.prompts import Prompt, PromptBuilder
from clutch_llm.vocabulary import Vocabulary, well_formed

logger = logging.getLogger(__name__)

#: Rows decoded side by side.
CHUNK = 256


class Motion(TypedDict):
    """A generated motion: features (T, 198) float32, tokens (L, n_slots) int64, frames a second."""

    features: np.ndarray
    tokens: np.ndarray
    fps: float


@dataclass
class Clutch:
    """A language model over text and hand motion, with the motion tokenizer it speaks through.

    Attributes:
        config: sizes of the language model.
        vocabulary: text and motion tokens.
        model: the language model.
        tokenizer: the SHIFT motion tokenizer.
        stages: the training stages it went through.
    """

    config: ClutchConfig
    vocabulary: Vocabulary
    model: ClutchModel
    tokenizer: ShiftTokenizer
    stages: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def create(
        cls, config: ClutchConfig, *, tokenizer: ShiftTokenizer, captions: Sequence[str] = (), seed: int = 0
    ) -> Clutch:
        """A fresh model: untrained, or from the T5 that ``config.base_model`` names.

        Args:
            config: sizes, or the T5 to start from.
            tokenizer: the trained motion tokenizer; its codebooks start the motion tokens' embeddings.
            captions: what the text tokenizer is trained on, when the model has none to take over.
            seed: seed of the weights that start at random.
        """
        shape: dict[str, Any] = {
            "codebook_size": tokenizer.config.codebook_size,
            "slot_codebook": tokenizer.config.slot_codebook,
        }
        generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            if config.base_model is None:
                texts = [*captions, *prompts.all_templates()]
                vocabulary = Vocabulary.train(texts, size=config.text_vocabulary, **shape)
                t5 = new_t5(t5_config(config, vocabulary.layout), light=True)
            else:
                vocabulary = Vocabulary.from_pretrained_text(config.base_model, **shape)
                t5 = load_t5(config.base_model, config, vocabulary.layout)
        seed_motion_embeddings(t5, tokenizer.codebooks().detach().cpu(), vocabulary.layout, generator)
        model = ClutchModel(t5, vocabulary.layout, config.max_steps)
        model.reset_position_embeddings(generator)
        if config.base_model is None:
            model.open_pooled_prompt(generator)
        return cls(config, vocabulary, model.eval(), tokenizer.eval())

    def to(self, device: torch.device | str) -> Clutch:
        """Move model and tokenizer to a device, in position."""
        self.model.to(device)
        self.tokenizer.to(device)
        return self

    @property
    def n_parameters(self) -> int:
        """Parameters of the language model, the tied ones once."""
        return sum(p.numel() for p in self.model.parameters())

    def well_formed(self, ids: Sequence[int] | np.ndarray) -> bool:
        """Whether ids are one motion under the slot grammar, see `vocabulary.well_formed`."""
        return well_formed(ids, self.vocabulary.layout)

    def generate(
        self,
        texts: Sequence[str] | str,
        seconds: float | None = None,
        *,
        samples: int = 1,
        seed: int = 0,
        temperature: float = 1.0,
        top_k: int | None = None,
        greedy: bool = False,
        guidance: float = 1.0,
    ) -> list[list[Motion]]:
        """Generate motions for texts; every one is well-formed, and the same arguments give the same motions.

        Args:
            texts: what the hands should do.
            seconds: exact length, rounded to a whole latent step; None lets the model decide.
            samples: motions for each text.
            seed: seed of the sampling.
            temperature: below 1 safer, above 1 more varied.
            top_k: draw each token among the k likeliest alone.
            greedy: the likeliest token each time; all samples of a text are then alike.
            guidance: classifier-free guidance, 1 for none; above 1 follows the text more closely, at twice the time.

        Returns:
            For each text, ``samples`` motions.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        if samples < 1:
            raise ConfigError(f"Expected at least 1 sample, got {samples}.")
        builder = PromptBuilder(self.vocabulary)
        rows = [builder.t2m(_checked(text)) for text in texts for _ in range(samples)]
        tokens = self._draw(
            rows,
            steps=None if seconds is None else self._steps(seconds),
            generator=torch.Generator(self.model.device).manual_seed(seed),
            sampling=Sampling(temperature, top_k, greedy, guidance),
            unconditional=builder.t2m(None),
        )
        motions = self.decode(tokens)
        return [motions[k * samples : (k + 1) * samples] for k in range(len(texts))]

    def _draw(self, rows: list[Prompt], **how: Any) -> list[np.ndarray]:
        order = sorted(range(len(rows)), key=lambda k: len(rows[k][0]))  # like lengths together: little padding
        tokens: list[np.ndarray | None] = [None] * len(rows)
        for start in range(0, len(rows), CHUNK):
            chunk = order[start : start + CHUNK]
            for k, row in zip(chunk, generate_motion(self.model, [rows[k] for k in chunk], **how), strict=True):
                tokens[k] = row
        return [t for t in tokens if t is not None]

    @torch.inference_mode()
    def decode(self, tokens: Sequence[np.ndarray]) -> list[Motion]:
        """Motions of SHIFT tokens (L, n_slots)."""
        device = self.model.device
        features = self.tokenizer.decode_list([torch.from_numpy(np.ascontiguousarray(t)).to(device) for t in tokens])
        return [
            Motion(features=np.asarray(f.cpu(), dtype=np.float32), tokens=t, fps=self.config.fps)
            for f, t in zip(features, tokens, strict=True)
        ]

    def generate_free(
        self, texts: Sequence[str], *, seed: int = 0, temperature: float = 1.0, greedy: bool = False
    ) -> list[np.ndarray]:
        """Ids that the model writes with no constraint: how often are they `well_formed`?"""
        builder = PromptBuilder(self.vocabulary)
        generator = torch.Generator(self.model.device).manual_seed(seed)
        sampling = Sampling(temperature, greedy=greedy)
        out: list[np.ndarray] = []
        for start in range(0, len(texts), CHUNK):
            rows = [builder.t2m(_checked(text)) for text in texts[start : start + CHUNK]]
            out += generate_free(self.model, rows, generator=generator, sampling=sampling)
        return out

    def caption(
        self, motions: np.ndarray | torch.Tensor | Sequence[np.ndarray], *, detailed: bool = False
    ) -> list[str]:
        """Say what the hands do.

        Args:
            motions: features of one motion (T, 198) or of several, of any lengths.
            detailed: ask for the finer-grained caption that tells the shape of the hand.

        Returns:
            One text for each motion.
        """
        if isinstance(motions, np.ndarray | torch.Tensor):
            motions = [motions] if motions.ndim == 2 else list(motions)
        with torch.inference_mode():
            tokens = self.tokenizer.encode_list([self._whole_steps(m) for m in motions])
        return self.caption_tokens([np.asarray(t.cpu()) for t in tokens], detailed=detailed)

    def caption_tokens(self, tokens: Sequence[np.ndarray], *, detailed: bool = False) -> list[str]:
        """The same for motions that are tokens (L, n_slots) already."""
        builder = PromptBuilder(self.vocabulary)
        rows = [builder.m2t(t, detailed=detailed) for t in tokens]
        order = sorted(range(len(rows)), key=lambda k: len(rows[k][0]))
        texts = [""] * len(rows)
        for start in range(0, len(rows), CHUNK):
            chunk = order[start : start + CHUNK]
            for k, ids in zip(chunk, generate_text(self.model, [rows[k] for k in chunk]), strict=True):
                texts[k] = self.vocabulary.decode_text(ids)
        return texts

    def _steps(self, seconds: float) -> int:
        frames = self.tokenizer.config.frames_per_latent
        steps = seconds * self.config.fps / frames
        longest = self.config.max_steps * frames / self.config.fps
        if not 0.5 < steps < self.config.max_steps + 0.5:
            raise ConfigError(
                f"Expected seconds from {frames / self.config.fps:.2f} to {longest:.2f}, got {seconds}. "
                "Ask for a length the model was trained for."
            )
        return max(1, min(round(steps), self.config.max_steps))

    def _whole_steps(self, features: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Repeat the last frame up to whole latent steps."""
        rows = torch.as_tensor(np.asarray(features), dtype=torch.float32, device=self.model.device)
        step = self.tokenizer.config.frames_per_latent
        if rows.ndim != 2 or rows.shape[1] != 198 or len(rows) == 0:
            raise DataError(f"Expected motion features of shape (T, 198), got {tuple(rows.shape)}.")
        missing = -len(rows) % step
        return torch.cat([rows, rows[-1:].expand(missing, -1)]) if missing else rows

    def save_pretrained(self, folder: Path | str) -> None:
        """Write one folder that `from_pretrained` opens; it is written beside and renamed, never half there."""
        save_clutch(self, Path(folder))

    @classmethod
    def from_pretrained(cls, folder: Path | str) -> Clutch:
        """Open a folder that `save_pretrained` wrote; the network is not needed, whatever the base model was.

        Raises:
            CheckpointError: when the folder is not there, is of another version, or a file is missing or broken.
        """
        return cls(**load_parts(Path(folder)))


def _checked(text: str) -> str:
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"Expected a text that says what the hands do, got {text!r}.")
    return text
