import math

import numpy as np
import pytest
from code_motions import FPS, hand, moved, two_hands
from hand_geometry import contact_scores, contact_statistics, load_pose
from hand_geometry.codes import CodeThresholds
from hand_geometry.codes.contact import contact_distances
from hand_geometry.codes.geometry import measure
from hand_geometry.contact_metrics import contact_mask, contact_masks
from hand_geometry.errors import InputError, ShapeError


def pinching(frames: slice) -> np.ndarray:
    """Twenty frames of two hands; the right one pinches in some of them."""
    right = moved(np.zeros((20, 3)))
    right[frames] = hand(load_pose("pinch").numpy())
    return two_hands(right)


def test_the_mask_names_the_pair_and_the_frames() -> None:
    mask = contact_mask(pinching(slice(5, 10)), where="within")
    assert mask.shape == (20, 8)
    assert np.argwhere(mask.any(1)).ravel().tolist() == [5, 6, 7, 8, 9]
    assert np.argwhere(mask.any(0)).ravel().tolist() == [4]  # right hand, thumb and index
    assert not contact_mask(pinching(slice(5, 10)), where="within", min_frames=6).any()
    assert contact_mask(pinching(slice(5, 10)), where="across").shape == (20, 10)


def test_both_masks_of_one_measuring_are_those_of_two() -> None:
    joints, valid = pinching(slice(5, 10)), np.ones((20, 2), bool)
    valid[7, 1] = False
    joints[12:, 0, [8, 12]] = joints[12:, 1, 9:10]  # two tips of the left hand on the right palm
    masks = contact_masks(joints, valid)
    assert list(masks) == ["within", "across"]
    assert np.argwhere(masks["within"][:, 4]).ravel().tolist() == [5, 6, 8, 9]
    assert np.argwhere(masks["across"].any(0)).ravel().tolist() == [1, 2]
    assert np.argwhere(masks["across"][:, 1]).ravel().tolist() == list(range(12, 20))
    assert contact_masks(joints, valid, min_frames=3)["within"][:, 4].sum() == 0
    np.testing.assert_array_equal(masks["across"], contact_mask(joints, valid, where="across"))
    with pytest.raises(InputError, match="min_frames"):
        contact_masks(joints, min_frames=0)


def test_scores_of_the_same_motion_are_one_and_of_a_missed_contact_zero() -> None:
    touch, none = pinching(slice(5, 10)), pinching(slice(0, 0))
    assert contact_scores(touch, touch, where="within") == (1.0, 1.0, 1.0)
    precision, recall, f1 = contact_scores(none, touch, where="within")
    assert math.isnan(precision)
    assert (recall, f1) == (0.0, 0.0)
    assert contact_scores(touch, none, where="within").precision == 0.0


def test_scores_by_frame_count_frames() -> None:
    scores = contact_scores(pinching(slice(5, 15)), pinching(slice(5, 10)), where="within", level="frame")
    assert scores == pytest.approx((0.5, 1.0, 2 / 3))


def test_scores_are_means_over_clips() -> None:
    touch, none = pinching(slice(5, 10)), pinching(slice(0, 0))
    assert contact_scores(np.stack([touch, none]), np.stack([touch, touch]), where="within").recall == 0.5


def test_statistics_say_how_much_and_how_long() -> None:
    joints = pinching(slice(5, 10))
    joints[15:17] = pinching(slice(15, 17))[15:17]
    ratio, duration, often = contact_statistics(joints, None, FPS, where="within")
    assert ratio == pytest.approx(7 / 20)
    assert duration == pytest.approx(3.5 / 15)
    assert often == pytest.approx(2 / (20 / 15))


def test_an_unseen_hand_touches_nothing() -> None:
    valid = np.array([[True, False]] * 20)
    assert contact_statistics(pinching(slice(5, 10)), valid, FPS, where="within").ratio == 0.0
    assert math.isnan(contact_statistics(pinching(slice(5, 10)), valid, FPS, where="across").ratio)


def test_wrong_input_is_refused() -> None:
    joints = pinching(slice(0, 0))
    with pytest.raises(ShapeError):
        contact_scores(joints[:10], joints, where="within")
    with pytest.raises(InputError, match="where"):
        contact_mask(joints, where="everywhere")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="level"):
        contact_scores(joints, joints, where="within", level="second")  # type: ignore[arg-type]


def test_the_palm_reaches_from_the_little_fingers_knuckle_to_the_index_knuckle() -> None:
    """A tip just inside either edge of the rectangle, in the palm's plane, touches it; beyond the edge it does not."""
    joints = two_hands(moved(np.zeros((1, 3))))[None]
    right = joints[0, 0, 1]
    for knuckle, beside in ((5, 17), (17, 5)):
        out = (right[knuckle] - right[beside]) / np.linalg.norm(right[knuckle] - right[beside])
        inside = right[0] + 0.8 * (right[knuckle] - right[0])
        for place, near in ((inside - 0.002 * out, True), (inside + 0.04 * out, False)):
            joints[0, 0, 0] += place - joints[0, 0, 0, 8]
            m = measure(joints, np.ones((1, 1, 2), bool), 1.0, CodeThresholds().smoothing_s)
            distance = float(contact_distances(m).tip_palm[1, 0, 0, 0])  # the left index tip
            assert (distance < 0.01) is near, (knuckle, distance)
