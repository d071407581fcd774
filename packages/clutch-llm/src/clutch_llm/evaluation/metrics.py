"""Metrics over embeddings of text and motion: each a small, pure, seeded function.

Design choices:

- Everything is float64 numpy; nothing here knows of models or clips.
- Retrieval splits ties fairly: a query whose match is tied with m others is a top-1 hit with credit 1 / (m +
  1). A model that says the same thing to everything therefore scores exactly chance.
- Whatever cannot be computed from so few samples is None, never a number that looks like one.

Sources: R-precision, MMDist, Diversity, MultiModality: Guo et al. 2022 (HumanML3D); FID: Heusel et al. 2017;
KID: Binkowski et al. 2018.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

GROUP_SIZE = 32
TOP_K = (1, 2, 3)
_TIE = 1e-9


def _embeddings(x: ArrayLike, name: str) -> Array:
    array = np.asarray(x, dtype=np.float64)
    if array.ndim != 2:
        raise ValueError(f"Expected {name} of shape (N, D), got {array.shape}. Embed one vector per sample first.")
    if not np.isfinite(array).all():
        raise ValueError(f"Expected finite {name}, got NaN or infinity. Look for a broken motion among the samples.")
    return array


def _pair(a: ArrayLike, b: ArrayLike, names: tuple[str, str], *, same_length: bool) -> tuple[Array, Array]:
    x, y = _embeddings(a, names[0]), _embeddings(b, names[1])
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"Expected {names[0]} and {names[1]} of one width, got {x.shape[1]} and {y.shape[1]}. "
            "Embed both with the same evaluator."
        )
    if same_length and len(x) != len(y):
        raise ValueError(
            f"Expected one of {names[1]} for each of {names[0]}, got {len(x)} and {len(y)}. Pair them row by row."
        )
    return x, y


def distance_matrix(a: ArrayLike, b: ArrayLike) -> Array:
    """Euclidean distances between all rows of ``a`` (N, D) and of ``b`` (M, D), as (N, M)."""
    x, y = _pair(a, b, ("a", "b"), same_length=False)
    squared = (x**2).sum(1)[:, None] + (y**2).sum(1)[None] - 2.0 * x @ y.T
    return np.sqrt(np.maximum(squared, 0.0))


def top_k_credit(distances: ArrayLike, k: int) -> Array:
    """Credit of each row of a square distance matrix for finding its own column among its k nearest.

    Args:
        distances: (G, G); row i's match is column i.
        k: how many nearest columns count.

    Returns:
        (G,) in [0, 1]: 1 inside, 0 outside, and in between when ties straddle the k-th place: the probability
        of a hit when ties are broken at random.
    """
    d = np.asarray(distances, dtype=np.float64)
    own = np.diagonal(d)[:, None]
    tolerance = _TIE * (1.0 + np.abs(own))
    nearer = (d < own - tolerance).sum(1)
    tied = (np.abs(d - own) <= tolerance).sum(1)
    return np.clip((k - nearer) / tied, 0.0, 1.0)


def r_precision(
    queries: ArrayLike,
    candidates: ArrayLike,
    *,
    top_k: Sequence[int] = TOP_K,
    group_size: int = GROUP_SIZE,
    groupings: int = 20,
    seed: int = 0,
) -> dict[str, float | int | bool | None]:
    """Share of queries that find their own candidate among the k nearest of a group.

    The samples are shuffled ``groupings`` times; each time they are cut into as many whole groups as there
    are, and what is left over sits out. With fewer than two groups' worth of samples, each grouping is one
    random draw, and the draws overlap (``overlap`` is true).

    Args:
        queries: (N, D), for example one text embedding per clip.
        candidates: (N, D), row i belonging to query i.
        top_k: the k to report.
        group_size: candidates that each query chooses from.
        groupings: how often to shuffle; the spread is taken over these.
        seed: of the shuffles.

    Returns:
        ``top{k}`` and ``top{k}_std`` for each k, ``groups`` per grouping, ``group_size``, ``overlap``. All
        ``top`` are None when there are fewer samples than one group.
    """
    q, c = _pair(queries, candidates, ("queries", "candidates"), same_length=True)
    groups = len(q) // group_size
    result: dict[str, float | int | bool | None] = {
        "group_size": group_size,
        "groups": groups,
        "overlap": groups == 1 and len(q) > group_size,
    }
    if groups == 0:
        return result | {key: None for k in top_k for key in (f"top{k}", f"top{k}_std")}
    scores = np.zeros((groupings, len(top_k)))
    for r, order in enumerate(_groupings(len(q), group_size, groupings, seed)):
        matrices = [distance_matrix(q[i], c[i]) for i in order]
        scores[r] = [np.mean([top_k_credit(d, k) for d in matrices]) for k in top_k]
    for j, k in enumerate(top_k):
        result[f"top{k}"] = float(scores[:, j].mean())
        result[f"top{k}_std"] = float(scores[:, j].std())
    return result


def r_precision_full(queries: ArrayLike, candidates: ArrayLike, *, top_k: Sequence[int] = TOP_K) -> dict[str, float]:
    """R-precision over the full set: every query chooses among all N candidates; ``top{k}`` for each k."""
    q, c = _pair(queries, candidates, ("queries", "candidates"), same_length=True)
    distances = distance_matrix(q, c)
    return {f"top{k}": float(top_k_credit(distances, k).mean()) for k in top_k}


def r_precision_credit(
    queries: ArrayLike,
    candidates: ArrayLike,
    *,
    k: int = 3,
    group_size: int = GROUP_SIZE,
    groupings: int = 20,
    seed: int = 0,
) -> Array:
    """What each query adds to R-precision top k: its mean credit over the groupings that it was part of.

    Returns:
        (N,) in [0, 1]; NaN for a query that sat out every time, or all NaN when there are fewer than one group.
    """
    q, c = _pair(queries, candidates, ("queries", "candidates"), same_length=True)
    total, times = np.zeros(len(q)), np.zeros(len(q))
    for order in _groupings(len(q), group_size, groupings, seed):
        for i in order:
            total[i] += top_k_credit(distance_matrix(q[i], c[i]), k)
            times[i] += 1
    return np.where(times > 0, total / np.maximum(times, 1), np.nan)


def _groupings(count: int, group_size: int, groupings: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Random cuts of ``count`` indices into whole groups, (groups, group_size) each; none below one group."""
    groups = count // group_size
    rng = np.random.default_rng(seed)
    for _ in range(groupings if groups else 0):
        yield rng.permutation(count)[: groups * group_size].reshape(groups, group_size)


