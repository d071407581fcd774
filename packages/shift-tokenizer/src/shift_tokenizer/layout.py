"""The 198 motion features, as far as a tokenizer has to know them.

Convention:
    A frame is left hand then right hand, 99 numbers each:
    `[global_orient 6D (0:6) | hand_pose 15 x 6D (6:96) | transl in metres (96:99)]`.
    A 6D rotation is the first two rows of its matrix, row after row: the identity is `[1, 0, 0, 0, 1, 0]`.

    Mirroring at the plane x = 0 turns a rotation matrix R into M R M with M = diag(-1, 1, 1). It flips the
    sign of those entries that have exactly one index 0: the 6D signs are `[+, -, -, -, +, +]`, and `transl`
    changes x. So a left hand becomes a right hand by 99 signs, without any kinematics.
"""

import torch
from torch import Tensor

HANDS = 2
HAND_FEATURES = 99
FEATURES = HANDS * HAND_FEATURES
ROTATION = range(0, 6)
POSE = range(6, 96)
TRANSLATION = range(96, 99)
TRAJECTORY = (*ROTATION, *TRANSLATION)

_MIRROR_6D = (1.0, -1.0, -1.0, -1.0, 1.0, 1.0)


def mirror_signs() -> Tensor:
    """Signs that turn one hand's features into those of its mirror image, shape (99,)."""
    return torch.tensor([*(_MIRROR_6D * 16), -1.0, 1.0, 1.0])


def split_hands(features: Tensor) -> Tensor:
    """(..., 198) -> (..., 2, 99)."""
    return features.unflatten(-1, (HANDS, HAND_FEATURES))


def join_hands(features: Tensor) -> Tensor:
    """(..., 2, 99) -> (..., 198)."""
    return features.flatten(-2)
