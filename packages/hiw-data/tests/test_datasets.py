"""Datasets in their own layouts: joints before and after agree, and so do validity, rate, words, group and side."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from hiw_data import BuildConfig, HiwStore, OptionError, SkippedClip, SourceError, build
from hiw_data.clips import check_clip
from hiw_data.sources.datasets import DATASETS, dataset, dataset_source
from hiw_data.sources.hand_recording import HandRecording, KeypointRecording
from hiw_data.sources.recordings import MOTION_MAKER, clip_joints
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .dataset_clips import EVERY, TENTH_OF_A_MILLIMETRE, WRITERS, clips_of
from .dataset_files_more import KEYPOINT_WRITERS
from .mano_files import random_motion


def makers_of(clip: dict) -> list[str]:
    return [made["maker"] for made in clip["caption_provenance"]]


@pytest.mark.parametrize("name", WRITERS)
def test_joints_come_back_to_a_tenth_of_a_millimetre(name: str, tmp_path: Path, mano: Path) -> None:
    written = WRITERS[name](tmp_path, mano)
    (clip,) = clips_of(name, written, mano)
    assert not isinstance(clip, SkippedClip), clip
    check_clip(clip)
    assert np.array_equal(clip["valid"], written.valid)
    joints = clip_joints(clip, mano, folder=written.folder if name == "grab" else None)
    error = np.linalg.norm(joints - written.joints, axis=-1)[written.valid]
    assert error.max() < TENTH_OF_A_MILLIMETRE, error.max(axis=0)


@pytest.mark.parametrize("name", WRITERS)
def test_wrists_of_the_open_hand_lie_where_the_datasets_do(name: str, tmp_path: Path, mano: Path) -> None:
    from hand_geometry import features_to_joints

    written = WRITERS[name](tmp_path, mano)
    (clip,) = clips_of(name, written, mano)
    wrists = np.asarray(features_to_joints(clip["features"]))[:, :, 0] + clip["attributes"]["frame_origin"]
    assert np.abs(wrists - written.joints[:, :, 0])[written.valid].max() < TENTH_OF_A_MILLIMETRE


@pytest.mark.parametrize("name", EVERY)
def test_words_rate_group_split_and_name_are_the_datasets(name: str, tmp_path: Path, mano: Path) -> None:
    written = EVERY[name](tmp_path, mano)
    (clip,) = clips_of(name, written, mano)
    assert not isinstance(clip, SkippedClip), clip
    assert clip["clip_id"] == f"{name}/{written.clip}"
    assert clip["fps"] == written.fps
    assert clip["captions"][: len(written.captions)] == written.captions
    assert makers_of(clip)[: len(written.makers)] == written.makers
    assert len(makers_of(clip)) == len(clip["captions"])
    assert clip.get("group") == written.group
    assert clip["split"] == written.split
    if not written.captions:
        assert set(makers_of(clip)) == {MOTION_MAKER}


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("damage", ["cut", "empty", "hostile"])
def test_a_damaged_file_is_skipped_with_its_reason(name: str, damage: str, tmp_path: Path, mano: Path) -> None:
    written = EVERY[name](tmp_path, mano)
    content = written.file.read_bytes()
    marker = tmp_path / "was_run"
    hostile = pickle.dumps(Hostile(str(marker)))
    written.file.write_bytes({"cut": content[: len(content) // 3], "empty": b"", "hostile": hostile}[damage])
    (skipped,) = clips_of(name, written, mano)
    assert isinstance(skipped, SkippedClip)
    assert skipped.clip_id.startswith(f"{name}/")
    assert skipped.reason.startswith("Expected")
    assert not marker.exists()


class Hostile:
    """A pickle that would make a file if it were run."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return open, (self.path, "w")


def test_another_frame_rate_is_resampled(tmp_path: Path, mano: Path) -> None:
    written = WRITERS["arctic"](tmp_path, mano)
    (clip,) = dataset_source("arctic", tmp_path, mano=mano).stream(15.0)
    assert len(clip["features"]) == 6
    joints = clip_joints(clip, mano)
    assert np.linalg.norm(joints - written.joints[::2], axis=-1).max() < TENTH_OF_A_MILLIMETRE


def test_pieces_keep_the_words_that_are_about_them_and_their_place(tmp_path: Path, mano: Path) -> None:
    written = WRITERS["vitra"](tmp_path, mano)
    path = written.file
    episode = np.load(path, allow_pickle=True).item()
    tail = {key: np.concatenate([episode[key]] * 2) for key in ("video_decode_frame", "extrinsics")}
    episode |= tail | {"text": [("first half", (0, 12)), ("second half", (12, 24))], "text_rephrase": []}
    for side in ("left", "right"):
        hand = episode[side]
        episode[side] = {k: v if k == "beta" else np.concatenate([v, v]) for k, v in hand.items()}
    np.save(path, np.array(episode, dtype=object), allow_pickle=True)
    first, second = dataset_source("vitra", tmp_path, max_frames=12).stream(15.0)
    assert (first["captions"], second["captions"]) == (["first half"], ["second half"])
    assert np.allclose(second["timestamps"], 0.8 + np.arange(12) / 15)
    assert (first["origin"], second["attributes"]["start_seconds"]) == (second["origin"], 0.8)
    for clip in (first, second):
        error = np.linalg.norm(clip_joints(clip, mano) - written.joints, axis=-1)
        assert error[written.valid].max() < TENTH_OF_A_MILLIMETRE


