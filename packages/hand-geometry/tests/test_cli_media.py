"""The subcommands render, view and export, on good files and bad ones."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.request
from functools import partial

import numpy as np
import pytest
from hand_geometry import import_motion, load_motion, save_motion
from hand_geometry.cli import main


@pytest.fixture
def motion_file(make_motion, tmp_path):
    return save_motion(tmp_path / "wave.npz", make_motion(), fps=15, captions=["both hands wave"])


@pytest.mark.parametrize("suffix", [".glb", ".bvh", ".npy", ".pth"])
def test_a_motion_goes_out_and_comes_back(suffix, motion_file, joints_of, tmp_path, capsys):
    there, back = tmp_path / f"there{suffix}", tmp_path / "back.npz"
    assert main(["export", str(motion_file), "--out", str(there)]) == 0
    rate = ["--fps", "15"] if suffix in (".npy", ".pth") else []
    assert main(["export", str(there), "--out", str(back), *rate]) == 0
    assert "12 frames at 15 fps" in capsys.readouterr().out
    assert np.abs(joints_of(load_motion(back)) - joints_of(load_motion(motion_file))).max() < 1e-4


def test_forearms_are_added_on_request(motion_file, tmp_path):
    for name, options in {"plain": [], "arms": ["--forearms"]}.items():
        assert main(["export", str(motion_file), "--out", str(tmp_path / f"{name}.glb"), *options]) == 0
    assert b"right_forearm" in (tmp_path / "arms.glb").read_bytes()
    assert b"right_forearm" not in (tmp_path / "plain.glb").read_bytes()


def test_a_strip_has_as_many_pictures_as_asked_for_from_any_side(motion_file, tmp_path):
    pytest.importorskip("numba")
    image = pytest.importorskip("PIL.Image")
    pictures = {}
    for view in ("egocentric", "30,20"):
        out = tmp_path / "strip.png"
        options = ["--size", "64x48", "--strip", "3", "--view", view, "--titles", "wave"]
        assert main(["render", str(motion_file), "--out", str(out), *options]) == 0
        with image.open(out) as strip:
            assert strip.width == 3 * 64
            pictures[view] = np.asarray(strip).astype(int)
    assert (np.abs(pictures["egocentric"] - pictures["30,20"]).max(-1) > 40).sum() > 200


def test_four_motions_make_a_grid(motion_file, tmp_path):
    pytest.importorskip("numba")
    image = pytest.importorskip("PIL.Image")
    out = tmp_path / "grid.webp"
    names = ["--titles", *"abcd"]
    assert (
        main(["render", *[str(motion_file)] * 4, "--columns", "2", "--size", "64x48", "--out", str(out), *names]) == 0
    )
    with image.open(out) as grid:
        assert grid.width == 2 * 64 + 6
        assert grid.n_frames == 12


def test_the_page_is_written_to_a_file(motion_file, tmp_path, capsys):
    out = tmp_path / "wave.html"
    assert main(["view", str(motion_file), "--html", str(out)]) == 0
    assert "both hands wave" in out.read_text()
    assert "works offline" in capsys.readouterr().out


def test_view_serves_until_interrupted(motion_file):
    command = [sys.executable, "-m", "hand_geometry.cli", "view", str(motion_file), "--no-browser"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    heed_interrupts = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background job ignores them
    with subprocess.Popen(command, **streams, preexec_fn=heed_interrupts) as process:
        try:
            line = process.stdout.readline()
            url = re.search(r"http://127\.0\.0\.1:\d+/", line).group()
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=30) as answer:
                assert b"both hands wave" in answer.read()
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0
    assert errors == ""


def test_a_clip_without_any_hand_seen_can_be_looked_at_but_not_exported(make_motion, tmp_path, capsys):
    path = save_motion(tmp_path / "blind.npz", make_motion(3), fps=15, valid=np.zeros((3, 2), bool))
    assert main(["view", str(path), "--html", str(tmp_path / "a.html")]) == 0
    for suffix in (".glb", ".bvh"):
        assert main(["export", str(path), "--out", str(tmp_path / f"a{suffix}")]) == 2
        assert "seen in some frame" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["export", "view", "render"])
@pytest.mark.parametrize("kind", ["missing", "empty", "truncated", "text", "nan", "no frames"])
def test_broken_files_give_a_status_and_a_reason(command, kind, motion_file, make_motion, tmp_path, capsys):
    pytest.importorskip("numba")
    path, whole = tmp_path / "a.npz", motion_file.read_bytes()
    motion = make_motion(3)
    if kind == "nan":
        np.savez(path, **(motion | {"transl": np.full((3, 2, 3), np.nan)}))
    elif kind == "no frames":
        np.savez(path, **{name: value[:0] for name, value in motion.items()})
    elif kind != "missing":
        path.write_bytes({"empty": b"", "truncated": whole[: len(whole) // 2], "text": b"hello"}[kind])
    out = {"export": "out.glb", "view": "out.html", "render": "out.gif"}[command]
    assert main([command, str(path), "--html" if command == "view" else "--out", str(tmp_path / out)]) == 2
    error = capsys.readouterr().err
    assert "a.npz" in error
    assert "Expected" in error
    assert not (tmp_path / out).exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "{}", "--out", "a.fbx"], r"\.glb"),
        (["render", "{}", "--out", "a.gif", "--size", "big"], "WIDTHxHEIGHT"),
        (["render", "{}", "--out", "a.gif", "--view", "behind"], "yaw and pitch"),
        (["render", "{}", "--out", "a.png", "--strip", "0"], "strip"),
        (["view", "{}", "--titles", "a", "b", "--html", "a.html"], "titles: Expected 1, got 2"),
        (["view", "{}", "--port", "99999", "--no-browser"], "--port"),
    ],
)
def test_wrong_arguments_are_named(arguments, message, motion_file, capsys, monkeypatch, tmp_path):
    pytest.importorskip("numba")
    monkeypatch.chdir(tmp_path)
    assert main([argument.format(motion_file) for argument in arguments]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert [path.name for path in tmp_path.iterdir()] == ["wave.npz"]


@pytest.mark.parametrize("command", ["render", "view", "export"])
def test_help_teaches_by_example(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert capsys.readouterr().out.count(f"hand-geometry {command} ") >= 4


def test_motions_from_every_readable_format_can_be_viewed(motion_file, tmp_path):
    files = []
    for suffix in (".glb", ".bvh", ".npy"):
        assert main(["export", str(motion_file), "--out", str(tmp_path / f"a{suffix}")]) == 0
        files.append(str(tmp_path / f"a{suffix}"))
    assert main(["view", *files, "--html", str(tmp_path / "all.html")]) == 0
    assert import_motion(files[0])["captions"] == ["both hands wave"]


def test_a_view_of_30_degrees_is_seen_from_the_right_and_of_20_from_above(make_motion):
    from hand_geometry import features_to_joints, frame_camera, params_to_features
    from hand_geometry.cli_media import _angles

    yaw, pitch = _angles("30,20")
    assert (yaw, pitch) == (pytest.approx(-0.523599), pytest.approx(0.349066))
    joints = features_to_joints(params_to_features(make_motion()))
    straight, turned = (frame_camera(joints, (64, 48), view=view).position for view in ((0.0, 0.0), (yaw, pitch)))
    assert turned[0] > straight[0] + 0.05  # x is right
    assert turned[1] < straight[1] - 0.05  # y is down
