"""Decoding: motions under constraint, texts without motion tokens, and, to measure it, no constraint at all.

Constrained decoding: only the K codes of the current slot can be drawn, and ``<eom>`` only where a step ends, so every
motion is well-formed whatever the weights are. Keys and values are cached; the rows of a batch run side by side.

Each row is drawn with random numbers of its own, so what a prompt becomes does not depend on the rows beside it.
Padding is masked in attention and in the pooled prompt. What is left is rounding: a product of matrices may be summed
in another order in a batch of another shape, which moves logits by about one part in a million, and a draw that lies
so near to the border of two tokens may fall on either side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from clutch_llm.errors import ConfigError
from clutch_llm.given import Forcing
from clutch_llm.model import ClutchModel
from clutch_llm.prompts import Prompt
from clutch_llm.rows import no_positions, rows_of_tokens
from clutch_llm.sampling import Sampling

#: Rows decoded side by side.
CHUNK = 256


def chunks_of(rows: Sequence[Prompt], steps: Sequence[int] = ()) -> Iterator[list[int]]:
    """Indices of at most `CHUNK` rows, like lengths together: of motions where they are known, then of prompts."""
    order = sorted(range(len(rows)), key=lambda k: (steps[k] if steps else 0, len(rows[k].ids)))
    for start in range(0, len(rows), CHUNK):
        yield order[start : start + CHUNK]


class Stepper:
    """Runs the decoder one input at a time over a fixed batch of prompts.

    Args:
        model: the language model, in eval mode.
        prompts: ids and positions of each prompt.
        unconditional: the prompt without a caption, for guidance; None for no guidance.
        guidance: strength of guidance.
        use_cache: False runs the whole prefix again at every step: the plain reference.
    """

    def __init__(
        self,
        model: ClutchModel,
        prompts: Sequence[Prompt],
        *,
        unconditional: Prompt | None = None,
        guidance: float = 1.0,
        use_cache: bool = True,
    ) -> None:
        self.model = model
        self.guidance = guidance
        self.guided = unconditional is not None
        rows = list(prompts) + ([unconditional] * len(prompts) if unconditional is not None else [])
        ids, positions, mask = _pad_prompts(rows, model.layout.pad, model.device)
        self.mask = mask
        self.encoded = model.encode(ids, mask, positions)
        self.cache = model.new_cache() if use_cache else None
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def step(self, ids: torch.Tensor, positions: torch.Tensor, free: torch.Tensor | None = None) -> torch.Tensor:
        """Feed inputs (N, T) with the positions that follow them; gives the last states (N or 2N, d_model).

        Args:
            ids: tokens, or rows (N, T, n_slots) in the step form.
            positions: of what follows each.
            free: what guidance's rows without a text are fed instead.
        """
        if self.guided:
            ids = torch.cat([ids, ids if free is None else free])
            positions = torch.cat([positions, positions])
        if self.cache is None:
            self.seen.append((ids, positions))
            ids = torch.cat([s[0] for s in self.seen], 1)
            positions = torch.cat([s[1] for s in self.seen], 1)
        return self.model.decode(ids, positions, self.encoded, self.mask, self.cache)[:, -1]

    def guide(self, logits: torch.Tensor) -> torch.Tensor:
        """Combine the logits with and without caption (2N, V) -> (N, V); without guidance they pass through."""
        if not self.guided:
            return logits
        given, free = logits.chunk(2)
        return free + self.guidance * (given - free)


def _pad_prompts(
    rows: Sequence[Prompt], pad: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    longest = max(len(ids) for ids, _ in rows)
    ids = np.full((len(rows), longest, *rows[0].ids.shape[1:]), pad, dtype=np.int64)
    positions = np.zeros((len(rows), longest, *rows[0].positions.shape[1:]), dtype=np.int64)
    mask = np.zeros((len(rows), longest), dtype=bool)
    for k, (row, position) in enumerate(rows):
        ids[k, : len(row)], positions[k, : len(row)], mask[k, : len(row)] = row, position, True
    return torch.from_numpy(ids).to(device), torch.from_numpy(positions).to(device), torch.from_numpy(mask).to(device)


@torch.inference_mode()
def generate_motion(
    model: ClutchModel,
    prompts: Sequence[Prompt],
    *,
    chance: np.ndarray,
    sampling: Sampling,
    steps: int | Sequence[int] | None = None,
    unconditional: Prompt | None = None,
    use_cache: bool = True,
    forcing: Forcing | None = None,
) -> list[np.ndarray]:
    """Draw one motion for each prompt, by constrained decoding.

    Args:
        model: the language model.
        prompts: text-to-motion prompts.
        chance: the only source of randomness: uniform in [0, 1), shape (N, max_steps * n_slots); column k draws code k.
        sampling: how tokens are drawn.
        steps: exact number of latent steps, one for all or one for each; None lets the model end each motion where a
            step ends.
        unconditional: prompt without caption, needed for guidance.
        use_cache: False recomputes everything at each step (the reference that tests compare with).
        forcing: codes that are given, whatever the model would write; for an exact number of steps.

    Returns:
        Tokens (L, n_slots) int64 for each prompt, 1 <= L <= max_steps.
    """
    N = len(prompts)
    length = torch.tensor(model.max_steps if steps is None else steps, device=model.device).expand(N).clone()
    written = write_codes(
        model,
        prompts,
        length,
        chance=chance,
        sampling=sampling,
        steps=steps,
        unconditional=unconditional,
        use_cache=use_cache,
        forcing=forcing,
    )
    tokens = torch.stack(list(written), 1).cpu().numpy()
    return [tokens[k, : int(length[k])] for k in range(N)]


@torch.inference_mode()
def write_codes(
    model: ClutchModel,
    prompts: Sequence[Prompt],
    length: torch.Tensor,
    *,
    chance: np.ndarray,
    sampling: Sampling,
    steps: int | Sequence[int] | None = None,
    unconditional: Prompt | None = None,
    use_cache: bool = True,
    forcing: Forcing | None = None,
) -> Iterator[torch.Tensor]:
    """Draw latent steps one by one until each motion has ended: codes (N, n_slots) each.

    Arguments are those of `generate_motion`, and ``length`` (N,): of each motion at most; it becomes what it is as soon
    as the motion ends.
    """
    model.eval()
    layout, n, N = model.layout, model.layout.n_slots, len(prompts)
    longest = model.max_steps if steps is None else int(np.max(steps))
    if steps is not None and not 1 <= np.min(steps) <= longest <= model.max_steps:
        raise ConfigError(f"Expected 1 to {model.max_steps} latent steps, got {steps}. Ask for fewer seconds.")
    guided = unconditional if sampling.guidance != 1.0 else None
    stepper = Stepper(model, prompts, unconditional=guided, guidance=sampling.guidance, use_cache=use_cache)
    ids = torch.tensor([[layout.pad, layout.som]], device=model.device).repeat(N, 1)
    positions = torch.tensor([[0, 1]], device=model.device).repeat(N, 1)
    drawn = on_device(chance, model.device)
    codes: list[torch.Tensor] = []
    given, known = torch.zeros(N, n, dtype=torch.int64), torch.zeros(n, dtype=torch.bool)
    for at in range(longest * n):
        states = stepper.step(ids, positions)
        step, slot = divmod(at, n)
        if slot == 0 and forcing:
            given, known = forcing.at(step)
        logits = model.slot_head(states, slot)
        if slot == 0 and step > 0 and steps is None:
            end = model.head_of(states, layout.eom)
            code = sampling.draw(stepper.guide(torch.cat([logits, end], -1)), drawn[:, at])
            length.copy_(torch.where((code == layout.codebook_size) & (length > step), step, length))
            if bool((length <= step).all()):
                return
            code = code.clamp(max=layout.codebook_size - 1)
        elif bool(known[slot]):
            code = given[:, slot]
        else:
            code = sampling.draw(stepper.guide(logits), drawn[:, at])
        codes.append(code)
        ids = (code + layout.slot_range(slot)[0])[:, None]
        positions = torch.full_like(ids, at + 2)
        if slot == n - 1:
            whole, codes = torch.stack(codes, 1), []
            if forcing:
                forcing.follow(whole)
            yield whole


@torch.inference_mode()
def generate_text(
    model: ClutchModel, prompts: Sequence[Prompt], *, max_tokens: int = 96, use_cache: bool = True
) -> list[list[int]]:
    """The likeliest text for each prompt, token by token; motion tokens and sentinels cannot be drawn."""
    model.eval()
    layout, N = model.layout, len(prompts)
    stepper = Stepper(model, prompts, use_cache=use_cache)
    banned = torch.zeros(layout.size, dtype=torch.bool, device=model.device)
    banned[layout.text_size :] = True
    banned[[layout.pad, *layout.sentinels]] = True
    ids = torch.full((N, 1), layout.pad, device=model.device)
    nowhere = torch.from_numpy(no_positions(1, layout)).to(model.device).expand(N, 1, *(2,) * layout.stepwise)
    done = torch.zeros(N, dtype=torch.bool, device=model.device)
    out: list[torch.Tensor] = []
    for _ in range(max_tokens):
        states = stepper.step(rows_of_tokens(ids, layout), nowhere)
        token = model.head(states).masked_fill(banned, -torch.inf).argmax(-1)
        token = torch.where(done, layout.eos, token)
        out.append(token)
        done |= token == layout.eos
        if bool(done.all()):
            break
        ids = token[:, None]
    rows = torch.stack(out, 1).tolist()
    return [row[: row.index(layout.eos)] if layout.eos in row else row for row in rows]


@torch.inference_mode()
def generate_free(
    model: ClutchModel, prompts: Sequence[Prompt], *, chance: np.ndarray, sampling: Sampling
) -> list[np.ndarray]:
    """Draw ids with no constraint, to measure how often a model alone writes a malformed motion.

    Args:
        model: the language model.
        prompts: text-to-motion prompts.
        chance: uniform in [0, 1), shape (N, max_steps * n_slots + 2).
        sampling: how tokens are drawn; guidance is not used.

    Returns:
        Ids up to and with the first ``<eom>`` or end token, or as many as a motion of ``max_steps`` has.
    """
    model.eval()
    layout, N = model.layout, len(prompts)
    stepper = Stepper(model, prompts)
    ids = torch.full((N, 1), layout.pad, device=model.device)
    positions = torch.zeros_like(ids)
    out: list[torch.Tensor] = []
    done = torch.zeros(N, dtype=torch.bool, device=model.device)
    drawn = on_device(chance, model.device)
    for at in range(model.max_steps * layout.n_slots + 2):
        token = sampling.draw(model.head(stepper.step(ids, positions)), drawn[:, at])
        out.append(token)
        done |= (token == layout.eom) | (token == layout.eos)
        if bool(done.all()):
            break
        ids = token[:, None]
        inside = (positions > 0) & (token[:, None] != layout.eom)
        positions = torch.where(ids == layout.som, 1, torch.where(inside, positions + 1, 0))
    return [_cut(row, layout.eom, layout.eos) for row in torch.stack(out, 1).cpu().numpy()]


def on_device(chance: np.ndarray, device: torch.device) -> torch.Tensor:
    """Random numbers (N, count) as a tensor on a device."""
    return torch.from_numpy(chance.astype(np.float32) if device.type == "mps" else chance).to(device)


def _cut(row: np.ndarray, *ends: int) -> np.ndarray:
    hits = np.flatnonzero(np.isin(row, ends))
    return row[: hits[0] + 1] if len(hits) else row