@pytest.mark.parametrize("captions", ["own", "motion", "both"])
def test_measured_captions_join_or_replace_the_datasets(captions: str, tmp_path: Path, mano: Path) -> None:
    written = WRITERS["vitra"](tmp_path, mano)
    (clip,) = clips_of("vitra", written, mano, captions=captions)
    makers = makers_of(clip)
    assert (MOTION_MAKER in makers, makers[0] == MOTION_MAKER) == {
        "own": (False, False),
        "motion": (True, True),
        "both": (True, False),
    }[captions]


def test_mano_files_are_asked_for_where_they_are_needed(tmp_path: Path, mano: Path) -> None:
    WRITERS["arctic"](tmp_path / "a", mano)
    with pytest.raises(SourceError, match="Expected `mano`, the folder of MANO_LEFT and MANO_RIGHT that ARCTIC"):
        dataset_source("arctic", tmp_path / "a")
    with pytest.raises(SourceError, match="Expected MANO files in"):
        dataset_source("arctic", tmp_path / "a", mano=tmp_path)
    written = WRITERS["vitra"](tmp_path / "v", mano)
    (clip,) = dataset_source("vitra", written.folder).stream(15.0)  # holds wrists, needs none
    assert clip["hand_model"] == "mano"
    with pytest.raises(OptionError, match="Give their folder"):
        clip_joints(clip)


def test_a_folder_without_the_datasets_files_is_said_clearly(tmp_path: Path, mano: Path) -> None:
    for name in DATASETS:
        with pytest.raises(SourceError, match="See `hiw sources`"):
            dataset_source(name, tmp_path, mano=mano)
    with pytest.raises(SourceError, match="Check the path"):
        dataset_source("grab", tmp_path / "none", mano=mano)
    with pytest.raises(OptionError, match="a dataset of hawor"):
        dataset("hawker")


def test_every_dataset_goes_into_one_store(tmp_path: Path, mano: Path) -> None:
    sources = []
    for name, write in EVERY.items():
        write(tmp_path / name, mano)
        sources.append(dataset_source(name, tmp_path / name, mano=mano, workers=0))
    store = build(sources, tmp_path / "out.zarr", BuildConfig(fps=30.0))
    assert {clip["source"] for clip in store.clips()} == set(EVERY)
    again = HiwStore.open(tmp_path / "out.zarr")
    clip = next(c for c in again.clips() if c["source"] == "arctic")
    assert np.array_equal(clip["betas"], random_motion(12, 5)["betas"].astype(np.float32))
    assert clip["hand_model"] == "mano"
    assert again.summary()["sources"]["arctic"]["info"]["licence"] == "MPI non-commercial licence"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
@pytest.mark.parametrize("name", EVERY)
def test_a_file_damaged_anywhere_is_read_or_skipped_with_a_reason(
    name: str, tmp_path_factory: pytest.TempPathFactory, mano: Path, data: st.DataObject
) -> None:
    written = EVERY[name](tmp_path_factory.mktemp("damaged"), mano)
    content = bytearray(written.file.read_bytes())
    places = st.tuples(st.integers(0, 10**6), st.integers(0, 255))
    for place, byte in data.draw(st.lists(places, min_size=1, max_size=4)):
        content[place % len(content)] = byte
    written.file.write_bytes(bytes(content))
    source = dataset_source(name, written.folder, mano=mano, workers=0)
    for found in source._read(source.files[0]):  # a fit would take seconds and read nothing more
        if isinstance(found, HandRecording):
            for item in source._clips(found, written.fps):
                assert isinstance(item, dict) or item.reason.startswith("Expected")
        elif isinstance(found, SkippedClip):
            assert found.reason.startswith("Expected")


def test_absurd_numbers_are_not_seen_and_millimetres_are_told(tmp_path: Path, mano: Path) -> None:
    written = WRITERS["arctic"](tmp_path, mano)
    stored = np.load(written.file, allow_pickle=True).item()
    stored["left"]["pose"][3, 4], stored["right"]["trans"][5] = 1e300, np.nan
    np.save(written.file, np.array(stored, dtype=object), allow_pickle=True)
    (clip,) = clips_of("arctic", written, mano)
    assert np.argwhere(~clip["valid"]).tolist() == [[3, 0], [5, 1]]
    for side in ("left", "right"):
        stored[side]["trans"] = stored[side]["trans"] * 1000
    np.save(written.file, np.array(stored, dtype=object), allow_pickle=True)
    (skipped,) = clips_of("arctic", written, mano)
    assert isinstance(skipped, SkippedClip)
    assert "metre" in skipped.reason


