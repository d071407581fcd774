"""What kind of activity a clip shows, as a few numbers; clusters of them; balanced samples; near-duplicates."""

from __future__ import annotations

import numpy as np
from hand_geometry import features_to_joints
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2
from scipy.spatial import cKDTree

from hiw_data.errors import OptionError

_MOMENTS = 8
_TIPS = [0, 4, 8, 12, 16, 20]


def activity_vector(features: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Where wrists and fingertips are at eight moments of a clip, shape (576,), metres.

    Two clips that are near each other in this show nearly the same motion. A hand that is not seen at a moment counts
    as at the origin.

    Args:
        features: (T, 198), canonical.
        valid: (T, 2) bool.
    """
    joints = np.asarray(features_to_joints(features))[:, :, _TIPS].astype(np.float64)  # (T, 2, 6, 3)
    seen = np.flatnonzero(valid.any(1))
    at = seen[np.linspace(0, len(seen) - 1, _MOMENTS).round().astype(int)] if len(seen) else np.zeros(_MOMENTS, int)
    shown = np.where(valid[at][..., None, None], joints[at], 0.0)
    return np.asarray(shown.reshape(-1) / np.sqrt(_MOMENTS * 2 * len(_TIPS)))


def near_duplicates(vectors: NDArray[np.float64], *, nearest: float = 0.004) -> list[int | None]:
    """For each clip the earlier clip that it repeats, or None.

    Args:
        vectors: `activity_vector` of every clip, (N, D).
        nearest: clips whose wrists and fingertips are this near on average (root mean square, metres) are the same.

    Raises:
        OptionError: an option out of range.
    """
    if not nearest >= 0:
        raise OptionError(f"Expected nearest >= 0, got {nearest}.")
    repeats: list[int | None] = [None] * len(vectors)
    if len(vectors) < 2 or nearest == 0:
        return repeats
    for first, second in sorted(cKDTree(vectors).query_pairs(nearest)):
        if repeats[first] is None and repeats[second] is None:
            repeats[second] = first
    return repeats


def nearest_earlier(vectors: NDArray[np.float64], kept: NDArray[np.bool_], *, within: float) -> NDArray[np.float64]:
    """How near each clip is to the nearest kept clip before it, (N,), metres; infinity where none is near.

    Args:
        vectors: `activity_vector` of every clip, (N, D).
        kept: which of them stay, (N,) bool, at least one.
        within: as far as is looked, metres.
    """
    places = np.flatnonzero(kept)
    near, who = cKDTree(vectors[kept]).query(vectors, k=min(8, len(places)), distance_upper_bound=within)
    near, who = near.reshape(len(vectors), -1), who.reshape(len(vectors), -1)
    before = places[np.minimum(who, len(places) - 1)] < np.arange(len(vectors))[:, None]
    return np.asarray(np.where(before, near, np.inf).min(1))


def activity_clusters(vectors: NDArray[np.float64], clusters: int, seed: int = 0) -> NDArray[np.int64]:
    """The cluster of each clip, (N,), by k-means on the directions that vary most.

    Args:
        vectors: (N, D).
        clusters: how many, at most as many as clips.
        seed: of the start.
    """
    if clusters < 1:
        raise OptionError(f"Expected clusters >= 1, got {clusters}.")
    if len(vectors) <= clusters:
        return np.arange(len(vectors))
    centred = vectors - vectors.mean(0)
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    few = (left * scale)[:, : min(16, len(scale))]
    _, label = kmeans2(few, clusters, minit="++", seed=np.random.default_rng(seed), missing="warn")
    return np.asarray(label, np.int64)


def balanced(labels: NDArray[np.int64], most: int, seed: int = 0) -> NDArray[np.bool_]:
    """Which clips stay, (N,) bool, so that at most `most` do and no activity crowds out the others.

    Every cluster gives the same number, as far as it has so many; what small ones lack is shared among the larger.

    Args:
        labels: the cluster of each clip, (N,).
        most: how many clips may stay.
        seed: draws which of a cluster stay.
    """
    if most < 0:
        raise OptionError(f"Expected most >= 0, got {most}.")
    stays = np.ones(len(labels), bool)
    if len(labels) <= most:
        return stays
    names, counts = np.unique(labels, return_counts=True)
    quota = np.zeros(len(names), int)
    left = most
    while left and (open_ := np.flatnonzero(quota < counts)).size:
        share = max(left // len(open_), 1)
        for cluster in open_[:left]:
            given = min(share, counts[cluster] - quota[cluster], left)
            quota[cluster] += given
            left -= given
    rng = np.random.default_rng(seed)
    for name, count in zip(names, quota, strict=True):
        members = rng.permutation(np.flatnonzero(labels == name))
        stays[members[count:]] = False
    return stays
