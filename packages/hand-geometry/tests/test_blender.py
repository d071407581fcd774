"""Motions that really went through Blender: both formats, both hands, several rates.

Needs Blender as the package ``bpy`` (PyPI), here or in another interpreter that HAND_GEOMETRY_BPY_PYTHON names.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hand_geometry import export_motion, import_motion
from hand_geometry.errors import MotionFileError

PYTHON = os.environ.get("HAND_GEOMETRY_BPY_PYTHON") or (sys.executable if importlib.util.find_spec("bpy") else None)
pytestmark = pytest.mark.skipif(PYTHON is None, reason="needs bpy, or HAND_GEOMETRY_BPY_PYTHON to name one that has it")

RATES = (15, 24, 29.97, 30, 60)
FRAMES = 24
MM = 1e-3


@pytest.fixture(scope="module")
def motion(make_motion):
    rng = np.random.default_rng(1)
    return make_motion(FRAMES) | {"betas": rng.normal(0, 1, (2, 10)).astype(np.float32)}


@pytest.fixture(scope="module")
def folder(motion, tmp_path_factory):
    """Files before and after Blender; one session for all."""
    folder = tmp_path_factory.mktemp("blender")
    one_hand = np.tile([False, True], (FRAMES, 1))
    still = {name: np.repeat(value[:1], FRAMES, 0) if name != "betas" else value for name, value in motion.items()}
    hidden = np.ones((FRAMES, 2), bool)
    hidden[5:9, 0] = False
    jobs = []

    def job(name, suffix, motion=motion, fps=30, valid=None, captions=None, **options):
        source = export_motion(folder / f"{name}-before{suffix}", motion, fps=fps, valid=valid, captions=captions)
        jobs.append({"source": str(source), "target": str(folder / f"{name}{suffix}"), **options})

    for suffix in (".glb", ".bvh"):
        for fps in RATES:
            job(f"{fps}", suffix, fps=fps)
        job("right", suffix, valid=one_hand)
        job("still", suffix, still)
        job("scene30", suffix, fps=30)
        jobs[-1]["fps"] = 30
    job("extras", ".glb", valid=hidden, captions=["a wave"], save={"export_extras": True})
    job("forearms", ".glb")
    job("scaled", ".bvh", fps=30, load={"use_fps_scale": True})
    job("metres", ".bvh", fps=30, load={"global_scale": 0.01})
    job("yup", ".bvh", fps=30, load={"axis_forward": "Y", "axis_up": "Z"})
    (folder / "jobs.json").write_text(json.dumps(jobs))
    session = Path(__file__).with_name("blender_session.py")
    subprocess.run([PYTHON, session, folder / "jobs.json"], check=True, capture_output=True, timeout=300)
    return folder


def at(joints, fps, times):
    """Joints (T, ...) at given times, in straight lines between frames."""
    place = np.clip(np.asarray(times) * fps, 0, len(joints) - 1)
    low = np.minimum(np.floor(place).astype(int), len(joints) - 2)
    share = (place - low).reshape(-1, *[1] * (joints.ndim - 1))
    return joints[low] * (1 - share) + joints[low + 1] * share


@pytest.mark.parametrize("fps", RATES)
def test_a_bvh_comes_back_from_blender_s_defaults_with_rate_axes_and_length(fps, folder, motion, joints_of):
    again = import_motion(folder / f"{fps}.bvh")
    assert again["fps"] == pytest.approx(fps, abs=1e-6)
    assert len(again["transl"]) == FRAMES
    assert np.abs(joints_of(again) - joints_of(motion)).max() < 0.01 * MM
    np.testing.assert_allclose(again["betas"], motion["betas"], atol=1e-3)


@pytest.mark.parametrize("fps", RATES)
def test_a_glb_comes_back_from_blender_at_blender_s_rate_and_at_its_own_times(fps, folder, motion, joints_of):
    """Blender's scene has 24 frames a second and samples there; what lies between its frames is lost, nothing else."""
    again = import_motion(folder / f"{fps}.glb")
    assert again["fps"] == 24
    times = np.arange(len(again["transl"])) / 24
    assert abs(times[-1] - (FRAMES - 1) / fps) < 1 / 24
    error = np.linalg.norm(joints_of(again) - at(joints_of(motion), fps, times), axis=-1)
    inside = times <= (FRAMES - 1) / fps
    assert error[inside].max() < (0.01 * MM if fps == 24 else 1.0 * MM)
    np.testing.assert_allclose(again["betas"], motion["betas"], atol=1e-3)


