"""Where fitted hands lie in the picture of their video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hand_geometry import features_to_joints
from hiw_data.browsing.overlay import picture_points

PINHOLE = {"fx": 500.0, "fy": 400.0, "cx": 300.0, "cy": 250.0, "width": 640.0, "height": 480.0}


def clip(**changes: Any) -> dict[str, Any]:
    camera = {"pinhole": PINHOLE, "view": "egocentric"}
    return {"camera": camera, "attributes": {"frame_origin": [0.1, -0.2, 0.5]}} | changes


def joints(*point: float) -> np.ndarray:
    return np.full((1, 2, 21, 3), point, np.float32)


def test_a_point_is_seen_where_the_pinhole_says() -> None:
    # (0.2, 0.1, 0.5) from the camera: 500 * 0.4 + 300 = 500 of 640 pixels, 400 * 0.2 + 250 = 330 of 480
    points = picture_points(clip(), joints(0.1, 0.3, 0.0))
    assert points is not None
    assert points.shape == (1, 2, 21, 2)
    np.testing.assert_allclose(points[0, 1, 20], [500 / 640, 330 / 480], rtol=1e-6)


def test_a_camera_that_looks_at_the_person_sees_them_turned() -> None:
    facing = clip(camera={"pinhole": PINHOLE, "view": "facing"})
    # (0.2, 0.1, -0.5) in the person's axes is (-0.2, 0.1, 0.5) in the camera's: 500 * -0.4 + 300 = 100 of 640
    points = picture_points(facing, joints(0.1, 0.3, -1.0))
    assert points is not None
    np.testing.assert_allclose(points[0, 0, 0], [100 / 640, 330 / 480], rtol=1e-5)


def test_what_is_behind_the_camera_is_in_no_picture() -> None:
    points = picture_points(clip(), joints(0.1, 0.3, -0.6))
    assert points is not None
    assert np.isnan(points).all()


@pytest.mark.parametrize(
    "changes",
    [{"camera": None}, {"camera": {"view": "facing"}}, {"attributes": {}}],
)
def test_a_clip_that_does_not_tell_its_camera_or_its_place_has_no_overlay(changes: dict[str, Any]) -> None:
    assert picture_points(clip(**changes), joints(0, 0, 0)) is None


@pytest.mark.parametrize("view", ["egocentric", "facing"])
def test_annotated_hands_lie_on_the_landmarks_that_were_tracked(tmp_path: Path, view: str) -> None:
    pytest.importorskip("av")
    from hands_in_view import ScriptedTracker, hand, write_video
    from hiw_data.annotation import AnnotationConfig
    from hiw_data.sources.video import VideoSource

    def waving(time: float) -> list[Any]:
        return [hand(1, 15 + 8 * np.sin(4 * time), 10, 24)]

    write_video(tmp_path / "a.mp4", frames=150)  # of 64 x 48 pixels; cut into two clips
    source = VideoSource(tmp_path, tracker=ScriptedTracker(waving), config=AnnotationConfig(view=view, max_frames=40))
    clips = list(source.stream(15.0))
    assert len(clips) == 2
    for piece in clips:
        points = picture_points(piece, features_to_joints(piece["features"]))
        assert points is not None
        tracked = np.stack([waving(time)[0].landmarks[:, :2] for time in piece["timestamps"]])
        distance = np.linalg.norm(points[:, 1] * [64, 48] - tracked, axis=-1)
        assert np.median(distance) < 1.5  # the hand is 24 pixels wide
