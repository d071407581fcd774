"""The rules of hand parameters, each by numbers worked out by hand or by the formula that defines it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hiw_data.sources import mano_rules as rules
from hiw_data.sources.mano_rules import ManoHands
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from .mano_files import SHIFT, PlainHand, write_mano

QUARTER = np.array([0.0, 0.0, np.pi / 2])
"""Turns x to y."""


def test_the_mean_is_added_joint_by_joint() -> None:
    mean = np.arange(45.0)
    assert np.array_equal(rules.add_mean(np.zeros((2, 45)), mean)[1, 14], [42, 43, 44])
    assert np.array_equal(rules.add_mean(np.ones((2, 15, 3)), mean)[0, 1], [4, 5, 6])


def test_coefficients_weigh_the_first_rows_of_the_components() -> None:
    components = np.zeros((45, 45))
    components[0, 3], components[1, 44], components[2, 0] = 1, 2, 9
    pose = rules.from_pca([[0.5, 3.0]], components)
    assert pose.shape == (1, 15, 3)
    assert np.array_equal(pose[0, 1], [0.5, 0, 0])
    assert np.array_equal(pose[0, 14], [0, 0, 6])
    assert pose[0, 0, 0] == 0
    assert rules.from_pca([[0.0]], components, np.full(45, 7.0))[0, 3, 1] == 7


def test_smplx_translation_moves_the_rest_wrist() -> None:
    assert np.array_equal(rules.wrist_of_transl([[1.0, 2, 3]], [0.1, 0, 0]), [[1.1, 2, 3]])
    assert np.allclose(rules.transl_of_wrist([[1.1, 2, 3]], [0.1, 0, 0]), [[1, 2, 3]])


def test_a_hand_turned_about_its_origin_has_its_wrist_carried_along() -> None:
    wrist = rules.wrist_of_origin_transl([QUARTER], [[1.0, 0, 0]], [0.1, 0, 0])
    assert np.allclose(wrist, [[1.0, 0.1, 0]])
    # the table's formula for smplx's translation, t + R J0 - J0
    assert np.allclose(rules.transl_of_wrist(wrist, [0.1, 0, 0]), [[0.9, 0.1, 0]])


def test_another_frame_turns_the_wrist_about_the_frames_origin() -> None:
    turn = Rotation.from_rotvec(QUARTER).as_matrix()
    orient, wrist = rules.change_frame(np.zeros((1, 3)), [[0.5, 0, 0]], turn, [0, 0, 1])
    assert np.allclose(orient, [QUARTER])
    assert np.allclose(wrist, [[0, 0.5, 1]])


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_a_change_of_frame_is_the_formula_with_the_rest_wrist(seed: int) -> None:
    rng = np.random.default_rng(seed)
    turn, rest, transl, offset = Rotation.random(rng=seed).as_matrix(), *rng.normal(size=(3, 3))
    _, wrist = rules.change_frame(rng.normal(size=(1, 3)), rules.wrist_of_transl(transl[None], rest), turn, offset)
    assert np.allclose(rules.transl_of_wrist(wrist, rest)[0], turn @ (rest + transl) + offset - rest)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_a_mirrored_rotation_is_the_reflected_matrix(seed: int) -> None:
    turn = Rotation.random(rng=seed)
    mirror = np.diag([-1.0, 1, 1])
    got = Rotation.from_rotvec(rules.mirror_axis_angle(turn.as_rotvec())).as_matrix()
    assert np.allclose(got, mirror @ turn.as_matrix() @ mirror)


def test_matrices_and_quaternions_become_axis_angle() -> None:
    turn = np.array([[[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]])
    assert np.allclose(rules.axis_angle_of_matrices(turn), [QUARTER])
    half = np.sqrt(0.5)
    assert np.allclose(rules.axis_angle_of_quaternions([[half, 0, 0, half]]), [QUARTER])


def test_rows_are_repeated_where_there_is_one_for_all() -> None:
    assert rules.rows([1, 2, 3], 4, 3).shape == (4, 3)
    assert rules.rows([[1, 2, 3]], 4, 3)[3, 2] == 3
    with pytest.raises(ValueError, match=r"\(2, 3\) instead of \(4, 3\)"):
        rules.rows([[1, 2, 3]] * 2, 4, 3)


def test_the_rest_wrist_follows_the_betas_and_the_left_shapes(tmp_path: Path) -> None:
    write_mano(tmp_path)
    betas = np.linspace(-1, 1, 10)
    for kind in ("as-shipped", "mirrored"):
        hands = ManoHands.load(tmp_path, kind)  # type: ignore[arg-type]
        for side, name in enumerate(("left", "right")):
            plain = PlainHand(tmp_path, name, kind == "mirrored")
            assert np.allclose(hands.rest_wrist(side, betas), plain.rest(betas)[0])
            assert np.allclose(
                hands.rest_wrist(side, np.stack([betas, betas * 0])), [plain.rest(b)[0] for b in (betas, betas * 0)]
            )
    assert np.allclose(hands.rest_wrist(1) - rules.open_rest_wrists()[1], SHIFT)
    shipped, mirrored = (ManoHands.load(tmp_path, k).rest_wrist(0, betas) for k in ("as-shipped", "mirrored"))
    assert abs(shipped[0] - mirrored[0]) > 1e-4
    with pytest.raises(ValueError, match="11 betas"):
        hands.rest_wrist(0, np.zeros(11))
