"""The road from pictures to parameters, with a real tracker: runs where its package, its model and a video are at hand.

HAND_LANDMARKER_TASK names MediaPipe's model file, HAND_VIDEO a video of one hand of about 1280 x 720.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "closed-loop.py"

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # the tracker's own warnings


@pytest.fixture(scope="module")
def loop():
    pytest.importorskip("mediapipe")
    pytest.importorskip("numba")
    pytest.importorskip("hiw_data")  # whose drawn motions the script uses
    if not SCRIPT.is_file():
        pytest.skip("runs in the repository, beside benchmarks/")
    spec = importlib.util.spec_from_file_location("closed_loop", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def path_of(variable):
    if not Path(os.environ.get(variable, "missing")).is_file():
        pytest.skip(f"{variable} names no file")
    return Path(os.environ[variable])


def test_a_real_video_is_fitted_within_a_few_pixels(loop):
    fit = loop.real_video(path_of("HAND_LANDMARKER_TASK"), path_of("HAND_VIDEO"))
    assert fit.valid.mean() > 0.95
    assert fit.reprojection[fit.valid].mean() <= 4.5


def test_drawn_motions_come_back(loop):
    root, aligned = loop.closed_loop(path_of("HAND_LANDMARKER_TASK"), [101], 40)
    assert root < 30  # raw landmarks: 57 mm
    assert aligned < 15  # raw landmarks: 23 mm
