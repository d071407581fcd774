"""What one dataset has of its own: its layout, splits, joints and frames."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hiw_data import SkippedClip
from hiw_data.clips import check_clip
from hiw_data.sources import aria
from hiw_data.sources.datasets import dataset, dataset_source
from hiw_data.sources.hand_recording import Context, KeypointRecording
from hiw_data.sources.handx import joint_order
from hiw_data.sources.recordings import clip_joints
from hiw_data.sources.time_grid import bridge_dropped

from .dataset_clips import EVERY, TENTH_OF_A_MILLIMETRE, WRITERS, clips_of
from .dataset_files import add_entry, write_hot3d_clip
from .dataset_files_more import leap_frames, open_joints


def test_hawor_without_its_chunks_takes_its_own_validity_and_says_so(tmp_path: Path, mano: Path) -> None:
    written = WRITERS["hawor"](tmp_path, mano)
    for chunk in (tmp_path / "kitchen/cam_space").rglob("*.json"):
        chunk.unlink()
    for folder in ("0", "1", ""):
        (tmp_path / "kitchen/cam_space" / folder).rmdir()
    source = dataset_source("hawor", written.folder, mano=mano)
    (clip,) = source.stream(30.0)
    assert clip["valid"].all()
    assert "HaWoR filled in count as seen (1 recordings)" in source.info().notes[0]


def test_gigahands_segments_are_clips_of_their_own_frames(tmp_path: Path, mano: Path) -> None:
    written = WRITERS["gigahands"](tmp_path, mano)
    rows = [
        {"scene": "p001-tea", "sequence": "003", "start_frame_id": 0, "end_frame_id": 4, "clarify_annotation": "one"},
        {"scene": "p001-tea", "sequence": "003", "start_frame_id": 8, "end_frame_id": -1, "clarify_annotation": "two"},
        {"scene": "p002-tea", "sequence": "003", "start_frame_id": 0, "end_frame_id": -1, "clarify_annotation": "no"},
    ]
    folder = tmp_path / "again"
    (tmp_path / "hand_poses").rename(folder.parent / "again_hand_poses")
    folder.mkdir()
    (tmp_path / "again_hand_poses").rename(folder / "hand_poses")
    (folder / "annotations_v2.jsonl").write_text("\n".join(map(json.dumps, rows)))
    one, two = dataset_source("gigahands", folder, mano=mano).stream(30.0)
    assert (one["captions"], two["captions"]) == (["one"], ["two"])
    error = np.linalg.norm(clip_joints(one, mano) - written.joints[:5], axis=-1)
    assert error[written.valid[:5]].max() < TENTH_OF_A_MILLIMETRE
    assert np.array_equal(two["valid"], written.valid[8:])


def test_arctics_protocol_states_the_splits(tmp_path: Path, mano: Path) -> None:
    WRITERS["arctic"](tmp_path, mano)
    (tmp_path / "splits_json").mkdir()
    (tmp_path / "splits_json/protocol_p1.json").write_text(json.dumps({"train": [], "val": ["s05/box_grab_01"]}))
    (clip,) = dataset_source("arctic", tmp_path, mano=mano).stream(30.0)
    assert clip["split"] == "val"
    assert "group" not in clip


def test_grab_without_the_template_says_so(tmp_path: Path, mano: Path) -> None:
    written = WRITERS["grab"](tmp_path, mano)
    for mesh in (tmp_path / "tools").rglob("*.ply"):
        mesh.unlink()
    source = dataset_source("grab", written.folder, mano=mano)
    list(source.stream(120.0))
    assert "template mesh is not there" in source.info().notes[0]


def test_packed_and_compressed_leap_frames_are_the_same_recording(tmp_path: Path) -> None:
    lzstring = pytest.importorskip("lzstring")
    joints, valid = open_joints(12, 3), np.ones((12, 2), bool)
    frames = leap_frames(joints, valid, 50)
    fingers = ["handId", "type", "mcpPosition", "pipPosition", "dipPosition", "tipPosition"]
    names = ["id", "timestamp", {"hands": [["id", "type"]]}, {"pointables": [fingers]}]
    packed = []
    for frame in frames:
        hands = [[hand["id"], hand["type"]] for hand in frame["hands"]]
        points = [[finger[name] for name in fingers] for finger in frame["pointables"]]
        packed.append([frame["id"], frame["timestamp"], hands, points])
    (tmp_path / "plain.json").write_text(json.dumps({"frames": frames}))
    text = json.dumps({"frames": [names, *packed]})
    (tmp_path / "packed.json.lz").write_text(lzstring.LZString().compressToBase64(text))
    source = dataset_source("leap", tmp_path)
    packed_read, plain_read = (next(iter(dataset("leap").read(f, source.context))) for f in source.files)
    assert np.array_equal(packed_read.keypoints, plain_read.keypoints)
    assert (packed_read.fps, plain_read.name) == (50, "plain")
    assert [n.text for n in packed_read.narrations] == ["packed"]


def real_leap() -> Path | None:
    """Recordings of real hands, which a fresh machine lacks."""
    folders = (parent / "shared/data/real/leap" for parent in Path(__file__).resolve().parents)
    return next((folder for folder in folders if folder.is_dir()), None)


@pytest.mark.skipif(real_leap() is None, reason="needs recordings of real hands")
def test_real_leap_recordings_fit_to_a_few_millimetres(tmp_path: Path) -> None:
    source = dataset_source("leap", real_leap(), captions="both")
    clips = list(source.stream(15.0))
    assert not [clip for clip in clips if isinstance(clip, SkippedClip)]
    by_origin: dict[str, list[float]] = {}
    for clip in clips:
        by_origin.setdefault(clip["origin"], []).append(float(np.nanmean(clip["residual"])))
    assert set(by_origin) == {"HandSplay-110fps", "grab", "pinch", "rollAndPitchCropped", "three-claps", "wave"}
    assert max(np.mean(residuals) for residuals in by_origin.values()) < 0.010
    claps = [clip for clip in clips if clip["origin"] == "three-claps"]
    assert all(clip["valid"].all() for clip in claps)  # both hands throughout
    splay = next(clip for clip in clips if clip["origin"] == "HandSplay-110fps")
    assert splay["captions"][0].startswith("Stretch hand as wide as it will go")
    assert not splay["valid"][:, 0].any()  # a right hand alone


def test_a_dropped_sample_is_bridged_and_a_long_gap_is_not(tmp_path: Path) -> None:
    joints = open_joints(24, 5)
    frames = leap_frames(joints, np.ones((24, 2), bool), 100)
    kept = [frame for t, frame in enumerate(frames) if t != 3 and not 8 <= t < 16]
    (tmp_path / "wave.json").write_text(json.dumps({"frames": kept}))
    source = dataset_source("leap", tmp_path)
    (read,) = dataset("leap").read(source.files[0], source.context)
    assert isinstance(read, KeypointRecording)
    assert read.fps == 100
    assert read.seen[:, 1, 1:].all(1).tolist() == [not 8 <= t < 16 for t in range(24)]
    assert np.allclose(read.keypoints[3], (read.keypoints[2] + read.keypoints[4]) / 2)
    assert np.abs(np.diff(read.keypoints[2:5, :, 1:], axis=0)).max() > 0


def test_a_dropped_sample_shows_what_is_seen_before_and_after_it() -> None:
    """Joint 0 is seen on both sides of it, joint 1 before it alone, joint 2 after it alone, joint 3 on neither."""
    keypoints, seen = np.zeros((3, 2, 21, 3)), np.zeros((3, 2, 21), bool)
    keypoints[2] = 3.0
    seen[0, 1, :2] = seen[2, 1, [0, 2]] = True
    bridge_dropped(keypoints, seen, np.array([0, 2]), 100.0)
    assert np.flatnonzero(seen[1, 1]).tolist() == [0]
    assert not seen[1, 0].any()
    assert (keypoints[1] == 1.5).all()


def test_of_two_left_hands_leap_motions_the_one_that_is_seen_longer_is_read(tmp_path: Path) -> None:
    """Somebody else's left hand is told beside it in three frames, in the first of them before it."""
    joints = open_joints(24, 5)
    frames = leap_frames(joints, np.ones((24, 2), bool), 100)
    others = leap_frames(joints + 0.5, np.array([[True, False]] * 24), 100)
    for t in (0, 1, 2):
        (hand,), points = others[t]["hands"], [{**point, "handId": 7} for point in others[t]["pointables"]]
        hands = [{**hand, "id": 7}, *frames[t]["hands"]] if t == 0 else [*frames[t]["hands"], {**hand, "id": 7}]
        frames[t] |= {"hands": hands, "pointables": [*frames[t]["pointables"], *points]}
    (tmp_path / "wave.json").write_text(json.dumps({"frames": frames}))
    source = dataset_source("leap", tmp_path)
    (read,) = dataset("leap").read(source.files[0], source.context)
    assert isinstance(read, KeypointRecording)
    assert read.seen[:, :, 1:].all()
    np.testing.assert_allclose(read.keypoints[:, :, 1:], joints[:, :, 1:], atol=1e-9)


