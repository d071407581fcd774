"""Two calibrated views, a truth of one's own, and the commands."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hand_geometry import features_to_joints, features_to_params, save_motion
from hand_geometry.fitting.table import mediapipe_table
from hiw_data import cli_calibrate
from hiw_data.calibration import StereoRig, compare_views, compare_with_truth, in_camera, known_motion, triangulated
from hiw_data.calibration.conditions import PLAIN
from hiw_data.calibration.landmarks import expected_landmarks, perfect_table
from hiw_data.calibration.measures import joints_of
from hiw_data.calibration.scenes import Scene
from hiw_data.calibration.stereo import stereo
from hiw_data.calibration.truth import read_truth, truth_figures
from hiw_data.cli import main
from hiw_data.errors import ClipError, NoClipsError, OptionError, SourceError
from hiw_data.tracking.mediapipe_model import cache_folder
from scipy.spatial.transform import Rotation

from .known_hands import ExactTracker, landmarks_of

FRAMES = 24
UNIT = 0.041
VIEWS = (Scene("front"), Scene("turned", yaw=-12, pitch=6, roll=15, back=0.1))


def rig():
    """The cameras of the views, in units of 41 mm."""
    rotations = np.stack([scene.rotation for scene in VIEWS])
    positions = np.stack([scene.position for scene in VIEWS])
    translations = -np.einsum("vij,vj->vi", rotations, positions) / UNIT
    return StereoRig(np.stack([scene.matrix for scene in VIEWS]), rotations, translations)


def views(table):
    motion = known_motion(FRAMES, 101)
    return [expected_landmarks(in_camera(motion, scene), scene.matrix, table) for scene in VIEWS]


def write_rig(folder, cameras):
    def rows(matrix):
        return "\n".join(" ".join(map(repr, row)) for row in np.atleast_2d(matrix).tolist())

    for k in range(2):
        (folder / f"c{k}.dat").write_text(f"intrinsic:\n{rows(cameras.matrices[k])}\ndistortion:\n0 0 0 0 0\n")
        turn, move = rows(cameras.rotations[k]), rows(cameras.translations[k][:, None])
        (folder / f"rot_trans_c{k}.dat").write_text(f"R:\n{turn}\nT:\n{move}\n")


def test_exact_views_triangulate_to_the_joints():
    world = triangulated([view[:, 1] for view in views(perfect_table())], rig().projections)
    np.testing.assert_allclose(UNIT * world, joints_of(known_motion(FRAMES, 101))[:, 1], atol=2e-4)


def test_exact_views_agree_with_their_triangulation_and_give_its_unit():
    rows = [view.figures() for view in compare_views(views(mediapipe_table()), rig(), fps=30.0)]
    assert [(row["hand"], row["view"]) for row in rows] == [("left", 0), ("left", 1), ("right", 0), ("right", 1)]
    for row in rows:
        assert row["hand_frames"] == FRAMES
        assert row["unit_mm"] == pytest.approx(41, rel=0.04)
        assert row["mpjpe_mm"] < 9  # the table's mean error differs from view to view
        assert row["wrist_deg"] < 6


@pytest.mark.parametrize(("fps", "expected"), [(15.0, (0.1, 0.2, 0.02)), (60.0, (0.025, 0.05, 0.005))])
def test_a_view_is_fitted_as_smoothly_a_second_at_any_rate(fps, expected, monkeypatch):
    given = []

    def fitted(*_, smoothness, **__):
        given.append(smoothness)
        raise ClipError("seen enough")

    monkeypatch.setattr("hiw_data.calibration.stereo.fit_keypoints", fitted)
    with pytest.raises(ClipError, match="seen enough"):
        compare_views(views(mediapipe_table()), rig(), fps=fps)
    assert given == [pytest.approx(expected)]


def test_a_view_with_false_depths_is_told_from_the_other():
    seen = views(mediapipe_table())
    good = {(r["hand"], r["view"]): r for r in (v.figures() for v in compare_views(seen, rig(), fps=30.0))}
    flat = [seen[0], seen[1].copy()]
    flat[1][..., 2] *= -1
    bad = {(r["hand"], r["view"]): r for r in (v.figures() for v in compare_views(flat, rig(), fps=30.0))}
    assert bad["right", 1]["wrist_deg"] > good["right", 1]["wrist_deg"] + 10
    assert bad["right", 0]["wrist_deg"] == pytest.approx(good["right", 0]["wrist_deg"], abs=0.5)


def test_hands_that_one_view_alone_has_are_left_out():
    seen = views(mediapipe_table())
    seen[1][:, 0] = np.nan
    assert {view.side for view in compare_views(seen, rig(), fps=30.0)} == {"right"}
    seen[1][5:, 1] = np.nan
    with pytest.raises(ClipError, match="in step"):
        compare_views(seen, rig(), fps=30.0)


def test_a_rig_is_read_from_its_files_and_faults_are_named(tmp_path):
    write_rig(tmp_path, rig())
    loaded = StereoRig.load(tmp_path)
    np.testing.assert_allclose(loaded.projections, rig().projections)
    with pytest.raises(SourceError, match=r"cam0\.mp4"):
        stereo(tmp_path, ExactTracker(views(mediapipe_table())[0]))
    (tmp_path / "rot_trans_c1.dat").write_text("R:\n1 0 0\n0 2 0\n0 0 1\nT:\n0\n0\n0\n")
    with pytest.raises(SourceError, match=r"a rotation after 'R:' in .*rot_trans_c1"):
        StereoRig.load(tmp_path)
    (tmp_path / "c0.dat").write_text("intrinsic:\n1 2\n")
    with pytest.raises(SourceError, match=r"'intrinsic:'.*c0\.dat"):
        StereoRig.load(tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_real_views_agree_with_their_triangulation():
    pytest.importorskip("mediapipe")
    beside = [parent / "shared" / "data" for parent in Path(__file__).resolve().parents]
    folders = [Path(os.environ.get("HIW_REAL_DATA", "missing")), *beside]
    folder = next((f / "real" / "stereo" for f in folders if (f / "real" / "stereo").is_dir()), None)
    if folder is None:
        pytest.skip("no real material at hand: set HIW_REAL_DATA")
    if "HIW_HAND_MODEL" not in os.environ and not (cache_folder() / "hand_landmarker.task").is_file():
        pytest.skip("no hand model at hand: run `hiw annotate` once, or set HIW_HAND_MODEL")
    from hiw_data.tracking import MediaPipeTracker

    rows = [view.figures() for view in stereo(folder, MediaPipeTracker())]
    assert [(row["hand"], row["view"]) for row in rows] == [("right", 0), ("right", 1)]
    for row in rows:
        assert row["hand_frames"] > 340  # of 378
        assert row["unit_mm"] == pytest.approx(41, abs=3)
        assert row["triangulation_px"] < 3
        assert row["mpjpe_mm"] < 21
        assert row["pa_mpjpe_mm"] < 11
        assert row["wrist_deg"] < 12


@pytest.fixture
def truth(store, tmp_path):
    """Truths of the first two clips of a store: joints at twice the rate, and a MANO motion; and the clips' names."""
    clips = store.clips()[:2]
    seen = [clip["features"][clip["valid"].all(1)] for clip in clips]  # without the padding to whole steps
    first = np.asarray(features_to_joints(seen[0]), np.float64)
    between = np.repeat(first, 2, 0)
    between[1:-1:2] = (first[:-1] + first[1:]) / 2
    folder = tmp_path / "truth"
    names = [clip["clip_id"].removeprefix("procedural/") for clip in clips]
    (folder / names[0]).parent.mkdir(parents=True)
    np.savez(folder / f"{names[0]}.npz", joints=between[:-1], fps=2 * clips[0]["fps"])
    save_motion(folder / f"{names[1]}.npz", features_to_params(seen[1]), fps=clips[1]["fps"])
    return folder, names


