"""Real videos, with the real tracker: who is seen where, told by a person who looked. Skips where they are not at hand.

The frames were looked at one by one: in both sign videos (one person before the camera) both hands are in view in every
frame. The person's right hand is on the left side of the picture, or, where it crosses over, above the left one.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")
pytest.importorskip("mediapipe")
from hiw_data import annotate
from hiw_data.sources.video_file import VideoReader
from hiw_data.tracking import MediaPipeTracker, two_hands
from hiw_data.tracking.mediapipe_model import cache_folder

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # the tracker's own warnings


def shared_data():
    """The folder of real material beside the project, or the one that HIW_REAL_DATA names; skips if there is none."""
    beside = [parent / "shared" / "data" for parent in Path(__file__).resolve().parents]
    for folder in [Path(os.environ.get("HIW_REAL_DATA", "missing")), *beside]:
        if folder.is_dir():
            return folder
    pytest.skip("no real material at hand: set HIW_REAL_DATA")


@pytest.fixture(scope="module")
def tracker():
    if "HIW_HAND_MODEL" not in os.environ and not (cache_folder() / "hand_landmarker.task").is_file():
        pytest.skip("no hand model at hand: run `hiw annotate` once, or set HIW_HAND_MODEL")
    return MediaPipeTracker()


def test_a_video_of_one_right_hand_becomes_clips_of_a_right_hand(tracker, tmp_path):
    path = shared_data() / "human_hand_video.mp4"
    if not path.is_file():
        pytest.skip("the video is not there")
    store = annotate(path, tmp_path / "out.zarr", tracker=tracker)
    assert sum(int(clip["valid"][:, 1].sum()) for clip in store.clips()) == 311  # 621 frames at 30, all of them
    assert not any(clip["valid"][:, 0].any() for clip in store.clips())
    attributes = [row["attributes"] for row in store.metadata]
    assert max(a["end_seconds"] for a in attributes) == pytest.approx(20.7, abs=0.1)
    assert all(a["relabelled"] == 0 for a in attributes)
    assert np.mean([a["reprojection_px"] for a in attributes]) <= 4.0


@pytest.mark.parametrize("name", ["doctor", "ambulancia"])
def test_both_hands_of_a_signer_are_found_and_never_swapped(tracker, name):
    path = shared_data() / "real" / "signs" / f"{name}.mp4"
    if not path.is_file():
        pytest.skip("the video is not there")
    hands = two_hands(tracker.track(VideoReader(path)))
    both = hands.seen.all(1)
    # Here the fit of the tracker's landmarks to the hand was looked at, too: none lies on a collar or on fingers alone.
    palms = np.nanmean(hands.landmarks[:, :, [0, 5, 17], :2], axis=2)  # (T, 2, 2)
    left, right = palms[both, 0], palms[both, 1]
    assert (right[:, 1] < left[:, 1] + 10).all()  # the right hand is the upper one throughout, in both videos
    assert both.mean() >= 0.9