def chance_r_precision(group_size: int = GROUP_SIZE, top_k: Sequence[int] = TOP_K) -> dict[str, float]:
    """R-precision of guessing: k / group size."""
    return {f"top{k}": min(1.0, k / group_size) for k in top_k}


def mm_dist(texts: ArrayLike, motions: ArrayLike) -> float:
    """MMDist: mean Euclidean distance between each text (N, D) and its own motion (N, D)."""
    t, m = _pair(texts, motions, ("texts", "motions"), same_length=True)
    return float(np.linalg.norm(t - m, axis=1).mean())


def _sqrt_psd(matrix: Array) -> Array:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def fid(truth: ArrayLike, generated: ArrayLike) -> float | None:
    """Fréchet distance between Gaussians fitted to two sets of embeddings, (N, D) and (M, D).

    The matrix root is taken through symmetric eigendecompositions, so that rank-deficient covariances (fewer
    samples than dimensions) stay real. None with fewer than two samples on a side.
    """
    x, y = _pair(truth, generated, ("truth", "generated"), same_length=False)
    if min(len(x), len(y)) < 2:
        return None
    cov_x, cov_y = np.atleast_2d(np.cov(x, rowvar=False)), np.atleast_2d(np.cov(y, rowvar=False))
    root = _sqrt_psd(cov_x)
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cov_y @ root), 0.0)).sum()
    mean_term = ((x.mean(0) - y.mean(0)) ** 2).sum()
    return float(max(0.0, mean_term + np.trace(cov_x) + np.trace(cov_y) - 2.0 * cross))


def polynomial_mmd(x: ArrayLike, y: ArrayLike, *, degree: int = 3) -> float:
    """Unbiased squared MMD under the kernel (x . y / D + 1) ** degree, of (N, D) against (M, D).

    N, M at least 2.
    """
    a, b = _pair(x, y, ("x", "y"), same_length=False)
    n, m = len(a), len(b)
    if min(n, m) < 2:
        raise ValueError(f"Expected at least 2 samples a side, got {n} and {m}. Use more clips.")
    aa, bb = _kernel(a, a, degree), _kernel(b, b, degree)
    within_a = (aa.sum() - np.trace(aa)) / (n * (n - 1))
    within_b = (bb.sum() - np.trace(bb)) / (m * (m - 1))
    return float(within_a + within_b - 2.0 * _kernel(a, b, degree).mean())


