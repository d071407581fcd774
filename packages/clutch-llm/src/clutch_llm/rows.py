"""Sequences of tokens and latent steps as arrays: what one position of the model holds.

In the interleaved form a sequence is ids (S,), and a position is one number (`positions`). In the step form it is rows
(S, n_slots), where a row is one token in column 0 and `IGNORE` elsewhere, or one latent step with the code of each slot
in its column; and a position is a pair (step, left): the number of the latent step, from 1, and how many steps are
left, itself included. Both are 0 for what is no step. As in the interleaved form, the encoder is told each row's own
position, the decoder that of the row it has to write next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from clutch_llm.vocabulary import TokenLayout

#: What is no label: padding of targets, and the columns of a token beside its first.
IGNORE = -100


def token_rows(ids: np.ndarray, layout: TokenLayout) -> np.ndarray:
    """Ids of tokens (S,) as the layout's form has them: (S,) or (S, n_slots)."""
    ids = np.asarray(ids, dtype=np.int64)
    if not layout.stepwise:
        return ids
    rows = np.full((len(ids), layout.n_slots), IGNORE, dtype=np.int64)
    rows[:, 0] = ids
    return rows


def no_positions(count: int, layout: TokenLayout) -> np.ndarray:
    """Positions of tokens outside a motion: zeros (count,) or (count, 2)."""
    return np.zeros((count, 2) if layout.stepwise else count, dtype=np.int64)


def step_positions(steps: int) -> np.ndarray:
    """Positions of the latent steps of a motion in the step form: (1, steps), (2, steps - 1), …, shape (steps, 2)."""
    first = np.arange(1, steps + 1)
    return np.stack([first, first[::-1]], 1)


def first_ids(rows: np.ndarray) -> np.ndarray:
    """Ids of rows that are tokens, in either form: (S,); a latent step gives the code of its first slot."""
    return rows if rows.ndim == 1 else rows[:, 0]


def are_steps(rows: torch.Tensor, layout: TokenLayout) -> torch.Tensor:
    """Which rows (…, n_slots) of the step form are latent steps, whether their codes are shown or ``<mask>``: (…)."""
    last = rows[..., -1]
    return ((last >= layout.text_size) & (last < layout.som)) | (last == layout.mask)


def rows_of_tokens(ids: torch.Tensor, layout: TokenLayout) -> torch.Tensor:
    """`token_rows` for tensors: ids (…) -> (…) or (…, n_slots)."""
    if not layout.stepwise:
        return ids
    rows = ids.new_full((*ids.shape, layout.n_slots), IGNORE)
    rows[..., 0] = ids
    return rows
