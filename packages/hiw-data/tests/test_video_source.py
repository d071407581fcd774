"""Videos that are whole, turned, uneven, cut short, empty; from file to store; on again after an interruption."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")
from hiw_data import HiwStore, NoClipsError, SourceError, annotate
from hiw_data.annotation import AnnotationConfig
from hiw_data.cleaning import CleaningConfig
from hiw_data.clips import SkippedClip
from hiw_data.engine.annotator import Annotator, Job
from hiw_data.engine.local import run_jobs
from hiw_data.errors import ClipError
from hiw_data.sources.cuts import Cut, read_cuts, seconds
from hiw_data.sources.video import VideoSource
from hiw_data.sources.video_file import VideoReader, video_info
from hiw_data.store.words import Words, add_words

_SPEC = importlib.util.spec_from_file_location("hands_in_view", Path(__file__).parent / "hands_in_view.py")
view = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(view)


def waving(time):
    """A right hand that moves from side to side, of a size that fits 64 x 48 pixels."""
    return [view.hand(1, 15 + 8 * np.sin(4 * time), 10, 24)]


def tracker(**options):
    return view.ScriptedTracker(waving, **options)


def test_pictures_come_with_their_times(tmp_path):
    frames = list(VideoReader(view.write_video(tmp_path / "a.mp4", frames=6, fps=30)))
    np.testing.assert_allclose([f.time for f in frames], np.arange(6) / 30, atol=1e-4)
    assert frames[0].image.shape == (48, 64, 3)
    assert frames[0].image[2, 30, 0] > 200  # red above
    assert frames[0].image[45, 30, 2] > 200  # blue below


@pytest.mark.parametrize(("degrees", "red_at"), [(90, "right"), (180, "below"), (270, "left")])
def test_a_rotation_flag_turns_the_pictures_upright(tmp_path, degrees, red_at):
    path = view.write_video(tmp_path / "a.mp4", frames=3, rotate=degrees)
    image = next(iter(VideoReader(path))).image
    height, width = image.shape[:2]
    assert (width, height) == ((48, 64) if degrees != 180 else (64, 48))
    assert (video_info(path).width, video_info(path).height) == (width, height)
    y, x = {"right": (height // 2, -3), "below": (-3, width // 2), "left": (height // 2, 2)}[red_at]
    assert image[y, x, 0] > 200
    assert image[y, x, 2] < 60


def test_uneven_times_are_those_of_the_file(tmp_path):
    times = [0, 1 / 30, 0.1, 0.2, 0.25, 0.5]
    path = view.write_video(tmp_path / "a.mkv", frames=6, times=times)
    np.testing.assert_allclose([f.time for f in VideoReader(path)], times, atol=0.018)


def test_a_part_of_a_video_and_a_smaller_picture(tmp_path):
    path = view.write_video(tmp_path / "a.mp4", frames=150, size=(128, 96))
    reader = VideoReader(path, 3.0, 4.0, longest_side=64)
    frames = list(reader)
    np.testing.assert_allclose([f.time for f in frames], 3 + np.arange(30) / 30, atol=1e-3)
    assert frames[0].image.shape == (48, 64, 3)
    assert reader.scale == 0.5


def test_what_is_no_video_says_so(tmp_path):
    empty, text = tmp_path / "empty.mp4", tmp_path / "text.mp4"
    empty.write_bytes(b"")
    text.write_text("not a video")
    whole = view.write_video(tmp_path / "whole.mp4").read_bytes()
    headless = tmp_path / "headless.mp4"
    headless.write_bytes(whole[: len(whole) // 2])  # the index of an mp4 stands at its end
    for path in (empty, text, headless):
        with pytest.raises(ClipError, match=path.name):
            video_info(path)


def test_a_truncated_video_gives_what_it_has_and_says_what_is_lost(tmp_path):
    path = view.write_video(tmp_path / "a.avi", frames=120, codec="mpeg4")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    reader = VideoReader(path)
    assert 5 < len(list(reader)) < 110
    assert reader.fault


def test_flipped_bits_never_end_the_reading_with_another_error(tmp_path):
    whole = view.write_video(tmp_path / "a.mp4", frames=20).read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "b.mp4"
    outcomes = set()
    for _ in range(60):
        data = np.frombuffer(whole, np.uint8).copy()
        at = rng.integers(0, len(data), 12)
        data[at] ^= (1 << rng.integers(0, 8, 12)).astype(np.uint8)
        path.write_bytes(data.tobytes())
        try:
            video_info(path)
            outcomes.add(len(list(VideoReader(path))) > 0)
        except ClipError:
            outcomes.add("refused")
    assert "refused" in outcomes
    assert True in outcomes


def test_videos_become_a_store_with_words_and_where_they_come_from(tmp_path):
    (tmp_path / "v").mkdir()
    view.write_video(tmp_path / "v" / "one.mp4", frames=90)
    (tmp_path / "v" / "broken.mp4").write_bytes(b"xx")
    store = annotate(tmp_path / "v", tmp_path / "out.zarr", tracker=tracker())
    clip = store.clips()[0]
    assert len(store) == 1
    assert clip["clip_id"] == "video/one"
    assert clip["features"].shape[0] == 48  # 45 frames at 15 a second, padded to a multiple of 4
    assert clip["valid"].sum(0).tolist() == [0, 45]
    assert "right hand" in clip["captions"][0]
    assert len(clip["captions"]) == 9
    attributes = clip["attributes"]
    assert attributes["file"] == "one.mp4"
    assert len(attributes["file_sha256"]) == 64
    assert (attributes["tracker"], attributes["tracker_version"]) == ("scripted", "1")
    assert attributes["camera_guessed"] is True
    assert 0 < attributes["camera_doubt_deg"] < 45
    assert attributes["hands"] == "right"
    assert (attributes["start_seconds"], attributes["end_seconds"]) == (0.0, 3.0)
    assert clip["group"] == "one"
    pinhole = {"fx": 64.0, "fy": 64.0, "cx": 32.0, "cy": 24.0, "width": 64.0, "height": 48.0}
    assert clip["camera"] == {"focal_px": 64.0, "camera_guessed": True, "view": "egocentric", "pinhole": pinhole}
    np.testing.assert_allclose(clip["timestamps"][:3], [0, 1 / 15, 2 / 15], atol=1e-4)
    assert {p["maker"] for p in clip["caption_provenance"]} == {"motion codes"}
    assert clip["motion_codes"]
    skipped = store.summary()["skipped"]["clips"]
    assert [row["clip_id"] for row in skipped] == ["video/broken"]
    assert "broken.mp4" in skipped[0]["reason"]
    assert not (tmp_path / "out.zarr.work").exists()
    cleaning = store.summary()["sources"]["video"]["cleaning"]
    assert (cleaning["clips"], cleaning["kept"]) == (1, 1)
    assert cleaning["steps"]["visibility"]["worst_kept"]["clip_id"] == "video/one"
    picture = cleaning["steps"]["visibility"]["picture"]
    assert picture in ("quality/video-visibility.png", None)  # None where the renderer is not installed
    assert picture is None or f"({picture})" in (store.path / "README.md").read_text()
    assert picture is None or (store.path / picture).read_bytes().startswith(b"\x89PNG")
    added = add_words(store.path, lambda clip: Words(["a hand"], [{}]))
    assert picture is None or (added.path / picture).is_file()


def test_an_interrupted_run_goes_on_with_what_it_has(tmp_path):
    for name in ("a", "b"):
        view.write_video(tmp_path / f"{name}.mp4", frames=45, size=(64, 48) if name == "a" else (80, 60))

    def breaks(time):
        if broken.frames > 50:
            raise KeyboardInterrupt
        return waving(time)

    broken = view.ScriptedTracker(breaks)
    with pytest.raises(KeyboardInterrupt):
        annotate(tmp_path, tmp_path / "out.zarr", tracker=broken)
    assert not (tmp_path / "out.zarr").exists()
    again = tracker()
    store = annotate(tmp_path, tmp_path / "out.zarr", tracker=again)
    assert again.frames == 45  # b alone
    undisturbed = annotate(tmp_path, tmp_path / "other.zarr", tracker=tracker())
    assert store.data_hash == undisturbed.data_hash
    assert len(store) == 2 - len(undisturbed.summary()["skipped"]["clips"])


def test_a_damaged_result_in_the_work_folder_is_made_again(tmp_path):
    view.write_video(tmp_path / "a.mp4", frames=45)
    annotate(tmp_path, tmp_path / "out.zarr", tracker=tracker(), keep_work=True)
    for path in (tmp_path / "out.zarr.work").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    again = tracker()
    store = annotate(tmp_path, tmp_path / "out.zarr", tracker=again, overwrite=True)
    assert again.frames == 45
    assert len(store) == 1


def test_other_options_of_the_tracker_are_not_taken_from_the_work_folder(tmp_path):
    view.write_video(tmp_path / "a.mp4", frames=45)
    annotate(tmp_path, tmp_path / "out.zarr", tracker=tracker(), keep_work=True)
    other = tracker(note="other")
    annotate(tmp_path, tmp_path / "out.zarr", tracker=other, overwrite=True)
    assert other.frames == 45


def test_cuts_by_a_csv_file_with_captions_and_faults(tmp_path):
    view.write_video(tmp_path / "a.mp4", frames=90)
    cuts = tmp_path / "cuts.csv"
    cuts.write_text(
        "file,start,end,caption\na.mp4,0.5,1.5,somebody  waves\nb.mp4,0,1,\na.mp4,2,1,\na.mp4,x,1,\na,2,,\n"
    )
    cleaning = CleaningConfig(duplicate=0.0)
    source = VideoSource(tmp_path / "a.mp4", tracker=tracker(), config=AnnotationConfig(cleaning=cleaning), cuts=cuts)
    items = list(source.stream(15.0))
    clips = {item["clip_id"]: item for item in items if not isinstance(item, SkippedClip)}
    assert list(clips) == ["video/a@0.5-1.5"]
    clip = clips["video/a@0.5-1.5"]
    assert clip["captions"][0] == "somebody waves"
    assert len(clip["features"]) == 15
    assert clip["attributes"]["start_seconds"] == 0.5
    assert clip["group"] == "a"
    reasons = [item.reason for item in items if isinstance(item, SkippedClip)]
    assert [int(reason.split("line ")[1].split()[0].strip(",.")) for reason in reasons] == [3, 4, 5, 6]


def test_times_of_a_csv_file(tmp_path):
    assert seconds("1:00:02.5") == 3602.5
    path = tmp_path / "cuts.csv"
    path.write_text("video,from\n")
    with pytest.raises(SourceError, match="file, start and end"):
        read_cuts(path)


def test_a_video_without_hands_is_listed_and_nothing_else_is_a_reason_to_stop(tmp_path):
    view.write_video(tmp_path / "a.mp4", frames=30)
    with pytest.raises(NoClipsError, match="Expected a hand"):
        annotate(tmp_path, tmp_path / "out.zarr", tracker=view.ScriptedTracker(lambda time: []))
    assert not (tmp_path / "out.zarr").exists()
    with pytest.raises(SourceError, match="nothing there"):
        VideoSource(tmp_path / "missing", tracker=tracker())


def test_a_worker_that_dies_costs_its_video_alone():
    jobs = ["1 + 1", "__import__('os')._exit(3)", "2 + 2"]
    results = dict(zip(jobs, run_jobs(eval, jobs, 2), strict=True))
    assert results[jobs[0]] == 2
    assert results[jobs[2]] == 4
    assert "died" in results[jobs[1]].reason


def test_the_other_view_turns_the_motion_half_around(tmp_path):
    view.write_video(tmp_path / "a.mp4", frames=45)
    moved = {}
    for name in ("egocentric", "facing"):
        source = VideoSource(tmp_path, tracker=tracker(), config=AnnotationConfig(view=name))
        (clip,) = source.stream(15.0)
        wrist = clip["features"][:, 99 + 96 : 99 + 99]
        moved[name] = wrist[10] - wrist[0]
    np.testing.assert_allclose(moved["facing"] * [-1, 1, -1], moved["egocentric"], atol=2e-3)
    assert abs(moved["egocentric"][0]) > 0.01


def test_the_store_says_what_the_clips_are_in_its_report(tmp_path):
    view.write_video(tmp_path / "a.mp4", frames=300)
    annotate(tmp_path, tmp_path / "out.zarr", tracker=tracker())
    report = json.loads((tmp_path / "out.zarr" / "quality.json").read_text())
    assert any("focal length was guessed" in note for note in report["notes"])
    assert any("Cleaning of 'video'" in note for note in report["notes"])
    clips = HiwStore.open(tmp_path / "out.zarr").metadata
    assert sum(row["attributes"]["end_seconds"] - row["attributes"]["start_seconds"] for row in clips) <= 10.01


def test_the_command_says_what_became_of_the_videos_and_writes_a_page(tmp_path, monkeypatch, capsys):
    from hiw_data import tracking
    from hiw_data.cli import main

    view.write_video(tmp_path / "v" / "a.mp4", frames=90)
    (tmp_path / "v" / "b.mp4").write_bytes(b"no video")
    monkeypatch.setattr(tracking, "MediaPipeTracker", lambda model, **options: tracker())
    command = ["annotate", str(tmp_path / "v"), "--out", str(tmp_path / "out.zarr"), "--page", str(tmp_path / "a.html")]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "1 clips of 1 videos, 3.0 s; 1 show one hand" in said
    assert "video/b: Expected a video at b.mp4" in said
    assert "the camera of 1 clips was guessed" in said
    assert "--fov" in said
    assert "video/a: " in (tmp_path / "a.html").read_text()
    assert main(command) == 1
    assert "--overwrite" in capsys.readouterr().err


def test_a_cut_video_is_used_as_far_as_it_goes_and_listed(tmp_path):
    path = view.write_video(tmp_path / "a.avi", frames=240, codec="mpeg4")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    store = annotate(tmp_path, tmp_path / "out.zarr", tracker=tracker())
    (skipped,) = store.summary()["skipped"]["clips"]
    assert skipped["clip_id"] == "video/a@rest"
    assert "Expected a whole file" in skipped["reason"]
    assert len(store) >= 1


def test_kept_results_are_those_of_the_same_video_part_tracker_and_size(tmp_path):
    """What decides the tracked hands names them, and what decides the fitted motion names that; nothing else does."""

    def keys(see=None, fit=None, cut=(0.0, 3.0), sha="a", stem="one", **fields):
        tracker = view.ScriptedTracker(waving, **(see or {}))
        given = {"config": AnnotationConfig(**(fit or {})), "fps": 15.0, "longest_side": 1280, "work": tmp_path}
        made = Annotator(**{"tracker": tracker, **given, **fields})
        job = Job(tmp_path / f"{stem}.mp4", stem, Cut("a.mp4", *cut))
        return tuple(
            json.dumps(k, sort_keys=True) for k in (made._track_key(job, sha, tracker), made.fit_key(job, sha))
        )

    tracked, fitted = keys()
    assert keys() == keys(stem="two", work=tmp_path / "b") == (tracked, fitted)
    for change in (
        {"see": {"note": "b"}},
        {"longest_side": 640},
        {"cut": (1.0, 3.0)},
        {"cut": (0.0, 2.0)},
        {"sha": "b"},
    ):
        assert keys(**change)[0] != tracked, change
        assert keys(**change)[1] != fitted, change
    for change in ({"fps": 30.0}, {"fit": {"fill_seconds": 0.5}}):
        assert keys(**change)[0] == tracked, change
        assert keys(**change)[1] != fitted, change


def test_a_video_is_tracked_anew_in_pictures_of_another_size(tmp_path):
    view.write_video(tmp_path / "v" / "one.mp4", frames=20, size=(128, 96))
    seen = tracker()
    for side, tracked in ((128, 20), (64, 40), (64, 40)):
        source = VideoSource(tmp_path / "v", tracker=seen, work=tmp_path / "work", longest_side=side)
        list(source.stream(15.0))
        assert seen.frames == tracked
