"""One vocabulary for text and motion: a text tokenizer, then the motion tokens, then ``<som>``, ``<eom>``, ``<mask>``.

In the step form, lengths and plans follow: ``<length_1>``, …, ``<plan:none>``, ``<plan:count:left=3>``, ….

Design choices:
- Motion code ``k`` of codebook ``c`` is the token ``<motion_id_{c * K + k}>``: pose ids follow trajectory ids.
- Ids of motion tokens are contiguous and start right after the text tokens, so constrained decoding is arithmetic.
- The text side is a `tokenizers` object: a byte-level BPE trained on the captions, or a base model's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from clutch_llm.errors import MalformedMotionError, VocabularyError
from clutch_llm.rows import token_rows

SOM, EOM, MASK = "<som>", "<eom>", "<mask>"
LENGTH, PLAN = "<length_{}>", "<plan:{}>"
N_SENTINELS = 32
SPECIALS = ("<pad>", "</s>", *(f"<extra_id_{k}>" for k in range(N_SENTINELS)))


@dataclass(frozen=True)
class TokenLayout:
    """Where each kind of token sits: all that the model needs to know of the vocabulary.

    Attributes:
        text_size: ids below this are text.
        codebook_size: codes of one codebook, K.
        slot_codebook: codebook of each slot of a latent step.
        sentinels: ids of ``<extra_id_0>``, ``<extra_id_1>``, …
        pad: padding, which also starts the decoder.
        eos: end of a text.
        lengths: tokens of lengths, from 1 latent step on; 0 in the interleaved form.
        plan_size: tokens of plans, the first of which says nothing; 0 without plans.
    """

    text_size: int
    codebook_size: int
    slot_codebook: tuple[int, ...] = (0, 1, 0, 1)
    sentinels: tuple[int, ...] = ()
    pad: int = 0
    eos: int = 1
    lengths: int = 0
    plan_size: int = 0

    @property
    def stepwise(self) -> bool:
        """Whether a latent step is one position (`rows`) rather than one for each slot."""
        return self.lengths > 0

    @property
    def n_slots(self) -> int:
        """Tokens of one latent step."""
        return len(self.slot_codebook)

    @property
    def n_motion(self) -> int:
        """Number of motion tokens: codebooks times K."""
        return (max(self.slot_codebook) + 1) * self.codebook_size

    @property
    def som(self) -> int:
        """Id of ``<som>``, the start of a motion."""
        return self.text_size + self.n_motion

    @property
    def eom(self) -> int:
        """Id of ``<eom>``, the end of a motion."""
        return self.som + 1

    @property
    def mask(self) -> int:
        """Id of ``<mask>``, a motion token to be filled in."""
        return self.som + 2

    @property
    def size(self) -> int:
        """Number of tokens in all."""
        return self.som + 3 + self.lengths + self.plan_size

    def length_id(self, steps: int) -> int:
        """Id of the token that says that a motion has so many latent steps, 1 to ``lengths``."""
        return self.som + 2 + steps

    @property
    def first_told(self) -> int:
        """Id of the first token of what is told before a motion: lengths, then plans."""
        return self.som + 3

    @property
    def first_plan(self) -> int:
        """Id of the first token of plans, which says nothing."""
        return self.som + 3 + self.lengths

    def slot_range(self, slot: int) -> tuple[int, int]:
        """First id and one past the last id that a slot may hold."""
        start = self.text_size + self.slot_codebook[slot] * self.codebook_size
        return start, start + self.codebook_size

    @property
    def slot_offsets(self) -> np.ndarray:
        """First id of each slot, shape (n_slots,) int64."""
        return np.array([self.slot_range(s)[0] for s in range(self.n_slots)], dtype=np.int64)


def well_formed(ids: Sequence[int] | np.ndarray, layout: TokenLayout) -> bool:
    """Whether ids are ``<som>``, one or more whole steps of codes in their slots, ``<eom>``, and nothing else."""
    body = np.asarray(ids, dtype=np.int64).reshape(-1)
    if len(body) < layout.n_slots + 2 or body[0] != layout.som or body[-1] != layout.eom:
        return False
    body = body[1:-1]
    if len(body) % layout.n_slots:
        return False
    codes = body.reshape(-1, layout.n_slots) - layout.slot_offsets
    return bool(((codes >= 0) & (codes < layout.codebook_size)).all())


def _id_of(tokenizer: Tokenizer, token: str) -> int:
    number: int | None = tokenizer.token_to_id(token)
    if number is None:
        raise VocabularyError(
            f"Expected a text tokenizer with {token}, got one without it. Use that of the base model."
        )
    return number


def _written(tokenizer: Tokenizer, start: int) -> tuple[int, list[str]]:
    """Number of lengths and names of plan tokens that a tokenizer has from an id on."""
    names = [str(tokenizer.id_to_token(k)) for k in range(start, tokenizer.get_vocab_size())]
    lengths = sum(name == LENGTH.format(k + 1) for k, name in enumerate(names))
    head, tail = PLAN.split("{}")
    return lengths, [name[len(head) : -len(tail)] for name in names[lengths:]]


class Vocabulary:
    """Text and motion to ids and back.

    Args:
        tokenizer: a text tokenizer without motion tokens; they are appended to it.
        codebook_size: codes of one codebook.
        slot_codebook: codebook of each slot of a latent step.
        lengths: tokens of lengths to append, for the step form.
        plan: names of the tokens of plans to append, for the step form. A tokenizer that has motion tokens already
            keeps the lengths and plans that it has.

    Raises:
        VocabularyError: when the tokenizer lacks ``<pad>`` or ``</s>``.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        codebook_size: int,
        slot_codebook: Sequence[int] = (0, 1, 0, 1),
        *,
        lengths: int = 0,
        plan: Sequence[str] = (),
    ) -> None:
        pad, eos, *sentinels = (_id_of(tokenizer, token) for token in SPECIALS)
        known = tokenizer.token_to_id(SOM)
        n_motion = (max(slot_codebook) + 1) * codebook_size
        if known is not None:
            lengths, plan = _written(tokenizer, known + 3)
        self.tokenizer = tokenizer
        self.plan_names = tuple(plan)
        self.layout = TokenLayout(
            text_size=tokenizer.get_vocab_size() if known is None else known - n_motion,
            codebook_size=codebook_size,
            slot_codebook=tuple(int(c) for c in slot_codebook),
            sentinels=tuple(sentinels),
            pad=pad,
            eos=eos,
            lengths=lengths,
            plan_size=len(plan),
        )
        if known is None:
            names = [f"<motion_id_{k}>" for k in range(n_motion)] + [SOM, EOM, MASK]
            names += [LENGTH.format(k + 1) for k in range(lengths)] + [PLAN.format(name) for name in plan]
            tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in names])
        self._spellings = self._spell_markup()
        if tokenizer.token_to_id("<motion_id_0>") != self.layout.text_size:
            raise VocabularyError(
                f"Expected motion tokens for {n_motion} codes after the text tokens, got another number in the "
                "text tokenizer. Use the tokenizer files that were saved with this model."
            )

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        *,
        size: int,
        codebook_size: int,
        slot_codebook: Sequence[int] = (0, 1, 0, 1),
        lengths: int = 0,
        plan: Sequence[str] = (),
    ) -> Vocabulary:
        """Train a lower-cased byte-level BPE on texts: any later text can be encoded, known words are one token."""
        tokenizer = Tokenizer(models.BPE(unk_token=None))
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=list(SPECIALS),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
            min_frequency=2,
        )
        tokenizer.train_from_iterator(texts, trainer)
        return cls(tokenizer, codebook_size, slot_codebook, lengths=lengths, plan=plan)

    @classmethod
    def from_pretrained_text(
        cls,
        name_or_folder: str,
        *,
        codebook_size: int,
        slot_codebook: Sequence[int] = (0, 1, 0, 1),
        lengths: int = 0,
        plan: Sequence[str] = (),
    ) -> Vocabulary:
        """Take the text tokenizer of a language model on the hub or in a folder.

        That of a decoder-only model gets what it lacks of ``<pad>``, ``</s>`` and the sentinels.
        """
        from transformers import AutoTokenizer

        try:
            loaded = AutoTokenizer.from_pretrained(name_or_folder)
        except (OSError, ValueError) as error:
            raise VocabularyError(
                f"Expected the text tokenizer of a language model at {name_or_folder!r}, got: {error}. "
                "Give a hub name that can be reached or a folder with tokenizer.json."
            ) from error
        tokenizer = loaded.backend_tokenizer
        lacking = [token for token in SPECIALS if tokenizer.token_to_id(token) is None]
        tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in lacking])
        return cls(tokenizer, codebook_size, slot_codebook, lengths=lengths, plan=plan)

    @classmethod
    def load(cls, path: Path, *, codebook_size: int, slot_codebook: Sequence[int]) -> Vocabulary:
        """Read a tokenizer file written by `save`.

        Raises:
            VocabularyError: when the file is missing, broken, or of other codebooks.
        """
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises nothing more precise
            raise VocabularyError(
                f"Expected a text tokenizer at {path}, got: {error}. Save the model again."
            ) from error
        return cls(tokenizer, codebook_size, slot_codebook)

    def save(self, path: Path) -> None:
        """Write the tokenizer, motion tokens included, as one JSON file."""
        self.tokenizer.save(str(path))

    def encode_text(self, text: str) -> list[int]:
        """Ids of a text, without an end token: text tokens alone, whatever the text says.

        ``<motion_id_3>``, ``</s>`` or ``<extra_id_0>`` written out are characters like any other. Where the tokenizer
        knows such a name as one piece of text, as SentencePiece vocabularies do, it is spelled character by character.

        Raises:
            VocabularyError: when the text is not Unicode, such as half of a surrogate pair.
        """
        self.tokenizer.encode_special_tokens = True  # not part of the file, and lost when the tokenizer is copied
        try:
            ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        except (TypeError, UnicodeError) as error:
            raise VocabularyError(f"Expected a text of Unicode characters, got {text!r:.80}. Write it anew.") from error
        return [kept for i in ids for kept in self._spellings.get(i, (i,))]

    def _spell_markup(self) -> dict[int, tuple[int, ...]]:
        """For each token that is markup, the ids of its characters; one that is not known is ``<unk>`` or left out."""
        marks = {i: token.content for i, token in self.tokenizer.get_added_tokens_decoder().items()}
        unknown = self.tokenizer.token_to_id("<unk>")
        spellings = {}
        for i, name in marks.items():
            letters = (self.tokenizer.token_to_id(letter) for letter in name)
            known = (unknown if letter is None else letter for letter in letters)
            spellings[i] = tuple(letter for letter in known if letter is not None)
        if unknown is not None:
            spellings[unknown] = (unknown,)  # what any character that is not known becomes
        return spellings

    def decode_text(self, ids: Sequence[int]) -> str:
        """The text of ids; motion and special tokens are left out."""
        kept = [int(i) for i in ids if 0 <= int(i) < self.layout.text_size]
        text: str = self.tokenizer.decode(kept, skip_special_tokens=True)
        return " ".join(text.split())

    def motion_to_ids(self, tokens: np.ndarray) -> np.ndarray:
        """SHIFT tokens (L, n_slots) -> ids ``<som>`` … ``<eom>``, shape (L * n_slots + 2,) int64."""
        tokens = np.asarray(tokens, dtype=np.int64)
        K = self.layout.codebook_size
        if tokens.ndim != 2 or tokens.shape[1] != self.layout.n_slots or len(tokens) == 0:
            raise VocabularyError(
                f"Expected motion tokens of shape (L, {self.layout.n_slots}) with L >= 1, got {tokens.shape}. "
                "Encode the features with this model's tokenizer."
            )
        if tokens.min() < 0 or tokens.max() >= K:
            raise VocabularyError(
                f"Expected motion tokens in 0..{K - 1}, got {tokens.min()}..{tokens.max()}. "
                "Encode the features with this model's tokenizer."
            )
        body = (tokens + self.layout.slot_offsets).reshape(-1)
        return np.concatenate([[self.layout.som], body, [self.layout.eom]])

    def motion_rows(self, tokens: np.ndarray) -> np.ndarray:
        """SHIFT tokens (L, n_slots) -> ``<som>`` … ``<eom>`` in the layout's form: one row a code or a latent step."""
        ids = self.motion_to_ids(tokens)
        if not self.layout.stepwise:
            return ids
        body = ids[1:-1].reshape(-1, self.layout.n_slots)
        marks = token_rows(ids[[0, -1]], self.layout)
        return np.concatenate([marks[:1], body, marks[1:]])

    def shown_rows(self, tokens: np.ndarray, shown: np.ndarray) -> np.ndarray:
        """`motion_rows` with ``<mask>`` for the codes that are not shown: tokens (L, n_slots), shown the same, bool."""
        rows = self.motion_rows(tokens)
        body = rows[1:-1].reshape(shown.shape)
        masked = np.where(shown, body, self.layout.mask).reshape(rows[1:-1].shape)
        return np.concatenate([rows[:1], masked, rows[-1:]])

    def ids_to_motion(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Ids ``<som>`` … ``<eom>`` -> SHIFT tokens (L, n_slots) int64.

        Raises:
            MalformedMotionError: when the ids are not `well_formed`; nothing is clamped or padded.
        """
        ids = np.asarray(ids, dtype=np.int64).reshape(-1)
        if not well_formed(ids, self.layout):
            raise MalformedMotionError(
                f"Expected <som>, whole steps of {self.layout.n_slots} codes in their slots, <eom>, "
                f"got {self.to_string(ids[:12])}… ({len(ids)} ids). Generate with constrained decoding."
            )
        return ids[1:-1].reshape(-1, self.layout.n_slots) - self.layout.slot_offsets

    def to_string(self, ids: Sequence[int] | np.ndarray) -> str:
        """Tokens of ids written out, as ``<som><motion_id_3>…``; ids that do not exist become ``<?id>``."""
        return "".join(self.tokenizer.id_to_token(int(i)) or f"<?{int(i)}>" for i in ids)
