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


def test_calibrate_learns_offsets_that_fit_then_takes(make_motion, tmp_path, capsys):
    params = make_motion(20)
    params["transl"] += np.float32([0, 0, 0.5])
    known = save_motion(tmp_path / "known.npz", params, fps=15)
    joints = features_to_joints(params_to_features(params))
    joints[:, :, 0] += 0.3 * (joints[:, :, 9] - joints[:, :, 0])  # a wrist that lies farther out
    pixels = joints[..., :2] / joints[..., 2:] * 600 + [320, 240]
    camera = np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]])
    both = {"left": joints[:, 0], "right": joints[:, 1], "left_2d": pixels[:, 0], "right_2d": pixels[:, 1]}
    np.savez(tmp_path / "tracked.npz", camera=camera, **both)
    tracked, table = str(tmp_path / "tracked.npz"), str(tmp_path / "table.npy")
    assert main(["calibrate", tracked, str(known), "--out", table]) == 0
    assert np.load(table).shape == (21, 3)
    errors = []
    for extra in ([], ["--offsets", table]):
        assert main(["fit", tracked, "--out", str(tmp_path / "fit.npz"), *extra]) == 0
        capsys.readouterr()
        assert main(["metrics", str(tmp_path / "fit.npz"), str(known)]) == 0
        line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("MPJPE, root"))
        errors.append(float(line.split()[-2]))
    assert errors[1] < 0.5 * errors[0]
    assert errors[1] < 5.0


def test_fit_of_image_points_alone(make_motion, tmp_path, capsys):
    params = make_motion(6)
    params["transl"] += np.float32([0, 0, 0.5])
    joints = features_to_joints(params_to_features(params))[:, 0]
    pixels = joints[..., :2] / joints[..., 2:] * 600 + [320, 240]
    camera = np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]])
    np.savez(tmp_path / "seen.npz", left_2d=pixels, camera=camera)
    assert main(["fit", str(tmp_path / "seen.npz"), "--out", str(tmp_path / "fit.npz")]) == 0
    assert "px" in capsys.readouterr().out
    assert load_motion(tmp_path / "fit.npz")["valid"].all(0).tolist() == [True, False]


def test_metrics_of_one_motion_judge_it_alone(motion_file, capsys):
    assert main(["metrics", str(motion_file)]) == 0
    out = capsys.readouterr().out
    assert "MPJPE" not in out
    assert "penetration: itself 0" in out
    assert "beyond joint limits: 0.00%" in out


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
        (["fit", "empty.npz", "--out", "x.npz"], "no such file"),
        (["calibrate", "missing.npz", "missing.npz", "--out", "x.npy"], "no such file"),
        (["metrics", "missing.npz"], "no such file"),
        (["info", "missing.pkl"], "no such file"),
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
