"""Rendering: what stands where in the picture, and files that can be read back."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hand_geometry.errors import InputError, ShapeError

pytest.importorskip("numba")
pytest.importorskip("PIL")

from hand_geometry import (
    frame_camera,
    look_at,
    params_to_features,
    render_motion,
    side_by_side,
    write_video,
)
from hand_geometry.assets import load_asset
from hand_geometry.rendering.arms import wrist_loop

SIZE = (96, 72)
WARM, COOL = (0.95, 0.5, 0.3), (0.3, 0.5, 0.95)


def warmth(frame):
    """Red minus blue: negative on the cool left hand, positive on the warm right one, near zero elsewhere."""
    return frame[..., 0].astype(int) - frame[..., 2].astype(int)


@pytest.fixture(scope="module")
def motion(make_motion):
    return make_motion(3)


@pytest.fixture(scope="module")
def frames(motion):
    return render_motion(motion, size=SIZE, colors=(COOL, WARM))


def test_the_left_hand_is_on_the_left_and_the_right_on_the_right(frames):
    assert frames.shape == (3, 72, 96, 3)
    assert frames.dtype == np.uint8
    for frame in frames:
        cool, warm = np.argwhere(warmth(frame) < -40), np.argwhere(warmth(frame) > 60)
        assert len(cool) > 100
        assert len(warm) > 100
        assert cool[:, 1].mean() < 40 < 56 < warm[:, 1].mean()


def test_the_corners_show_the_background(frames):
    expected = np.round(np.array([0.965, 0.957, 0.945]) * 255)
    for corner in (frames[:, 0, 0], frames[:, 0, -1]):
        np.testing.assert_allclose(corner, np.broadcast_to(expected, (3, 3)), atol=1.5)


def test_fingers_point_up_in_the_egocentric_view(motion):
    """Away from the wearer is up in the picture; the forearm is below."""
    alone = render_motion(motion, size=SIZE, forearms=False, shadow=False)
    arms = render_motion(motion, size=SIZE, forearms=True, shadow=False)
    changed = np.argwhere((alone != arms).any(-1))[:, 1]
    hand = np.argwhere((alone != alone[:, :1, :1]).any(-1))[:, 1]
    assert changed.mean() > hand.mean() + 5


def test_a_hand_never_seen_is_left_out_and_one_seen_at_times_is_faded(motion):
    valid = np.ones((3, 2), bool)
    valid[:, 0] = False
    only_right = render_motion(motion, size=SIZE, valid=valid, colors=(COOL, WARM))
    assert (warmth(only_right) < -40).sum() == 0
    assert (warmth(only_right) > 60).sum() > 300
    valid[0, 0] = True
    camera = frame_camera(np.array([[-0.25, -0.1, -0.1], [0.25, 0.1, 0.25]]), SIZE)
    at_times = render_motion(motion, size=SIZE, valid=valid, colors=(COOL, WARM), camera=camera)
    assert warmth(at_times[0]).min() < -80
    assert -40 < warmth(at_times[2]).min() < -5


def test_features_and_parameters_draw_the_same_pictures(motion, frames):
    from_features = render_motion(params_to_features(motion), size=SIZE, colors=(COOL, WARM))
    difference = np.abs(from_features.astype(int) - frames.astype(int))
    assert np.percentile(difference, 99.5) <= 2


def test_the_same_motion_gives_the_same_bytes(motion, frames):
    np.testing.assert_array_equal(render_motion(motion, size=SIZE, colors=(COOL, WARM)), frames)


def test_the_camera_sees_every_joint(make_motion):
    rng = np.random.default_rng(0)
    for view in ("egocentric", "three-quarter", "front", "above"):
        for size in ((320, 240), (120, 300)):
            points = rng.normal(0, 0.2, (50, 3))
            camera = frame_camera(points, size, view=view)
            local = (points - camera.position) @ camera.rotation.T
            pixels = local[:, :2] / local[:, 2:] * camera.focal * min(size) + np.array(size) / 2
            assert local[:, 2].min() > 0.1
            assert (pixels > 0).all()
            assert (pixels < size).all()
            np.testing.assert_allclose(camera.rotation @ camera.rotation.T, np.eye(3), atol=1e-12)


def test_a_frame_is_drawn_alike_whatever_was_drawn_before(make_motion):
    """Buffers are cleared only where the last frame drew: nothing of it may stay."""
    motion = make_motion(6)
    motion["transl"] += np.linspace(-0.3, 0.3, 6, dtype=np.float32)[:, None, None] * [1, 0.5, 0.2]
    camera = frame_camera(np.array([[-0.3, -0.1, 0], [0.3, 0.1, 0.2]]), SIZE)
    together = render_motion(motion, size=SIZE, camera=camera, shadow=False)
    for t in (0, 3, 5):
        alone = render_motion({k: v[t : t + 1] for k, v in motion.items()}, size=SIZE, camera=camera, shadow=False)
        np.testing.assert_array_equal(together[t], alone[0])


@pytest.mark.parametrize("size", [(1, 1), (97, 71), (40, 200)])
@pytest.mark.parametrize("samples", [1, 2, 3])
def test_odd_sizes_and_hands_half_outside_are_drawn(size, samples, motion):
    camera = look_at([0.0, -0.2, -0.1], [0.15, 0.0, 0.1])
    frames = render_motion(motion, size=size, samples=samples, camera=camera)
    assert frames.shape == (3, size[1], size[0], 3)
    assert frames.std() > 5 or min(size) == 1


def test_a_camera_stands_where_it_is_put_and_looks_where_it_is_told():
    for place, target in (([1.0, -2.0, 0.5], [0.2, 0.1, -0.4]), ([0, -1, 0], [0, 1, 0]), ([0, 0, 0], [0, -3, 0])):
        camera = look_at(place, target, field_of_view=0.7)
        local = camera.rotation @ (np.array(target, float) - camera.position)
        np.testing.assert_allclose(local[:2], 0, atol=1e-12)
        assert local[2] > 0
        np.testing.assert_allclose(camera.rotation @ camera.rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(camera.rotation) == pytest.approx(1)
        assert camera.rotation[1, 1] >= -1e-12  # the world's down is not up in the picture
    assert camera.focal == pytest.approx(0.5 / np.tan(0.35))
    with pytest.raises(InputError, match="target"):
        look_at([0, 0, 0], [0, 0, 0])
    with pytest.raises(InputError, match="field_of_view"):
        look_at([0, 0, 0], [0, 0, 1], field_of_view=4)


def test_a_view_of_angles_equals_the_named_one():
    points = np.random.default_rng(0).normal(0, 0.2, (50, 3))
    named, angles = frame_camera(points, view="above"), frame_camera(points, view=(0.0, 1.35))
    np.testing.assert_array_equal(named.position, angles.position)
    with pytest.raises(InputError, match="finite angles"):
        frame_camera(points, view=(float("nan"), 0.0))


def test_a_clip_without_a_hand_seen_is_drawn_as_it_is(motion, frames):
    blind = render_motion(motion, size=SIZE, valid=np.zeros((3, 2), bool), colors=(COOL, WARM))
    np.testing.assert_array_equal(blind, frames)


def test_the_wrist_is_the_open_loop_of_the_mesh():
    asset = load_asset("default", "right")
    loop = wrist_loop(asset.faces)
    assert len(set(loop.tolist())) == len(loop) > 10
    wrist = asset.v_template[loop]
    assert np.linalg.norm(wrist.mean(0) - asset.rest_joints[0]) < 0.04
    assert np.linalg.norm(np.roll(wrist, -1, 0) - wrist, axis=1).max() < 0.03


def test_side_by_side_holds_the_last_frame_of_the_shorter(frames):
    both = side_by_side([frames, frames[:1]], ["truth", "a very long title that must be broken into several lines"])
    assert len(both) == 3
    height, width = both.shape[1:3]
    assert width == 2 * 96 + 6
    assert height > 72 + 30
    np.testing.assert_array_equal(both[2, -72:, :96], frames[2])
    np.testing.assert_array_equal(both[2, -72:, -96:], frames[0])
    assert (both[0, : height - 72].min(-1) < 120).sum() > 50  # ink


def test_side_by_side_breaks_rows(frames):
    assert side_by_side([frames] * 3, columns=2).shape == (3, 2 * 72 + 6, 2 * 96 + 6, 3)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_pictures_are_written_whole(suffix, frames, tmp_path):
    from PIL import Image

    path = write_video(tmp_path / "new" / f"hands{suffix}", frames, fps=25)
    with Image.open(path) as image:
        if suffix == ".png":
            assert image.size == (3 * 96, 72)
        else:
            assert image.size == (96, 72)
            assert image.n_frames == 3
            image.seek(1)
            image.load()
            assert image.info["duration"] == 40  # milliseconds, of 25 frames a second
            image.seek(0)
        first = np.asarray(image.convert("RGB"))[:, :96].astype(int)
    assert np.abs(first - frames[0].astype(int)).mean() < 6
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_mp4_plays_back_at_its_rate(frames, tmp_path):
    av = pytest.importorskip("av")
    path = write_video(tmp_path / "hands.mp4", np.concatenate([frames] * 4), fps=12)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        images = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert stream.codec_context.name == "h264"
        assert float(stream.average_rate) == pytest.approx(12)
    assert len(images) == 12
    assert np.abs(images[0].astype(int) - frames[0].astype(int)).mean() < 6


def test_wrong_inputs_are_named(motion, frames, tmp_path):
    with pytest.raises(ShapeError, match="features"):
        render_motion(np.zeros((3, 99), np.float32))
    broken = {**motion, "transl": motion["transl"] * np.float32("nan")}
    with pytest.raises(InputError, match="transl"):
        render_motion(broken, size=SIZE)
    with pytest.raises(ShapeError, match="valid"):
        render_motion(motion, size=SIZE, valid=np.ones((4, 2), bool))
    with pytest.raises(InputError, match="egocentric"):
        render_motion(motion, size=SIZE, camera="behind")
    with pytest.raises(InputError, match="mp4"):
        write_video(tmp_path / "hands.avi", frames)
    with pytest.raises(ShapeError, match="frames"):
        write_video(tmp_path / "hands.gif", frames[..., 0])
    with pytest.raises(InputError, match="titles"):
        side_by_side([frames], ["one", "two"])
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_with_the_extra_that_brings_it(tmp_path):
    calls = {
        "numba": "render_motion(np.tile(np.float32([1, 0, 0, 0, 1, 0] * 16 + [0] * 3), (1, 2)))",
        "pillow": "write_video('x.gif', np.zeros((1, 4, 4, 3), np.uint8))",
        "av": "write_video('x.mp4', np.zeros((1, 4, 4, 3), np.uint8))",
    }
    code = (
        "import sys\nfor name in ('numba', 'PIL', 'av'):\n    sys.modules[name] = None\n"
        "import numpy as np\nfrom hand_geometry import render_motion, write_video\n"
        "from hand_geometry.errors import MissingDependencyError\n"
    )
    code += "".join(
        f"try:\n    {call}\nexcept MissingDependencyError as error:\n    print(error)\n" for call in calls.values()
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    for line, package in zip(done.stdout.splitlines(), calls, strict=True):
        assert f"'{package}'" in line
        assert "hand-geometry[render]" in line


def test_the_margin_is_left_free_on_each_side():
    points = np.array([[-1.0, 0, 0], [1, 0, 0]])
    camera = frame_camera(points, (200, 200), view="front", margin=0.1)
    local = (points - camera.position) @ camera.rotation.T
    np.testing.assert_allclose(local[:, 0] / local[:, 2] * camera.focal * 200 + 100, [20, 180], atol=1e-9)
