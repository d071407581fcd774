"""Image landmarks with depths, weighed by a tracker's table: the term that a fit minimises, and the fit.

The hand before the camera is that of the drawn or of the mean shape; a person's differs, and so does where the tracker
puts its landmarks on it. The fit therefore learns small offsets of the clip's own on the way, as marker positions are
learned with the body in motion capture (Loper, Mahmood and Black, MoSh, 2014).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hand_geometry.assets import Array
from hand_geometry.fitting.chain import CARRIER, PARAMETERS, HandChain, HandState, Posed, pose
from hand_geometry.fitting.observed import Observed
from hand_geometry.fitting.start import ray_of
from hand_geometry.fitting.table import LandmarkTable, hand_frames

NEAREST = 0.02  # metres before the camera
_FRAME_HUBER = 16.0  # a frame whose white error is longer counts linearly; that of a usual one is about 8
_OWN_OFFSET = 0.004  # metres: standard deviation of a clip's own offsets
_OWN_SIGMA = 6.0  # pixels, errors that the poses explain included
_OWN_FRAMES = 30  # a clip tells as much as so many frames that are independent of each other
_OUTLIER = 2.0  # standard deviations (Geman and McClure, 1987)


@dataclass(frozen=True)
class TrackedImage:
    """Image landmarks of one clip as a term of the objective.

    Attributes:
        seen: Pixels and depths, depths relative to their mean, shape (T, 21, 3).
        weight: Shape (T, 21), 0 or 1.
        camera: Pinhole matrix, shape (3, 3).
        ray: Through the middle of the hand, shape (T, 3), unit length.
        scale: Pixels per metre at the hand, shape (T,).
        frames: Image to hand, shape (T, 2, 2).
        bias: Mean error, shape (21, 3), metres.
        white: Whitening of each frame, shape (T, 63, 63), or (1, 63, 63) if the same landmarks are seen throughout.
    """

    seen: Array
    weight: Array
    camera: Array
    ray: Array
    scale: Array
    frames: Array
    bias: Array
    white: Array

    @classmethod
    def build(cls, table: LandmarkTable, side: str, observed: Observed, depth: Array) -> TrackedImage:
        """The term of a clip.

        Args:
            table: The tracker's.
            side: "left" or "right".
            observed: With pixels, depths and camera.
            depth: Rough distance of the hand, shape (T,), metres.
        """
        assert observed.pixels is not None
        assert observed.depths is not None
        assert observed.camera is not None
        weight = observed.weight_2d
        depths = observed.depths - (observed.depths * _share(weight)).sum(1, keepdims=True)
        patterns, which = np.unique(weight[observed.seen], axis=0, return_inverse=True)
        white = np.stack([table.whitening(pattern) for pattern in patterns])
        if len(patterns) > 1:
            every = np.zeros((len(weight), 63, 63))
            every[observed.seen] = white[which.ravel()]
            white = every
        return cls(
            seen=np.concatenate([observed.pixels, depths[..., None]], -1),
            weight=weight,
            camera=observed.camera,
            ray=ray_of(observed.pixels, observed.camera, weight),
            scale=observed.camera[[0, 1], [0, 1]].mean() / np.maximum(depth, NEAREST),
            frames=hand_frames(observed.pixels, weight, side),
            bias=table.bias,
            white=white,
        )

    def costs(self, posed: Posed) -> Array:
        """Value of each frame, shape (T,)."""
        length = np.linalg.norm(self._white_error(posed), axis=-1)
        far = 2 * _FRAME_HUBER * length - _FRAME_HUBER**2
        return np.asarray(np.where(length < _FRAME_HUBER, length**2, far)) * self.weight.any(1)

    def normal_equations(self, posed: Posed, slope: Array) -> tuple[Array, Array]:
        """Gauss-Newton matrices (T, 51, 51) and half gradients (T, 51); slope of the keypoints (T, 51, 21, 3)."""
        dtype = slope.dtype
        error = self._white_error(posed)
        length = np.linalg.norm(error, axis=-1)
        trust = (self.weight.any(1) * _FRAME_HUBER / np.maximum(length, _FRAME_HUBER)).astype(dtype)
        white = slope.reshape(-1, PARAMETERS, 63) @ (self.to_white(posed) * np.sqrt(trust)[:, None, None]).astype(dtype)
        gradient = white @ (error * np.sqrt(trust)[:, None]).astype(dtype)[..., None]
        return white @ white.swapaxes(1, 2), gradient[..., 0]

    def expected(self, posed: Posed) -> Array:
        """Where the tracker is expected to see the landmarks of a hand, its bias included: shape (T, 21, 2), pixels."""
        bias = np.einsum("tji,kj->tki", self.frames, self.bias[:, :2]) * self.scale[:, None, None]
        return np.asarray(self._predicted(posed.keypoints)[..., :2] - bias)

    def _predicted(self, points: Array) -> Array:
        """Pixels and relative depths of points (T, 21, 3)."""
        focal, share = self.camera[[0, 1], [0, 1]], _share(self.weight)[..., None]
        flat = points[..., :2] / np.maximum(points[..., 2:], NEAREST) * focal + self.camera[:2, 2]
        middle = (points * share).sum(1, keepdims=True)
        along = ((points - middle) @ self.ray[..., None])[..., 0]
        return np.concatenate([flat, (along * focal.mean() / np.maximum(middle[..., 2], NEAREST))[..., None]], -1)

    def error(self, posed: Posed) -> Array:
        """Predicted less seen, at the hand and in its frame, shape (T, 21, 3), metres."""
        error = (self._predicted(posed.keypoints) - self.seen) / self.scale[:, None, None]
        error[..., :2] = error[..., :2] @ self.frames.swapaxes(1, 2)
        return np.asarray(error)

    def _white_error(self, posed: Posed) -> Array:
        flat = (self.error(posed) - self.bias).reshape(-1, 63, 1)
        return np.asarray((self.white @ flat)[..., 0])

    def to_white(self, posed: Posed) -> Array:
        """Linear map from moves of the keypoints (T, 63) to changes of the white error, shape (T, 63, 63), transposed.

        One product with it is cheaper than projecting each of the 51 slopes.
        """
        points, share = posed.keypoints, _share(self.weight)
        focal = self.camera[[0, 1], [0, 1]]
        inverse = 1 / np.maximum(points[..., 2:], NEAREST)
        middle = (points * share[..., None]).sum(1)
        distance = np.maximum(middle[:, 2], NEAREST)
        nearer = focal.mean() / distance  # (T,)
        along = ((points - middle[:, None]) @ self.ray[..., None])[..., 0]
        each = np.zeros((*points.shape, 3))  # (T, 21, by x y z, of the error's x y z)
        each[..., :2, :2] = np.eye(2) * focal * inverse[..., None]
        each[..., 2, :2] = -focal * points[..., :2] * inverse**2
        each[..., :2] = each[..., :2] @ self.frames.swapaxes(1, 2)[:, None]
        each[..., 2] = (self.ray * nearer[:, None])[:, None]
        white = self.white.swapaxes(1, 2).reshape(-1, 21, 3, 63)
        out = each @ white  # (T, 21, 3, 63)
        # The depths are relative to the middle of the hand, and a hand further away looks smaller.
        whole = (self.ray * nearer[:, None])[..., None] * white[:, :, 2].sum(1)[:, None]  # (T, 3, 63)
        smaller = np.einsum("tk,tke->te", along, np.broadcast_to(white[:, :, 2], (len(along), 21, 63)))
        whole[:, 2] += smaller * (nearer / distance)[:, None]
        out -= share[..., None, None] * whole[:, None]
        return np.asarray(out.reshape(-1, 63, 63) / self.scale[:, None, None])


def own_offsets(image: TrackedImage, chain: HandChain, state: HandState) -> HandChain:
    """The chain with offsets that suit this clip better, kept close to those it has.

    Args:
        image: What was seen.
        chain: With the table's offsets.
        state: The hand so far.
    """
    seen = image.weight.any(1)
    posed = pose(chain, state)
    focal = image.camera[[0, 1], [0, 1]]
    depth = np.maximum(posed.keypoints[seen][..., 2:], NEAREST)
    ratio = posed.keypoints[seen][..., :2] / depth
    turns = posed.world[seen][:, CARRIER]
    slope = focal[:, None] * (turns[..., :2, :] - ratio[..., None] * turns[..., 2:, :]) / depth[..., None] / _OWN_SIGMA
    error = (image.seen[seen][..., :2] - image.expected(posed)[seen]) / _OWN_SIGMA
    trust = image.weight[seen] / (1 + (np.linalg.norm(error, axis=-1) / _OUTLIER) ** 2) ** 2
    trust *= min(1.0, _OWN_FRAMES / len(trust))
    normal = np.einsum("tk,tkda,tkdb->kab", trust, slope, slope) + np.eye(3) / _OWN_OFFSET**2
    right = np.einsum("tk,tkda,tkd->ka", trust, slope, error)
    return replace(chain, local=chain.local + np.linalg.solve(normal, right[..., None])[..., 0])


def _share(weight: Array) -> Array:
    return np.asarray(weight / np.maximum(weight.sum(1, keepdims=True), 1.0))
