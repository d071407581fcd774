"""Prompts of training and generation, built by one module: templates, and their ids and positions.

A template is a tuple of typed parts, literal text and `Field`s, never a string in which something is replaced: what a
user writes fills a field and is encoded as text, whatever characters it has (`Vocabulary.encode_text`). The first
template of each task is the one that pretraining uses and that `Clutch.generate` and `Clutch.caption` ask with.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

import numpy as np

from clutch_llm.positions import prompt_positions
from clutch_llm.rows import no_positions, step_positions, token_rows
from clutch_llm.vocabulary import TokenLayout, Vocabulary


class Field(Enum):
    """A part of a template that is filled in."""

    CAPTION = "caption"
    MOTION = "motion"


CAPTION, MOTION = Field.CAPTION, Field.MOTION
Template = tuple[str | Field, ...]


class Prompt(NamedTuple):
    """A prompt as the encoder reads it.

    Attributes:
        ids: token ids (S,) int64, the end token last; rows (S, n_slots) in the step form, see `rows`.
        positions: position of each token in its motion (S,) int64, see `positions`; (S, 2) in the step form.
    """

    ids: np.ndarray
    positions: np.ndarray


#: Text to motion.
T2M: tuple[Template, ...] = (
    ("generate hand motion: ", CAPTION),
    ("show me how ", CAPTION),
    ("make the hands move: ", CAPTION),
    ("give me a hand motion for: ", CAPTION),
    ("i want to see this: ", CAPTION),
    ("turn this sentence into motion: ", CAPTION),
    ("animate two hands: ", CAPTION),
    ("create a motion in which ", CAPTION),
    ("what does it look like when ", CAPTION, "?"),
    ("move the hands so that ", CAPTION),
    ("please act this out: ", CAPTION),
    ("synthesize hand movement from text: ", CAPTION),
    (CAPTION,),
)

#: Text to motion without a text: what classifier-free guidance compares with.
UNCONDITIONAL: Template = ("generate hand motion:",)

#: Motion to text, answered with the short caption, the first of a clip.
M2T: tuple[Template, ...] = (
    ("describe the motion: ", MOTION),
    ("what are the hands doing? ", MOTION),
    ("give a caption for this motion: ", MOTION),
    (MOTION, " what is this?"),
    ("say in one sentence what happens: ", MOTION),
    ("name the action: ", MOTION),
    ("turn this motion into text: ", MOTION),
    (MOTION, " describe what you see."),
)

#: Motion to text, answered with a finer-grained caption, any but the first.
M2T_DETAILED: tuple[Template, ...] = (
    ("describe the motion in detail: ", MOTION),
    ("what are the hands doing exactly? ", MOTION),
    ("give a detailed caption for this motion: ", MOTION),
    (MOTION, " describe the shape and the movement of the hands."),
    ("say precisely what happens: ", MOTION),
    ("turn this motion into a detailed text: ", MOTION),
)

#: A motion with hidden codes, answered with all of it.
MASKED: tuple[Template, ...] = (("fill in the motion: ", CAPTION, " ", MOTION),)

#: Text to text: a finer-grained caption, answered with the short one; the other way; which hands it speaks of.
T2T_BRIEF: tuple[Template, ...] = (
    ("summarize: ", CAPTION),
    ("say it shorter: ", CAPTION),
    ("give the gist of this: ", CAPTION),
)
T2T_DETAILED: tuple[Template, ...] = (
    ("say it in more detail: ", CAPTION),
    ("describe precisely how this looks: ", CAPTION),
)
T2T_HANDS: tuple[Template, ...] = (
    ("which hand moves? ", CAPTION),
    ("tell me which hands are used: ", CAPTION),
    (CAPTION, " with which hand?"),
)


class PromptBuilder:
    """Ids and positions of prompts; every prompt ends with the end token.

    Args:
        vocabulary: text and motion tokens.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary

    def t2m(self, caption: str | None, template: Template = T2M[0]) -> Prompt:
        """Text to motion; None asks for any motion."""
        return self.build(UNCONDITIONAL if caption is None else template, caption=caption)

    def m2t(self, tokens: np.ndarray, *, detailed: bool = False, template: Template | None = None) -> Prompt:
        """Motion to text: SHIFT tokens (L, n_slots).

        Args:
            tokens: the motion.
            detailed: ask for the finer-grained caption.
            template: the question in other words, instead of the first of its kind.
        """
        asked = template or (M2T_DETAILED if detailed else M2T)[0]
        return self.build(asked, motion=self.vocabulary.motion_rows(tokens))

    def masked(self, caption: str, motion: np.ndarray, template: Template = MASKED[0]) -> Prompt:
        """A motion to be filled in: `Vocabulary.motion_rows` with ``<mask>`` for the codes that are hidden."""
        return self.build(template, caption=caption, motion=motion)

    def t2t(self, caption: str, template: Template) -> Prompt:
        """Text to text."""
        return self.build(template, caption=caption)

    def build(self, template: Template, *, caption: str | None = None, motion: np.ndarray | None = None) -> Prompt:
        """Fill a template.

        Args:
            template: the parts; text that stands side by side is encoded as one, so that words stay whole.
            caption: fills `Field.CAPTION`.
            motion: `Vocabulary.motion_rows` that fill `Field.MOTION`.

        Raises:
            ValueError: when a field of the template is not given: a fault of the caller, not of a user.
        """
        ids: list[np.ndarray] = []
        positions: list[np.ndarray] = []
        text = ""
        for part in (*template, None):
            if isinstance(part, str) or part is CAPTION:
                words = caption if part is CAPTION else part
                if words is None:
                    raise ValueError(f"Expected a caption for the template {template}, got none.")
                text += str(words)
                continue
            self._append(ids, positions, self.vocabulary.encode_text(text.strip()))
            text = ""
            if part is MOTION:
                if motion is None:
                    raise ValueError(f"Expected a motion for the template {template}, got none.")
                ids.append(motion)
                positions.append(motion_prompt_positions(len(motion), self.vocabulary.layout))
        self._append(ids, positions, [self.vocabulary.layout.eos])
        return Prompt(np.concatenate(ids), np.concatenate(positions))

    def _append(self, ids: list[np.ndarray], positions: list[np.ndarray], tokens: Sequence[int]) -> None:
        layout = self.vocabulary.layout
        ids.append(token_rows(np.array(tokens, dtype=np.int64), layout))
        positions.append(no_positions(len(tokens), layout))