def rewrite(path, **changes):
    with np.load(path) as file:
        arrays = {**file, **changes}
    np.savez(path, **arrays)


def test_a_store_that_is_its_own_truth_has_no_error(store, truth):
    clips, left_out = compare_with_truth(store.path, truth[0])
    assert len(clips) == 2
    assert len(left_out) == 58
    figures = truth_figures(clips)
    assert figures["mpjpe_mm"] == pytest.approx(0, abs=0.05)
    assert (figures["found"], figures["swapped"]) == (1, 0)
    whole, missing = compare_with_truth(store.path, store.path)
    assert (len(whole), len(missing)) == (60, 0)
    assert truth_figures(whole)["wrist_deg"] == pytest.approx(0, abs=0.05)


def test_what_is_wrong_is_measured(store, truth):
    path = truth[0] / f"{truth[1][0]}.npz"
    joints = np.load(path)["joints"]
    (truth[0] / f"{truth[1][1]}.npz").unlink()
    turn = Rotation.from_rotvec([0, 0, np.radians(20)]).as_matrix()
    rewrite(path, joints=joints @ turn.T)
    figures = truth_figures(compare_with_truth(store.path, truth[0])[0])
    assert figures["wrist_deg"] == pytest.approx(20, abs=0.5)
    assert figures["pa_mpjpe_mm"] == pytest.approx(0, abs=0.05)
    turned = truth_figures(compare_with_truth(store.path, truth[0], align="clip")[0])
    assert turned["mpjpe_mm"] == pytest.approx(0, abs=0.05)
    rewrite(path, joints=joints[:, ::-1])
    assert truth_figures(compare_with_truth(store.path, truth[0])[0])["swapped"] == 1
    seen = store.clips()[0]["valid"]
    rewrite(path, joints=joints, start_seconds=4 / store.fps)  # the first four frames have no truth
    late = compare_with_truth(store.path, truth[0])[0][0]
    assert late.known.sum() == seen[4:].sum() or late.known.sum() == 2 * (len(seen) - 4)
    assert truth_figures([late])["mpjpe_mm"] > 0.5  # and the others are those of another moment


