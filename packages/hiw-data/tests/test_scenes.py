"""Hard cuts are found where they are; a fast hand, a flash and a slow change are none."""

from __future__ import annotations

import importlib.util
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")
import av
from hiw_data import HiwStore, OptionError, annotate
from hiw_data.cli import main
from hiw_data.frames import Frame
from hiw_data.sources.annotated import scenes_of
from hiw_data.sources.scenes import SceneConfig, difference, find_cuts, histogram, video_scenes
from hiw_data.sources.video import VideoSource

_SPEC = importlib.util.spec_from_file_location("hands_in_view", Path(__file__).parent / "hands_in_view.py")
view = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(view)

SKIN = (200, 150, 120)
KITCHEN, GARDEN, DESK = ((90, 70, 60), (180, 170, 160)), ((30, 90, 30), (120, 180, 220)), ((40, 45, 60), (70, 60, 110))


def picture(room, hand_at, noise=0):
    """64 x 48 pixels: a wall above a floor, and a hand of a fifth of the width at a share of it."""
    image = np.zeros((48, 64, 3), np.uint8)
    image[:24], image[24:] = room
    left = round(hand_at * 52)
    image[14:34, left : left + 12] = SKIN
    return np.clip(image + np.random.default_rng(noise).normal(0, 4, image.shape), 0, 255).astype(np.uint8)


def back_and_forth(k):
    """A hand that crosses the picture in five pictures, again and again."""
    return abs(k % 10 - 5) / 5


def film(rooms):
    """Pictures of a room each, with the fast hand."""
    return [picture(room, back_and_forth(k), k) for k, room in enumerate(rooms)]


def frames(images, fps=30):
    return [Frame(k / fps, image) for k, image in enumerate(images)]


def write(path, images, fps=30):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def three_rooms(tmp_path_factory):
    """150 pictures, cut at 40 and at 95."""
    folder = tmp_path_factory.mktemp("films")
    return write(folder / "film.mp4", film([KITCHEN] * 40 + [GARDEN] * 55 + [DESK] * 55))


def test_cuts_are_found_at_the_very_picture_in_a_file(three_rooms):
    scenes = video_scenes(three_rooms)
    np.testing.assert_allclose([scene.start for scene in scenes], [0, 40 / 30, 95 / 30], atol=1e-4)
    np.testing.assert_allclose([scene.end for scene in scenes], [40 / 30, 95 / 30, np.inf], atol=1e-4)


def test_a_fast_hand_is_no_cut():
    images = film([KITCHEN] * 90)
    assert find_cuts(frames(images), SceneConfig()) == []
    steps = [difference(histogram(a), histogram(b)) for a, b in pairwise(images)]
    assert max(steps) < 0.03
    moved = [np.abs(a.astype(int) - b).mean() for a, b in pairwise(images)]
    assert max(moved) > 8  # though from picture to picture a lot of pixels change


def test_a_flash_and_a_slow_change_are_no_cuts():
    images = film([KITCHEN] * 60)
    images[30:33] = [np.full((48, 64, 3), 255, np.uint8)] * 3
    assert find_cuts(frames(images), SceneConfig()) == []
    one, other = picture(KITCHEN, 0.5).astype(float), picture(GARDEN, 0.5)
    slow = [(one + (other - one) * min(max((k - 20) / 40, 0), 1)).astype(np.uint8) for k in range(80)]
    assert find_cuts(frames(slow), SceneConfig()) == []
    assert find_cuts(frames([slow[0]] * 20 + [slow[-1]] * 20), SceneConfig()) == [20 / 30]


def test_a_change_over_several_pictures_is_one_cut_where_it_is_largest():
    one, other = picture(KITCHEN, 0.5).astype(float), picture(GARDEN, 0.5)
    shares = [0.0] * 30 + [0.25, 0.9] + [1.0] * 30
    images = [(one + (other - one) * share).astype(np.uint8) for share in shares]
    found = find_cuts(frames(images), SceneConfig())
    assert found in ([30 / 30], [31 / 30])


def test_short_scenes_are_joined_and_options_count():
    images = film([KITCHEN] * 30 + [GARDEN] * 10 + [DESK] * 40 + [KITCHEN] * 6)
    assert find_cuts(frames(images), SceneConfig()) == [1.0]
    assert find_cuts(frames(images), SceneConfig(shortest=0.1)) == [1.0, 40 / 30, 80 / 30]
    assert find_cuts(frames(images), SceneConfig(threshold=0.95)) == []
    for wrong in ({"threshold": 0}, {"threshold": 1.1}, {"settle": 0}, {"shortest": -1}, {"threshold": float("nan")}):
        with pytest.raises(OptionError, match="Expected threshold and settle"):
            SceneConfig(**wrong)
    assert scenes_of("length", 0.2) is None
    assert scenes_of("scene", 0.2) == SceneConfig(threshold=0.2)
    with pytest.raises(OptionError, match="got 'csv'"):
        scenes_of("csv", 0.2)


def test_clips_of_a_store_have_no_cut_in_them(three_rooms, tmp_path):
    (three_rooms.parent / "broken.mp4").write_bytes(b"xx")
    tracker = view.ScriptedTracker(lambda time: [view.hand(1, 15 + 8 * np.sin(4 * time), 10, 24)])
    options = {"tracker": tracker, "scenes": SceneConfig()}
    store = annotate(three_rooms.parent, tmp_path / "a.zarr", keep_work=True, **options)
    spans = [(c["attributes"]["start_seconds"], c["attributes"]["end_seconds"]) for c in store.clips()]
    np.testing.assert_allclose(spans, [(0, 40 / 30), (40 / 30, 95 / 30), (95 / 30, 5)], atol=0.07)
    assert [c["clip_id"] for c in store.clips()] == [
        "video/film@0.000-1.333",
        "video/film@1.333-3.167",
        "video/film@3.167-inf",
    ]
    assert {c["group"] for c in store.clips()} == {"film"}
    assert [row["clip_id"] for row in store.summary()["skipped"]["clips"]] == ["video/broken"]
    seen = tracker.frames
    again = annotate(three_rooms.parent, tmp_path / "b.zarr", work=tmp_path / "a.zarr.work", **options)
    assert (again.data_hash, tracker.frames) == (store.data_hash, seen)
    with pytest.raises(OptionError, match="got both"):
        VideoSource(three_rooms, cuts=tmp_path / "cuts.csv", **options)


def test_the_command_cuts_by_scene(three_rooms, tmp_path, monkeypatch, capsys):
    tracker = view.ScriptedTracker(lambda time: [view.hand(1, 15 + 8 * np.sin(4 * time), 10, 24)])
    monkeypatch.setattr("hiw_data.cli_annotate._tracker", lambda arguments: tracker)
    command = ["annotate", str(three_rooms), "--cut", "scene", "--out"]
    assert main([*command, str(tmp_path / "a.zarr")]) == 0
    assert "3 clips of 1 videos" in capsys.readouterr().out
    assert main([*command, str(tmp_path / "b.zarr"), "--scene-threshold", "0.99"]) == 0
    assert len(HiwStore.open(tmp_path / "b.zarr")) == 2  # 5 s are cut by length
    assert main([*command, str(tmp_path / "c.zarr"), "--scene-threshold", "2"]) == 1
    assert "got 2.0" in capsys.readouterr().err
