"""`Clutch`: text to two-hand motion and motion to text, saved to and opened from folders and the hub."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NotRequired, TypedDict

import numpy as np
import torch
from shift_tokenizer import ShiftTokenizer
from shift_tokenizer.rates import check_rate

from clutch_llm import chaining, completion, streaming
from clutch_llm.backbones import (
    CausalBackbone,
    kind_of,
    load_backbone,
    narrow_embeddings,
    new_backbone,
    seed_motion_embeddings,
)
from clutch_llm.config import ClutchConfig
from clutch_llm.errors import ConfigError, DataError
from clutch_llm.files import ModelParts
from clutch_llm.generation import chunks_of, generate_free, generate_motion, generate_text
from clutch_llm.given import Forcing, Given
from clutch_llm.model import ClutchModel
from clutch_llm.models import StepModel, new_model
from clutch_llm.planning import FIELDS, PLAN_NAMES, claims_in, field_names
from clutch_llm.pretrained import Pretrained
from clutch_llm.prompts import Prompt, PromptBuilder, all_templates
from clutch_llm.ranking import best_of
from clutch_llm.sampling import Sampling, chances_of, seeds_of
from clutch_llm.step_generation import chances_needed, generate_steps, write_freely
from clutch_llm.vocabulary import Vocabulary, well_formed
from clutch_llm.windows import CaptionedWindow, check_motion, cut_windows, join_texts, pairs_of

#: Longest prompt of a text, end token included: what T5 was trained on.
MAX_PROMPT_TOKENS = 512


class Motion(TypedDict):
    """A generated motion: features (T, 198) float32, tokens (L, n_slots) int64, frames a second.

    With ``explain`` its ``plan``: the claims, in the text form of `hand_geometry.codes`, that the model read in the
    text and set out to fulfil. With ``rank`` its ``score``: the share of them that the motion fulfils, as measured.
    """

    features: np.ndarray
    tokens: np.ndarray
    fps: float
    plan: NotRequired[list[str]]
    score: NotRequired[float]


@dataclass
class Clutch(Pretrained):
    """A language model over text and hand motion, with the motion tokenizer that its motion tokens belong to.

    Attributes:
        config: sizes of the language model.
        vocabulary: text and motion tokens.
        model: the language model.
        tokenizer: the SHIFT motion tokenizer.
        stages: the training stages it went through.
        generation: the settings that `generate` takes where it is given none; saved with the model.
    """

    config: ClutchConfig
    vocabulary: Vocabulary
    model: ClutchModel
    tokenizer: ShiftTokenizer
    stages: list[dict[str, Any]] = field(default_factory=list)
    generation: Sampling = field(default_factory=Sampling)

    @classmethod
    def create(
        cls, config: ClutchConfig, *, tokenizer: ShiftTokenizer, captions: Sequence[str] = (), seed: int = 0
    ) -> Clutch:
        """A fresh model: untrained, or from the language model that ``config.base_model`` names.

        Args:
            config: sizes, or the model to start from.
            tokenizer: the trained motion tokenizer; its codebooks start the motion tokens' embeddings.
            captions: what the text tokenizer is trained on, when the model has none to take over.
            seed: seed of the weights that start at random.
        """
        shape: dict[str, Any] = {
            "codebook_size": tokenizer.config.codebook_size,
            "slot_codebook": tokenizer.config.slot_codebook,
            "lengths": config.max_steps if config.motion_form == "step" else 0,
            "plan": PLAN_NAMES if config.plan else (),
        }
        generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            if config.base_model is None:
                texts = [*captions, *all_templates()]
                vocabulary = Vocabulary.train(texts, size=config.text_vocabulary, **shape)
                backbone = new_backbone(config, vocabulary.layout)
                if vocabulary.layout.stepwise or isinstance(backbone, CausalBackbone):
                    narrow_embeddings(backbone)
            else:
                kind_of(config.base_model)  # refused before anything is loaded
                vocabulary = Vocabulary.from_pretrained_text(config.base_model, **shape)
                backbone = load_backbone(config, vocabulary.layout)
            model = new_model(backbone, vocabulary.layout, config.max_steps)
        seed_motion_embeddings(backbone, tokenizer.codebooks().detach().cpu(), vocabulary.layout, generator)
        model.reset_position_embeddings(generator)
        if config.base_model is None:
            model.open_pooled_prompt(generator)
        return cls(config, vocabulary, model.eval(), tokenizer.eval())

    def to(self, device: torch.device | str) -> Clutch:
        """Move model and tokenizer to a device, in place."""
        self.model.to(device)
        self.tokenizer.to(device)
        return self

    @property
    def n_parameters(self) -> int:
        """Parameters of the language model, the tied ones once."""
        return sum(p.numel() for p in self.model.parameters())

    def well_formed(self, ids: Sequence[int] | np.ndarray) -> bool:
        """Whether ids are one whole motion, see `vocabulary.well_formed`."""
        return well_formed(ids, self.vocabulary.layout)

    @property
    def fps(self) -> float:
        """Frames a second of the motions: the tokenizer's."""
        return self.tokenizer.config.fps

    @property
    def seconds_per_step(self) -> float:
        """How long one latent step is."""
        return self.tokenizer.config.frames_per_latent / self.fps

    @property
    def max_seconds(self) -> float:
        """How long a motion can be: ``max_steps`` latent steps."""
        return self.config.max_steps * self.seconds_per_step

    def generate(
        self,
        texts: Sequence[str] | str,
        seconds: float | Sequence[float] | None = None,
        *,
        samples: int = 1,
        seed: int | Sequence[int] = 0,
        temperature: float | None = None,
        top_k: int | None = None,
        greedy: bool | None = None,
        guidance: float | None = None,
        explain: bool = False,
        rank: int = 1,
    ) -> list[list[Motion]]:
        """Generate motions for texts; every one is well-formed, and the same arguments give the same motions.

        A motion depends on its text, its seed and its number among the samples alone, not on the texts beside it (see
        `generation` on rounding): the same text twice gives the same motion twice, unless their seeds differ.

        Args:
            texts: what the hands should do.
            seconds: exact length, one for all texts or one for each, rounded to a whole latent step; None lets the
                model decide.
            samples: motions for each text.
            seed: seed of the sampling, one for all texts or one for each.
            temperature: below 1 safer, above 1 more varied; None, as for the next three, takes ``self.generation``'s.
            top_k: draw each token among the k likeliest alone; 0 among all.
            greedy: the likeliest token each time; all samples of a text are then alike.
            guidance: classifier-free guidance, 1 for none; above 1 follows the text more closely, at twice the time.
            explain: give each motion its plan; for models with plans.
            rank: draw so many motions for each that is asked for, all of the likeliest plan, and keep the one that
                fulfils most of it; gives each its score. For models with plans.

        Returns:
            For each text, ``samples`` motions.

        Raises:
            ConfigError: when a setting is out of its range.
            DataError: when a text is empty or too long.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        if samples < 1:
            raise ConfigError(f"Expected at least 1 sample, got {samples}.")
        if rank < 1:
            raise ConfigError(f"Expected a rank of at least 1, got {rank}. It is how many motions one is chosen from.")
        if (explain or rank > 1) and not self.config.plan:
            raise ConfigError("Expected a model with plans for explain and rank, got one without: ClutchConfig.plan.")
        sampling = self._sampling(temperature=temperature, top_k=top_k, greedy=greedy, guidance=guidance)
        builder = PromptBuilder(self.vocabulary)
        prompts = [self._t2m_prompt(builder, text) for text in texts]
        many = samples * rank
        tokens, plans = self._draw(
            [prompt for prompt in prompts for _ in range(many)],
            chances_of(texts, seeds=seeds_of(seed, len(texts)), samples=many, count=self._chances),
            surest_plan=rank > 1,
            steps=self._steps_of(seconds, len(texts), many),
            sampling=sampling,
            unconditional=builder.t2m(None),
        )
        motions = self.decode(tokens)
        if explain or rank > 1:
            for motion, plan in zip(motions, plans, strict=True):
                motion["plan"] = claims_in(plan)
        if rank > 1:
            motions = [best_of(motions[k : k + rank]) for k in range(0, len(motions), rank)]
        return [motions[k * samples : (k + 1) * samples] for k in range(len(texts))]

    complete = completion.complete
    stream = streaming.stream
    chain = chaining.chain
    chain_stream = chaining.chain_stream

    @property
    def _chances(self) -> int:
        """Random numbers that one motion is drawn with."""
        layout = self.vocabulary.layout
        if layout.stepwise:
            return chances_needed(layout, len(self._answers))
        return self.config.max_steps * layout.n_slots

    @property
    def _answers(self) -> list[list[int]]:
        """Ids of the tokens that may answer each question of a plan, "none" first."""
        ids = {name: self.vocabulary.layout.first_plan + k for k, name in enumerate(self.vocabulary.plan_names)}
        return [[ids[name] for name in field_names(field) if name in ids] for field in FIELDS] if ids else []

    @property
    def _answers_to_text(self) -> list[list[int]]:
        """The same where there is a text: some hand moves, or is still.

        In training, a plan that says nothing of the hands stands where the caption was dropped, for guidance. A text of
        a kind that training has not seen (one word, say) is easily taken for none.
        """
        return [own[1:] if k == 0 else own for k, own in enumerate(self._answers)]

    def _sampling(self, **given: Any) -> Sampling:
        """The model's settings of generation with those replaced that are given."""
        changes = {name: value for name, value in given.items() if value is not None}
        if changes.get("top_k") == 0:
            changes["top_k"] = None
        return dataclasses.replace(self.generation, **changes)

    def _t2m_prompt(self, builder: PromptBuilder, text: str) -> Prompt:
        if not isinstance(text, str) or not text.strip():
            raise DataError(f"Expected a text that says what the hands do, got {text!r}.")
        prompt = builder.t2m(text)
        if len(prompt.ids) > MAX_PROMPT_TOKENS:
            raise DataError(
                f"Expected a text of at most {MAX_PROMPT_TOKENS} tokens, got {len(prompt.ids)} "
                f"({text.strip()[:40]!r}…). Say it in a sentence or two."
            )
        return prompt

    def _draw(
        self,
        rows: list[Prompt],
        chance: np.ndarray,
        *,
        surest_plan: bool,
        answers: list[list[int]] | None = None,
        given: Given | None = None,
        steps: int | list[int] | None = None,
        **how: Any,
    ) -> tuple[list[np.ndarray], list[list[str]]]:
        """Tokens and plans of motions; without plans, empty ones.

        ``answers`` to the plan's questions and what is ``given`` of the motions are those of all rows; so is one number
        of latent ``steps``, and a list has each row's.
        """
        tokens: list[np.ndarray] = [np.empty(0)] * len(rows)
        plans: list[list[str]] = [[] for _ in rows]
        names, first = self.vocabulary.plan_names, self.vocabulary.layout.first_plan
        each = steps if isinstance(steps, list) else []
        for chunk in chunks_of(rows, each):
            prompts, own = [rows[k] for k in chunk], chance[chunk]
            how["steps"] = [each[k] for k in chunk] if each else steps
            how["forcing"] = Forcing(given, self.tokenizer, len(chunk)) if given else None
            if isinstance(self.model, StepModel):
                how |= {"answers": self._answers_to_text if answers is None else answers, "surest_plan": surest_plan}
                for k, drawn in zip(chunk, generate_steps(self.model, prompts, chance=own, **how), strict=True):
                    tokens[k], plans[k] = drawn.tokens, [names[int(i) - first] for i in drawn.plan]
            else:
                for k, row in zip(chunk, generate_motion(self.model, prompts, chance=own, **how), strict=True):
                    tokens[k] = row
        return tokens, plans

    @torch.inference_mode()
    def decode(self, tokens: Sequence[np.ndarray]) -> list[Motion]:
        """Motions of SHIFT tokens (L, n_slots)."""
        device = self.model.device
        features = self.tokenizer.decode_list([torch.from_numpy(np.ascontiguousarray(t)).to(device) for t in tokens])
        return [
            Motion(features=np.asarray(f.cpu(), dtype=np.float32), tokens=t, fps=self.fps)
            for f, t in zip(features, tokens, strict=True)
        ]

    def generate_free(
        self,
        texts: Sequence[str],
        *,
        seed: int | Sequence[int] = 0,
        temperature: float | None = None,
        greedy: bool | None = None,
    ) -> list[np.ndarray]:
        """Ids that the model writes with no constraint, to tell how often they are `well_formed`; settings as above.

        In the step form, what stands before the latent steps is written with no constraint (`step_generation`); ids are
        those of a whole motion where that is as it should be, and else what was written.
        """
        sampling = self._sampling(temperature=temperature, greedy=greedy)
        builder = PromptBuilder(self.vocabulary)
        rows = [self._t2m_prompt(builder, text) for text in texts]
        chance = chances_of(texts, seeds=seeds_of(seed, len(texts)), samples=1, count=self._chances + 2)
        out: list[np.ndarray] = [np.empty(0)] * len(rows)
        for chunk in chunks_of(rows):
            prompts, how = [rows[k] for k in chunk], {"chance": chance[chunk], "sampling": sampling}
            if isinstance(self.model, StepModel):
                drawn = write_freely(self.model, prompts, answers=self._answers_to_text, **how)
            else:
                drawn = generate_free(self.model, prompts, **how)
            for k, ids in zip(chunk, drawn, strict=True):
                out[k] = ids
        return out

    def caption(
        self,
        motions: np.ndarray | torch.Tensor | Sequence[np.ndarray],
        valid: np.ndarray | torch.Tensor | Sequence[np.ndarray] | None = None,
        fps: float | None = None,
        *,
        detailed: bool = False,
    ) -> list[str]:
        """Say what the hands do.

        A motion that is longer than ``max_seconds`` is captioned window by window, "A, then B": see `caption_windows`.

        Args:
            motions: canonical features of one motion (T, 198) or of several, of any lengths.
            valid: whether each hand is seen, (T, 2) bool for each motion; None if all are. What stands in the other
                frames, NaN or zeros, changes nothing.
            fps: frames a second of the features, which must be the model's; None where the caller knows that.
            detailed: ask for the finer-grained caption that tells the shape of the hand.

        Returns:
            One text for each motion.

        Raises:
            DataError: when a shape does not fit, no hand is seen, or a hand that is seen is not finite.
            shift_tokenizer.RateError: when the rate is another than the model's.
        """
        windows = self.caption_windows(motions, valid, fps, detailed=detailed)
        return [join_texts([window["text"] for window in own]) for own in windows]

    @torch.inference_mode()
    def caption_windows(
        self,
        motions: np.ndarray | torch.Tensor | Sequence[np.ndarray],
        valid: np.ndarray | torch.Tensor | Sequence[np.ndarray] | None = None,
        fps: float | None = None,
        *,
        detailed: bool = False,
    ) -> list[list[CaptionedWindow]]:
        """The same with the times: for each motion, the windows of at most ``max_seconds`` that it was captioned in."""
        if fps is not None:
            check_rate(fps, self.fps)
        pairs = pairs_of(motions, valid)
        cut = [
            cut_windows(
                *check_motion(features, seen, self.model.device), self.tokenizer, max_steps=self.config.max_steps
            )
            for features, seen in pairs
        ]
        flat = [window for windows in cut for window in windows]
        tokens = self.tokenizer.encode_list([w.features for w in flat], [w.valid for w in flat])
        texts = iter(self.caption_tokens([np.asarray(t.cpu()) for t in tokens], detailed=detailed))
        return [
            [CaptionedWindow(start=w.start / self.fps, stop=w.stop / self.fps, text=next(texts)) for w in windows]
            for windows in cut
        ]

    def caption_tokens(self, tokens: Sequence[np.ndarray], *, detailed: bool = False) -> list[str]:
        """The same for motions that are tokens (L, n_slots) already, each short enough for one window."""
        builder = PromptBuilder(self.vocabulary)
        longest = max((len(t) for t in tokens), default=0)
        if longest > self.config.max_steps:
            raise DataError(
                f"Expected at most {self.config.max_steps} latent steps, got {longest}. Cut the motion into windows."
            )
        rows = [builder.m2t(t, detailed=detailed) for t in tokens]
        texts = [""] * len(rows)
        for chunk in chunks_of(rows):
            for k, ids in zip(chunk, generate_text(self.model, [rows[k] for k in chunk]), strict=True):
                texts[k] = self.vocabulary.decode_text(ids)
        return texts

    def _steps_of(self, seconds: float | Sequence[float] | None, texts: int, many: int) -> int | list[int] | None:
        """Latent steps of ``many`` motions for each text."""
        if seconds is None:
            return None
        if isinstance(seconds, float | int | np.floating | np.integer):
            return self._steps(float(seconds))
        if len(seconds) != texts:
            raise ConfigError(f"Expected seconds for all texts or for each of {texts}, got {len(seconds)}.")
        return [steps for own in seconds for steps in [self._steps(own)] * many]

    def _steps(self, seconds: float) -> int:
        steps = seconds / self.seconds_per_step
        if not 0.5 < steps < self.config.max_steps + 0.5:
            raise ConfigError(
                f"Expected seconds from {self.seconds_per_step:.2f} to {self.max_seconds:.2f}, got {seconds}. "
                "Ask for a length the model was trained for."
            )
        return max(1, min(round(steps), self.config.max_steps))

    def parts(self) -> ModelParts:
        """All that is saved: the fields, by name."""
        return {
            "config": self.config,
            "vocabulary": self.vocabulary,
            "model": self.model,
            "tokenizer": self.tokenizer,
            "stages": self.stages,
            "generation": self.generation,
        }