def motion_prompt_positions(length: int, layout: TokenLayout) -> np.ndarray:
    """Own positions of `Vocabulary.motion_rows` of that length in a prompt."""
    if not layout.stepwise:
        return prompt_positions(length)
    mark = no_positions(1, layout)
    return np.concatenate([mark, step_positions(length - 2), mark])


def hands_of(caption: str) -> str:
    """Which hands a caption speaks of: "the left hand", "the right hand", "both hands", or "" when it does not say."""
    words = caption.lower().replace(",", " ").split()
    if "both" in words or "hands" in words:
        return "both hands"
    named = {words[k] for k in range(len(words) - 1) if words[k + 1] == "hand" and words[k] in ("left", "right")}
    return f"the {named.pop()} hand" if len(named) == 1 else ""


def all_templates() -> list[str]:
    """The literal text of every template, which the text tokenizer is trained on beside the captions."""
    groups = (T2M, M2T, M2T_DETAILED, MASKED, T2T_BRIEF, T2T_DETAILED, T2T_HANDS)
    texts = ["".join(p for p in t if isinstance(p, str)).strip() for group in groups for t in group]
    literal = "".join(p for p in UNCONDITIONAL if isinstance(p, str))
    return [t for t in texts if t] + [literal, "the left hand", "the right hand", "both hands"]
