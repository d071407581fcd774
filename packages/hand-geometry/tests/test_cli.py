"""The command: each subcommand once, and errors that explain themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hand_geometry import (
    features_to_joints,
    import_motion,
    load_motion,
    params_to_features,
    resample_params,
    save_motion,
)
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


@pytest.mark.parametrize("suffix", [".npz", ".glb", ".bvh", ".npy", ".pth", ".usda"])
def test_every_command_reads_every_format_that_export_writes(suffix, motion_file, tmp_path, capsys):
    pytest.importorskip("numba")
    if suffix == ".usda":
        pytest.importorskip("pxr")
    path = str(tmp_path / f"b{suffix}")
    assert main(["export", str(motion_file), "--out", path]) == 0
    assert main(["info", path]) == 0
    assert "12 frames" in capsys.readouterr().out
    assert main(["metrics", path, str(motion_file)]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("MPJPE, root"))
    assert float(line.split()[-2]) < (0.1 if suffix not in (".npy", ".pth") else 25)  # those two hold no rate: 30
    assert main(["render", path, "--out", str(tmp_path / "b.png"), "--size", "64x48", "--strip", "2"]) == 0
    assert main(["view", path, "--html", str(tmp_path / "b.html")]) == 0
    assert main(["export", path, "--out", str(tmp_path / "c.npz")]) == 0


def test_fit_writes_other_formats_and_takes_hands_of_zeros_as_not_seen(make_motion, tmp_path, capsys):
    joints = features_to_joints(params_to_features(make_motion()))
    np.savez(tmp_path / "keypoints.npz", left=0 * joints[:, 0], right=joints[:, 1])
    assert main(["fit", str(tmp_path / "keypoints.npz"), "--out", str(tmp_path / "fit.glb")]) == 0
    assert "holds no fps; taken as 15" in capsys.readouterr().out
    assert import_motion(tmp_path / "fit.glb")["valid"].all(0).tolist() == [False, True]
    np.savez(tmp_path / "keypoints.npz", right=joints[:, 1], fps="30 fps")
    assert main(["fit", str(tmp_path / "keypoints.npz"), "--out", str(tmp_path / "fit.npz")]) == 2
    assert "keypoints.npz: fps: Expected one number" in capsys.readouterr().err


def test_metrics_of_motions_at_two_rates_are_taken_at_the_truth_s(motion_file, make_motion, tmp_path, capsys):
    twice = resample_params(make_motion(), 15, 30)
    fast = save_motion(tmp_path / "fast.npz", twice, fps=30)
    assert main(["metrics", str(fast), str(motion_file)]) == 0
    out = capsys.readouterr().out
    assert "resampled from 30 to the truth's 15" in out
    values = {
        line[:21].strip(): float(line.split()[-2]) for line in out.splitlines() if line.endswith((" mm", "m/s^2"))
    }
    assert values["MPJPE, absolute"] < 0.01
    assert values["acceleration error"] < 0.01


def test_what_calibrate_may_not_learn_from_is_left_out(make_motion, tmp_path):
    """Frames in which the known motion was itself not seen hold a stand-in."""
    params = make_motion(20)
    valid = np.ones((20, 2), bool)
    valid[10:] = False
    tables = []
    for name, wild in (("a", 0.0), ("b", 1.5)):
        moved = params | {"hand_pose": params["hand_pose"] + np.where(valid[:, :, None, None], 0, wild)}
        known = save_motion(tmp_path / f"{name}.npz", moved, fps=15, valid=valid)
        joints = features_to_joints(params_to_features(params))
        np.savez(tmp_path / "tracked.npz", left=joints[:, 0], right=joints[:, 1])
        table = tmp_path / f"{name}.npy"
        assert main(["calibrate", str(tmp_path / "tracked.npz"), str(known), "--out", str(table)]) == 0
        tables.append(np.load(table))
    np.testing.assert_array_equal(tables[0], tables[1])


def test_errors_of_the_user_s_making_are_one_line_and_others_keep_their_traceback(tmp_path, capsys, monkeypatch):
    assert main(["info", str(tmp_path / "no.npz")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["export", str(tmp_path / "no.npz"), "--out", "/proc/no/a.npz"]) == 2
    capsys.readouterr()
    monkeypatch.setattr("hand_geometry.exporting.import_motion", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["info", "a.npz"])


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