def test_truth_that_is_none_is_named(store, truth, tmp_path):
    path = truth[0] / f"{truth[1][0]}.npz"
    joints = np.load(path)["joints"]
    for changes, said in (
        ({"joints": 1000 * joints}, "millimetres"),
        ({"joints": joints[:, 0]}, r"\(T, 2, 21, 3\)"),
        ({"fps": 0.0}, "fps of 1 to 1000"),
        ({"valid": np.ones(3)}, "Expected valid"),
    ):
        rewrite(path, **{"joints": joints, "fps": 30.0, **changes})
        with pytest.raises(ClipError, match=said):
            read_truth(path)
        path.unlink()
        np.savez(path, joints=joints, fps=30.0)
    np.savez(path, joints=joints)
    with pytest.raises(ClipError, match="fps"):
        read_truth(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=r"\.npz"):
        compare_with_truth(store.path, tmp_path / "empty")
    (tmp_path / "empty" / "other.npz").write_bytes(path.read_bytes())
    with pytest.raises(NoClipsError, match="no truth of the name"):
        compare_with_truth(store.path, tmp_path / "empty")
    with pytest.raises(OptionError, match="align"):
        compare_with_truth(store.path, truth[0], align="best")


def test_the_loop_is_a_command_with_tables_and_pictures(tmp_path, capsys, monkeypatch):
    pytest.importorskip("numba")
    tracker = ExactTracker(landmarks_of(PLAIN, 101, 30))
    monkeypatch.setattr(cli_calibrate, "_tracker", lambda arguments: tracker)
    out = tmp_path / "report"
    command = ["calibrate", "loop", "--conditions", "plain", "desk", "--seeds", "101", "--frames", "30"]
    assert main([*command, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "no error on people" in said  # its circularity
    assert "| desk | " in said
    data = json.loads((out / "loop.json").read_text())
    assert [row["condition"] for row in data["conditions"]] == ["plain", "desk"]
    assert data["conditions"][0]["mpjpe_mm"] < 5
    assert data["scenes"]["desk"]["look"]["background"] == "desk"
    assert (out / "loop.md").read_text() == said.split("\nWrote")[0]
    assert (out / "loop.png").read_bytes().startswith(b"\x89PNG")
    assert main(["calibrate", "loop", "--conditions", "foggy"]) == 1
    assert "'foggy'" in capsys.readouterr().err
    assert main(["calibrate", "loop", "--list"]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == ["plain", "light skin"]


def test_truth_wide_and_stereo_are_commands(store, truth, tmp_path, capsys, monkeypatch):
    out = tmp_path / "report"
    assert main(["calibrate", "truth", str(store.path), str(truth[0]), "--out", str(out)]) == 0
    assert "| all | " in capsys.readouterr().out
    data = json.loads((out / "truth.json").read_text())
    assert data["all"]["mpjpe_mm"] == pytest.approx(0, abs=0.05)
    assert len(data["not_compared"]) == 58
    assert main(["calibrate", "wide", "--without-tracker", "--seeds", "101", "--frames", "8", "--out", str(out)]) == 0
    assert len(json.loads((out / "wide.json").read_text())["rows"]) == 5 * 3 * 2
    capsys.readouterr()
    assert main(["calibrate", "stereo", str(tmp_path)]) == 1
    assert "c0.dat" in capsys.readouterr().err
    made = compare_views(views(mediapipe_table()), rig(), fps=30.0)
    write_rig(tmp_path, rig())
    for k in range(2):
        (tmp_path / f"cam{k}.mp4").touch()
    monkeypatch.setattr("hiw_data.calibration.stereo.stereo", lambda folder, tracker: made)
    monkeypatch.setattr(cli_calibrate, "_tracker", lambda arguments: None)
    assert main(["calibrate", "stereo", str(tmp_path), "--out", str(out)]) == 0
    assert len(json.loads((out / "stereo.json").read_text())["views"]) == 4
    assert "by the hand's size: view 0 4" in capsys.readouterr().out