def test_a_template_outside_the_dataset_is_not_read(tmp_path: Path, mano: Path) -> None:
    written = WRITERS["grab"](tmp_path / "in", mano)
    (clip,) = clips_of("grab", written, mano)
    clip["attributes"]["template_left"] = "../secret.ply"
    (tmp_path / "secret.ply").write_bytes((written.folder / "tools/subject_meshes/male/s1_lhand.ply").read_bytes())
    with pytest.raises(OptionError, match=r"the mesh \.\./secret\.ply"):
        clip_joints(clip, mano, folder=written.folder)


def test_processes_fit_the_same_hands(tmp_path: Path, mano: Path) -> None:
    KEYPOINT_WRITERS["leap"](tmp_path, mano)
    (alone,) = dataset_source("leap", tmp_path, workers=0).stream(25.0)
    (spread,) = dataset_source("leap", tmp_path, workers=2).stream(25.0)
    assert np.allclose(alone["features"], spread["features"], atol=1e-5)


def test_a_frame_that_cannot_be_fitted_counts_as_not_seen(tmp_path: Path, mano: Path) -> None:
    written = KEYPOINT_WRITERS["leap"](tmp_path, mano)
    stored = json.loads(written.file.read_text())
    for k, finger in enumerate(stored["frames"][6]["pointables"]):
        finger["tipPosition"] = [400.0 * (-1) ** k, 300.0, 0.0]
    written.file.write_text(json.dumps(stored))
    (clip,) = dataset_source("leap", tmp_path, workers=0).stream(100.0)
    assert not clip["valid"][6].any()
    assert clip["valid"][7:20].all()


def test_a_missing_reader_names_its_extra(tmp_path: Path, mano: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, package, extra in (("egodex", "h5py", "hdf5"), ("dexycb", "yaml", "dexycb")):
        EVERY[name](tmp_path / name, mano)
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(SourceError, match=rf"pip install 'hiw-data\[{extra}\]'"):
            list(dataset_source(name, tmp_path / name, mano=mano).stream(30.0))


def test_every_listed_dataset_is_tested_here() -> None:
    assert set(EVERY) == set(DATASETS)


KEYPOINT_ORDER = {"leap": range(1, 21), "aria": [0, *range(2, 21)]}
"""Keypoints that a device has, where it lacks some."""


@pytest.mark.parametrize("name", KEYPOINT_WRITERS)
def test_keypoints_are_read_to_a_tenth_of_a_millimetre_and_fitted(name: str, tmp_path: Path, mano: Path) -> None:
    written = KEYPOINT_WRITERS[name](tmp_path, mano)
    source = dataset_source(name, written.folder, workers=0)
    (read,) = dataset(name).read(source.files[0], source.context)
    assert isinstance(read, KeypointRecording)
    has = list(KEYPOINT_ORDER.get(name, range(21)))
    seen = np.zeros((len(written.valid), 2, 21), bool)
    seen[:, :, has] = written.valid[..., None]
    assert np.array_equal(read.seen, seen)
    assert np.abs(read.keypoints - written.joints)[seen].max() < TENTH_OF_A_MILLIMETRE
    (clip,) = source.stream(read.fps)
    assert not isinstance(clip, SkippedClip), clip
    assert np.array_equal(clip["valid"], written.valid)
    error = np.linalg.norm(clip_joints(clip) - written.joints, axis=-1)[seen]
    assert error.mean() < 0.004  # the fit's priors and smoothness pull; the hands are of the model's own shape
    assert np.isfinite(clip["residual"][written.valid]).all()
    assert np.isnan(clip["residual"][~written.valid]).all()
    assert np.nanmean(clip["residual"]) == pytest.approx(error.mean(), abs=0.002)


@pytest.mark.parametrize("name", ["hot3d", "dexycb", "aria", "interhand", "hawor"])
def test_directions_are_told_only_where_the_axes_are_the_wearers(name: str, tmp_path: Path, mano: Path) -> None:
    written = EVERY[name](tmp_path, mano)
    (clip,) = clips_of(name, written, mano, captions="motion")
    words = set(" ".join(clip["captions"]).replace(",", " ").split())
    told = words & {"up", "down", "forward", "back", "upward", "downward", "leftward", "rightward", "backward"}
    assert clip["captions"]
    assert dataset(name).axes == ("camera" if name in ("dexycb", "hawor") else "other")
    if dataset(name).axes == "other":
        assert told == set()
        assert "palm" not in words
