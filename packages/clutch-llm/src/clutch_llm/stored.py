"""Clips that are read when they are asked for: what a stage holds of each, and its motion on demand.

What training needs of a clip at any time (tokens, captions, validity) is small. Its features are not: a million frames
take 800 MB, and their mirror images as much again. They are asked for where motions are compared, of a batch's clips.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hand_geometry import mirror_features
from numpy.typing import DTypeLike, NDArray
from shift_tokenizer.windows import Clips


class StoredMotion:
    """Features (T, 198) of a clip, which `numpy.asarray` reads anew each time.

    Args:
        clips: where it is read from; what stands there must not change meanwhile.
        index: its clip's number.
        frames: T, so that it is known without reading.
        mirrored: whether it is the mirror image that is read.
    """

    def __init__(self, clips: Clips, index: int, frames: int, *, mirrored: bool = False) -> None:
        self._clips, self._index, self._frames, self._mirrored = clips, index, frames, mirrored

    def __len__(self) -> int:
        return self._frames

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        features = np.ascontiguousarray(self._clips[self._index]["features"], dtype=np.float32)
        if self._mirrored:
            features = mirror_features(torch.from_numpy(features)).numpy()
        return features.astype(dtype or features.dtype, copy=bool(copy))

    def mirror(self) -> StoredMotion:
        """Its mirror image, not read either."""
        return StoredMotion(self._clips, self._index, self._frames, mirrored=not self._mirrored)