@pytest.mark.parametrize("suffix", [".glb", ".bvh"])
def test_at_the_scene_s_rate_every_frame_comes_back_and_no_wrist_moves(suffix, folder, motion, joints_of):
    again, before = joints_of(import_motion(folder / f"scene30{suffix}")), joints_of(motion)
    assert again.shape == before.shape
    assert np.abs(again[:, :, 0] - before[:, :, 0]).max() < 0.01 * MM  # each wrist was 90 and 170 mm away
    apart = [np.linalg.norm(joints[:, 0, 0] - joints[:, 1, 0], axis=-1) for joints in (before, again)]
    np.testing.assert_allclose(apart[1], apart[0], atol=0.01 * MM)
    assert np.abs(again - before).max() < 0.01 * MM


@pytest.mark.parametrize("suffix", [".glb", ".bvh"])
def test_a_file_of_one_hand_comes_back_as_that_hand(suffix, folder, motion, joints_of):
    again = import_motion(folder / f"right{suffix}")
    assert not again["valid"][:, 0].any()
    assert again["valid"][:, 1].all()
    assert np.abs(joints_of(again)[0, 1] - joints_of(motion)[0, 1]).max() < 0.01 * MM


@pytest.mark.parametrize("suffix", [".glb", ".bvh"])
def test_hands_that_do_not_move_come_back(suffix, folder, motion, joints_of):
    again = import_motion(folder / f"still{suffix}")
    assert again["fps"] == (30 if suffix == ".bvh" else 15)  # glTF: two equal keys tell no rate
    assert np.abs(joints_of(again)[0] - joints_of(motion)[0]).max() < 0.01 * MM


def test_custom_properties_carry_validity_captions_and_rate(folder):
    again = import_motion(folder / "extras.glb")
    assert again["captions"] == ["a wave"]
    assert again["fps"] == 30
    assert np.argwhere(~again["valid"]).tolist() == [[t, 0] for t in (5, 6, 7, 8)]


def test_without_them_all_frames_count_as_seen_and_that_is_said(folder, caplog):
    assert import_motion(folder / "24.glb")["valid"].all()
    assert "all frames count as seen" in caplog.text


def test_forearms_do_not_disturb(folder, motion, joints_of):
    again = import_motion(folder / "forearms.glb")
    assert np.abs(joints_of(again)[0] - joints_of(motion)[0]).max() < 0.01 * MM


def test_a_bvh_that_blender_resampled_keeps_its_times(folder, motion, joints_of):
    again = import_motion(folder / "scaled.bvh")
    assert again["fps"] == pytest.approx(24, abs=0.01)
    times = np.arange(len(again["transl"])) / 24
    assert times[-1] <= (FRAMES - 1) / 30
    error = np.linalg.norm(joints_of(again) - at(joints_of(motion), 30, times), axis=-1)
    assert error.max() < 1.0 * MM


@pytest.mark.parametrize("name", ["metres", "yup"])
def test_other_units_and_axes_of_the_import_dialogue_are_undone(name, folder, motion, joints_of):
    again = import_motion(folder / f"{name}.bvh")
    assert again["fps"] == 30
    assert np.abs(joints_of(again) - joints_of(motion)).max() < 0.1 * MM


def test_a_bvh_whose_clock_was_deleted_is_refused_until_its_rate_is_given(folder, tmp_path, motion, joints_of):
    text = (folder / "30.bvh").read_text()
    (tmp_path / "a.bvh").write_text(text.replace("clock_30fps", "spare"))
    with pytest.raises(MotionFileError, match=r"clock_\.\.\.fps.*Pass fps"):
        import_motion(tmp_path / "a.bvh")
    again = import_motion(tmp_path / "a.bvh", fps=30)
    assert again["fps"] == 30
    assert np.abs(joints_of(again)[:FRAMES] - joints_of(motion)).max() < 0.01 * MM
