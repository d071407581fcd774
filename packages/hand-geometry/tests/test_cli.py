"""The command: each subcommand once, and errors that explain themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hand_geometry import features_to_joints, load_motion, params_to_features, save_motion
from hand_geometry.cli import main


@pytest.fixture
def motion_file(make_motion, tmp_path):
    return save_motion(tmp_path / "wave.npz", make_motion(), fps=15, captions=["both hands wave"])


def test_info_describes_hand_and_motion(motion_file, capsys):
    assert main(["info"]) == 0
    assert "1609 vertices" in capsys.readouterr().out
    assert main(["info", str(motion_file)]) == 0
    out = capsys.readouterr().out
    assert "12 frames at 15 fps = 0.80 s" in out
    assert "both hands wave" in out


def test_fit_writes_a_motion_that_metrics_finds_close(motion_file, make_motion, tmp_path, capsys):
    joints = features_to_joints(params_to_features(make_motion()))
    np.savez(tmp_path / "keypoints.npz", left=joints[:, 0], right=joints[:, 1], fps=15.0)
    assert main(["fit", str(tmp_path / "keypoints.npz"), "--out", str(tmp_path / "fit.npz")]) == 0
    assert main(["metrics", str(tmp_path / "fit.npz"), str(motion_file)]) == 0
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if line.startswith("MPJPE, absolute"))
    assert float(line.split()[-2]) < 2.0


def test_fit_of_one_hand_marks_the_other_unseen(make_motion, tmp_path):
    joints = features_to_joints(params_to_features(make_motion()))
    np.savez(tmp_path / "keypoints.npz", right=joints[:, 1])
    assert main(["fit", str(tmp_path / "keypoints.npz"), "--out", str(tmp_path / "fit.npz")]) == 0
    assert load_motion(tmp_path / "fit.npz")["valid"].all(0).tolist() == [False, True]


def test_render_draws_one_and_several(motion_file, tmp_path, capsys):
    pytest.importorskip("numba")
    one, two = tmp_path / "one.gif", tmp_path / "two.png"
    assert main(["render", str(motion_file), "--out", str(one), "--size", "64x48"]) == 0
    assert main(["render", str(motion_file), str(motion_file), "--titles", "a", "b", "--out", str(two)]) == 0
    assert one.stat().st_size > 1000
    assert two.stat().st_size > 1000


def test_export_to_features_and_back(motion_file, tmp_path):
    features, again = tmp_path / "features.npz", tmp_path / "again.npz"
    assert main(["export", str(motion_file), "--out", str(features), "--layout", "features"]) == 0
    assert np.load(features)["features"].shape == (12, 198)
    assert main(["export", str(features), "--out", str(again)]) == 0
    np.testing.assert_allclose(
        params_to_features(load_motion(again)), params_to_features(load_motion(motion_file)), atol=1e-5
    )
    assert load_motion(again)["captions"] == ["both hands wave"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "missing.npz"], "no such file"),
        (["fit", "missing.npz", "--out", "x.npz"], "no such file"),
        (["render", "missing.npz", "--out", "x.gif"], "no such file"),
    ],
)
def test_errors_go_to_stderr_with_a_status(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_help_teaches_by_example(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "hand-geometry render wave.npz --out wave.mp4" in capsys.readouterr().out
