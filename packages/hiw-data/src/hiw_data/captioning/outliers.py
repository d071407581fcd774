"""Captions that fit no other clip of their kind: Local Outlier Factor over text and motion together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hiw_data.captioning.embeddings import Embedder
from hiw_data.captioning.problems import require

LEAST_CLIPS = 30
"""Among fewer captions nothing is called an outlier."""
_MOST_NEIGHBOURS, _LEAST_NEIGHBOURS, _SHARE = 20, 5, 6
"""A sixth of the clips within these bounds: more neighbours than there are clips of a kind hide every outlier."""


def outlier_factors(
    texts: Sequence[str], claims: Sequence[Sequence[str]], embedder: Embedder
) -> NDArray[np.float64] | None:
    """Local Outlier Factor (Breunig et al. 2000) of each caption with its motion.

    Args:
        texts: N captions.
        claims: N lists of claims of the motion, as text.
        embedder: Of the texts.

    Returns:
        (N,): about 1 among neighbours, larger outside; None for fewer than LEAST_CLIPS different captions. Text and
        motion weigh the same: each is a vector of length 1.
    """
    joint = np.concatenate([embedder.embed(texts), _claim_vectors(claims)], 1)
    rows, back = np.unique(joint.round(6), axis=0, return_inverse=True)  # equal rows would have density infinity
    if len(rows) < LEAST_CLIPS:
        return None
    neighbours = min(_MOST_NEIGHBOURS, max(_LEAST_NEIGHBOURS, len(rows) // _SHARE))
    factor = require("sklearn.neighbors", "vlm").LocalOutlierFactor(n_neighbors=neighbours)
    factor.fit(rows)
    return np.asarray(-factor.negative_outlier_factor_, float)[back.reshape(-1)]


def _claim_vectors(claims: Sequence[Sequence[str]]) -> NDArray[np.float32]:
    """(N, C): 1 for each claim that holds, rows of length 1."""
    column = {claim: i for i, claim in enumerate(sorted({claim for row in claims for claim in row}))}
    vectors = np.zeros((len(claims), max(len(column), 1)), np.float32)
    for vector, row in zip(vectors, claims, strict=True):
        vector[[column[claim] for claim in row]] = 1
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1)