def test_mano_order_of_joints_is_told_from_openposes() -> None:
    joints = open_joints(8, 4)
    order = [0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20]
    mano = np.zeros_like(joints)
    mano[:, :, order] = joints
    assert (joint_order(joints), joint_order(mano)) == ("openpose", "mano")


def test_hot3d_clips_are_read_from_their_archives(tmp_path: Path, mano: Path) -> None:
    written = write_hot3d_clip(tmp_path, mano)
    (clip,) = clips_of("hot3d", written, mano)
    check_clip(clip)
    assert clip["clip_id"] == "hot3d/train_aria/clip-001849"
    assert (clip["group"], clip["attributes"]["recording_name"], clip["attributes"]["headset"]) == (
        "P0003",
        "P0003_c701bd11",
        "Aria",
    )
    assert np.array_equal(clip["valid"], written.valid)
    error = np.linalg.norm(clip_joints(clip, mano) - written.joints, axis=-1)[written.valid]
    assert error.max() < TENTH_OF_A_MILLIMETRE


@pytest.mark.parametrize("damage", ["no hands", "cut", "not tar", "huge", "no shapes", "words"])
def test_an_archive_of_a_clip_that_cannot_be_used_says_why(damage: str, tmp_path: Path, mano: Path) -> None:
    written = write_hot3d_clip(tmp_path, mano)
    content = written.file.read_bytes()
    if damage in ("cut", "not tar"):
        written.file.write_bytes(content[: len(content) // 3 + 7] if damage == "cut" else b"no archive" * 100)
    else:
        with tarfile.open(written.file, "w") as archive:
            if damage != "no hands":
                hands = b"[" * 100 if damage == "words" else b'{"left": null}' + b" " * (damage == "huge") * (17 << 20)
                add_entry(archive, "000000.hands.json", hands)
            if damage != "no shapes":
                add_entry(archive, "__hand_shapes.json__", b'{"mano": [0,0,0,0,0,0,0,0,0,0]}')
            add_entry(archive, "../outside.info.json", b"{}")
    (skipped,) = clips_of("hot3d", written, mano)
    assert isinstance(skipped, SkippedClip)
    assert "Expected" in skipped.reason
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip_definitions.json", "train_aria"]


@pytest.mark.parametrize(("part", "split"), [("train", "train"), ("test_1", "test"), ("test_4", "test")])
def test_tacos_split_is_the_authors(part: str, split: str, tmp_path: Path, mano: Path) -> None:
    written = EVERY["taco"](tmp_path, mano)
    lists = tmp_path / "data_lists"
    lists.mkdir()
    file = lists / "v1_overall_data_train_test_split.txt"
    file.write_text(f"20230927_032,train\n20230927_027,{part}\n")
    (clip,) = clips_of("taco", written, mano)
    assert (clip["split"], clip["attributes"]["part"]) == (split, part)
    assert "group" not in clip  # one date may be in train and in test there
    file.write_text("20230927_027,perhaps\n")
    (skipped,) = clips_of("taco", written, mano)
    assert "parts perhaps in v1_overall_data_train_test_split.txt" in skipped.reason


def test_interhand_without_its_index_is_cut_where_frames_jump(tmp_path: Path, mano: Path) -> None:
    written = EVERY["interhand"](tmp_path, mano)
    written.file.with_name("InterHand2.6M_val_data.json").unlink()
    stored = json.loads(written.file.read_text())
    frames = stored["0"]
    stored["0"] = frames | {str(int(k) + 9000): v for k, v in frames.items()}
    written.file.write_text(json.dumps(stored))
    clips = list(dataset_source("interhand", tmp_path, mano=mano).stream(5.0))
    assert [clip["clip_id"] for clip in clips] == [
        "interhand/val/Capture0/frame3000",
        "interhand/val/Capture0/frame12000",
    ]


def test_aria_without_a_trajectory_stays_in_the_devices_frame_and_says_so(tmp_path: Path, mano: Path) -> None:
    EVERY["aria"](tmp_path, mano)
    (tmp_path / "rec1/closed_loop_trajectory.csv").unlink()
    source = dataset_source("aria", tmp_path, workers=0)
    (clip,) = source.stream(10.0)
    assert clip["attributes"]["frame"] == "device"
    assert "frame of the moving device" in source.info().notes[0]


def test_aria_hands_without_a_pose_within_a_twentieth_of_a_second_are_not_seen(tmp_path: Path) -> None:
    names = [f"{side}_{k}" for side in ("left", "right") for k in ("tracking_confidence", *range(63))]
    hand = [1.0, *([0.1, 0.2, 0.3] * 21)]
    rows = [",".join(["tracking_timestamp_us", *names])]
    rows += [",".join(map(str, [100_000 * k, *hand, *hand])) for k in range(3)]
    (tmp_path / "hand_tracking_results.csv").write_text("\n".join(rows))
    columns = ["tracking_timestamp_us", *(f"{w}_world_device" for w in ("tx", "ty", "tz", "qx", "qy", "qz", "qw"))]
    poses = [f"{at},0,0,1,0,0,0,1" for at in (0, 149_999, 260_001)]
    (tmp_path / "closed_loop_trajectory.csv").write_text("\n".join([",".join(columns), *poses]))
    (recording,) = aria.read_aria(tmp_path / "hand_tracking_results.csv", Context(tmp_path))
    assert recording.seen[:, :, 0].tolist() == [[True, True], [True, True], [False, False]]
    np.testing.assert_allclose(recording.keypoints[0, 1, 0], [0.1, 0.2, 1.3])