def _kernel(a: Array, b: Array, degree: int = 3) -> Array:
    return (a @ b.T / a.shape[1] + 1.0) ** degree


def mmd_change_by_clip(truth: ArrayLike, before: ArrayLike, after: ArrayLike) -> Array:
    """What each clip adds to ``polynomial_mmd(truth, after) - polynomial_mmd(truth, before)``.

    Args:
        truth: (N, D), N at least 2.
        before: (N, D), row i made for clip i.
        after: (N, D), row i made for clip i.

    Returns:
        (N,) whose mean is that difference exactly, and whose spread over clips gives its error to first order (the
        Hajek projection of the estimate): what a bootstrap over clips draws from. Negative: ``after`` is nearer.
    """
    x, y = _pair(truth, before, ("truth", "before"), same_length=True)
    _, z = _pair(truth, after, ("truth", "after"), same_length=True)
    n = len(x)
    if n < 2:
        raise ValueError(f"Expected at least 2 clips, got {n}. Use more clips.")

    def terms(made: Array) -> tuple[Array, float]:
        within, across = _kernel(made, made), _kernel(x, made)
        own = (within.sum(1) - np.diagonal(within)) / (n - 1)  # of each made motion, to the others
        exact = own.mean() - 2.0 * across.mean()
        return 2.0 * own - 2.0 * across.mean(0) - 2.0 * across.mean(1), float(exact)

    (slope_after, exact_after), (slope_before, exact_before) = terms(z), terms(y)
    slope = slope_after - slope_before
    return slope - slope.mean() + (exact_after - exact_before)


def kid_values(
    truth: ArrayLike, generated: ArrayLike, *, subsets: int = 50, subset_size: int = 100, seed: int = 0
) -> tuple[Array, int]:
    """Polynomial MMD of random subsets drawn without replacement: ((subsets,) values, the size of a subset).

    A subset is at most half of the smaller side, so that subsets differ from each other; with fewer than 4
    samples there are no values. The same seed and sizes draw the same rows: values of two generated sets can
    be compared in pairs.
    """
    x, y = _pair(truth, generated, ("truth", "generated"), same_length=False)
    size = min(subset_size, min(len(x), len(y)) // 2)
    if size < 2:
        return np.zeros(0), 0
    rng = np.random.default_rng(seed)
    values = [
        polynomial_mmd(x[rng.choice(len(x), size, replace=False)], y[rng.choice(len(y), size, replace=False)])
        for _ in range(subsets)
    ]
    return np.asarray(values), size


def kid(
    truth: ArrayLike, generated: ArrayLike, *, subsets: int = 50, subset_size: int = 100, seed: int = 0
) -> dict[str, float | int | None]:
    """KID: mean and spread of the polynomial MMD over random subsets (``kid_values``).

    Returns:
        ``mean`` and ``std`` over the subsets (None below 4 samples), ``subsets``, ``subset_size``. The mean
        may be slightly negative: the estimate is unbiased.
    """
    values, size = kid_values(truth, generated, subsets=subsets, subset_size=subset_size, seed=seed)
    if not len(values):
        return {"mean": None, "std": None, "subsets": 0, "subset_size": 0}
    return {"mean": float(values.mean()), "std": float(values.std()), "subsets": subsets, "subset_size": size}


def diversity(motions: ArrayLike, *, pairs: int = 50, repeats: int = 20, seed: int = 0) -> float | None:
    """Mean distance between random disjoint pairs of (N, D).

    There are 50 pairs, or N // 2 where that is less, drawn ``repeats`` times. None below two samples.
    """
    x = _embeddings(motions, "motions")
    count = min(pairs, len(x) // 2)
    if count == 0:
        return None
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(repeats):
        order = rng.permutation(len(x))
        values.append(np.linalg.norm(x[order[:count]] - x[order[count : 2 * count]], axis=1).mean())
    return float(np.mean(values))


def multimodality(samples: Sequence[ArrayLike]) -> float | None:
    """Mean distance between motions drawn for one caption, averaged over captions.

    Args:
        samples: one (S_i, D) array per caption; captions with a single sample do not count.

    Returns:
        The mean, or None if no caption has two samples.
    """
    values = []
    for sample in samples:
        x = _embeddings(sample, "samples")
        if len(x) >= 2:
            values.append(distance_matrix(x, x)[np.triu_indices(len(x), 1)].mean())
    return float(np.mean(values)) if values else None
