from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hand_geometry import features_to_joints, mirror_features
from hiw_data import ProceduralSource
from hiw_data.clips import Clip, check_clip
from hiw_data.sources.choreography import Cue, HandTrack
from hiw_data.sources.families import FAMILIES
from hiw_data.sources.procedural import to_features
from hiw_data.sources.wording import ADVERBS, HANDS, MOVEMENTS, NUMBERS, TIMES, gerund, third_person
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import find_peaks

FPS = 15.0
MIDDLE_TIP, INDEX_TIP, THUMB_TIP, INDEX_BASE, PINKY_BASE, MIDDLE_BASE = 12, 8, 4, 5, 17, 9


def stream(clips: int, seed: int = 0, **options: int) -> list[Clip]:
    return [c for c in ProceduralSource(clips, seed, **options).stream(FPS) if isinstance(c, dict)]


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return stream(len(FAMILIES) * 18, seed=3)


@pytest.fixture(scope="module")
def joints(clips: list[Clip]) -> np.ndarray:
    return np.asarray(features_to_joints(np.stack([c["features"] for c in clips])))  # (N, T, 2, 21, 3)


def find(clips: list[Clip], **attributes: object) -> list[int]:
    found = [i for i, c in enumerate(clips) if attributes.items() <= c["attributes"].items()]
    assert found, f"no clip with {attributes}"
    return found


def palm(joints: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the fingers point and the palm faces, (T, 3) each, at the hand's base."""
    forward = joints[:, MIDDLE_BASE] - joints[:, 0]
    normal = np.cross(joints[:, INDEX_BASE] - joints[:, PINKY_BASE], forward) * (1 if side else -1)
    return tuple(v / np.linalg.norm(v, axis=-1, keepdims=True) for v in (forward, normal))  # type: ignore[return-value]


def test_there_are_at_least_twenty_families_and_every_one_has_two_directions() -> None:
    assert len(FAMILIES) >= 20
    assert len({f.name for f in FAMILIES}) == len(FAMILIES)
    assert all(len(f.directions) >= 2 for f in FAMILIES)


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 30))
def test_a_clip_is_a_function_of_seed_and_index(seed: int, count: int) -> None:
    few, more = stream(count, seed), stream(count + 5, seed)
    for a, b in zip(few, more, strict=False):
        np.testing.assert_array_equal(a["features"], b["features"])
        assert (a["captions"], a["attributes"], a["clip_id"]) == (b["captions"], b["attributes"], b["clip_id"])


def test_another_seed_gives_other_motion_and_other_names() -> None:
    a, b = stream(1, 0)[0], stream(1, 1)[0]
    assert not np.array_equal(a["features"], b["features"])
    assert a["clip_id"] != b["clip_id"]


def test_every_clip_is_well_formed_canonical_and_marked_synthetic(clips: list[Clip], joints: np.ndarray) -> None:
    for clip in clips:
        check_clip(clip)
        assert clip["attributes"]["synthetic"] is True
        assert clip["valid"].all()
    np.testing.assert_allclose(joints[:, 0, :, 0].mean(1), 0, atol=1e-5)


@pytest.mark.parametrize("frames", [32, 48, 96])
def test_other_lengths_work(frames: int) -> None:
    assert stream(30, frames=frames)[7]["features"].shape == (frames, 198)


@pytest.mark.parametrize("options", [{"clips": 0}, {"seed": -1}, {"frames": 31}, {"frames": 16}])
def test_senseless_options_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="Expected"):
        ProceduralSource(**options)


def test_captions_name_what_the_attributes_say(clips: list[Clip]) -> None:
    families = {f.name: f for f in FAMILIES}
    for clip in clips:
        a, (short, fine) = clip["attributes"], clip["captions"]
        family = families[a["family"]]
        for caption in (short, fine):
            assert HANDS[a["hand"]] in caption
            assert all(HANDS[other] not in caption for other in HANDS if other != a["hand"])
            assert family.directions[a["direction"]] in caption
            assert "[" not in caption
            assert "{" not in caption
        assert ADVERBS[a["speed"]] in fine
        assert MOVEMENTS[a["size"]] in fine
        number = NUMBERS[a["repetitions"]] if family.counts_itself else TIMES[a["repetitions"]]
        assert number in fine


def test_captions_are_varied(clips: list[Clip]) -> None:
    assert len({c["captions"][1] for c in clips}) > 0.8 * len(clips)
    wavers = {c["captions"][0] for c in clips if c["attributes"]["family"] == "wave"}
    assert len(wavers) >= 8


def test_verbs_are_conjugated() -> None:
    assert [third_person(v) for v in ("push", "toss", "carry", "play", "wave")] == [
        "pushes", "tosses", "carries", "plays", "waves",
    ]  # fmt: skip
    assert [gerund(v) for v in ("cut", "wave", "knock", "see", "stir")] == [
        "cutting", "waving", "knocking", "seeing", "stirring",
    ]  # fmt: skip


def test_the_source_is_varied_the_mean_pose_misses_by_40_mm(joints: np.ndarray) -> None:
    relative = joints - joints[..., :1, :]
    error = np.linalg.norm(relative - relative.mean((0, 1)), axis=-1).mean()
    assert error >= 0.040
    own = np.linalg.norm(relative - relative.mean(1, keepdims=True), axis=-1).mean()
    assert own >= 0.008


def test_a_hand_that_is_not_named_stays_still(clips: list[Clip], joints: np.ndarray) -> None:
    for hand, idle in (("left", 1), ("right", 0)):
        chosen = joints[find(clips, hand=hand)]
        travel = np.ptp(chosen[:, :, idle, 0], axis=1).max(-1)
        assert travel.max() < 0.02
        acting = np.ptp(chosen[:, :, 1 - idle], axis=1).max((-1, -2))
        assert np.median(acting) > 0.08


def test_both_hands_do_mirror_images_where_the_action_has_no_side() -> None:
    both = []
    for index in range(0, 40 * len(FAMILIES), len(FAMILIES)):
        sketch = ProceduralSource(2500, 5).sketch(index, FPS)
        assert sketch.attributes["family"] == "wave"
        if sketch.attributes["hand"] == "both":
            silent = replace(sketch, jitter=0 * sketch.jitter, tremor=0 * sketch.tremor)
            both.append(to_features([silent])[0])
    assert both
    for features in both:
        np.testing.assert_allclose(mirror_features(features), features, atol=1e-5)


@pytest.mark.parametrize("repetitions", [1, 2, 3])
def test_a_wave_swings_as_often_as_it_says(clips: list[Clip], joints: np.ndarray, repetitions: int) -> None:
    for i in find(clips, family="wave", direction="from side to side", repetitions=repetitions):
        for side in (0, 1):
            if clips[i]["attributes"]["hand"] in ("both", ("left", "right")[side]):
                swing = joints[i, :, side, MIDDLE_TIP, 0] - joints[i, :, side, 0, 0]
                peaks, _ = find_peaks(np.abs(swing - swing[0]), prominence=0.02)
                assert np.ptp(swing) > 0.05
                assert len(peaks) == 2 * repetitions


def test_a_wave_shows_an_upright_open_palm(clips: list[Clip], joints: np.ndarray) -> None:
    for i in find(clips, family="wave", hand="right"):
        forward, normal = palm(joints[i, :, 1], 1)
        assert forward.mean(0)[1] < -0.8  # fingers up: y points down
        assert normal.mean(0)[2] > 0.8  # palm forward


@pytest.mark.parametrize(
    ("direction", "axis", "sign"), [("left", 0, -1), ("right", 0, 1), ("up", 1, -1), ("down", 1, 1)]
)
def test_pointing_goes_where_the_caption_says(
    clips: list[Clip], joints: np.ndarray, direction: str, axis: int, sign: int
) -> None:
    for i in find(clips, family="point", direction=direction):
        for side, name in enumerate(("left", "right")):
            if clips[i]["attributes"]["hand"] in (name, "both"):
                wrist = joints[i, :, side, 0]
                finger = joints[i, :, side, INDEX_TIP] - wrist
                moved = sign * (wrist[:, axis] - wrist[0, axis])
                turned = sign * (finger[:, axis] - finger[0, axis])
                assert moved.max() > 0.05
                assert turned.max() > 0.05
                assert -moved.min() < 0.5 * moved.max()


@pytest.mark.parametrize(
    ("direction", "axis", "sign"), [("left", 0, -1), ("right", 0, 1), ("forward", 2, 1), ("down", 1, 1)]
)
def test_a_pushing_palm_faces_where_it_goes(
    clips: list[Clip], joints: np.ndarray, direction: str, axis: int, sign: int
) -> None:
    for i in find(clips, family="push", direction=direction):
        for side, name in enumerate(("left", "right")):
            if clips[i]["attributes"]["hand"] in (name, "both"):
                assert sign * palm(joints[i, :, side], side)[1].mean(0)[axis] > 0.8
                moved = sign * (joints[i, :, side, 0, axis] - joints[i, 0, side, 0, axis])
                assert moved.max() > 0.05


def test_clapping_palms_face_and_meet(clips: list[Clip], joints: np.ndarray) -> None:
    for i in find(clips, family="clap"):
        assert palm(joints[i, :, 0], 0)[1].mean(0)[0] > 0.8
        assert palm(joints[i, :, 1], 1)[1].mean(0)[0] < -0.8
        gap = joints[i, :, 1, 0, 0] - joints[i, :, 0, 0, 0]
        assert gap.min() < 0.13
        assert gap.max() > gap.min() + 0.07


@pytest.mark.parametrize(("direction", "sign"), [("up", -1), ("down", 1)])
def test_thumbs_up_and_down(clips: list[Clip], joints: np.ndarray, direction: str, sign: int) -> None:
    for i in find(clips, family="thumb", direction=direction):
        side = 0 if clips[i]["attributes"]["hand"] == "left" else 1
        wrist = joints[i, :, side, 0, 1]
        shown = np.argmax(sign * (wrist - wrist[0]))
        thumb = joints[i, shown, side, THUMB_TIP] - joints[i, shown, side, 2]
        assert sign * thumb[1] / np.linalg.norm(thumb) > 0.4


@pytest.mark.parametrize(("direction", "sign"), [("clockwise", 1), ("counterclockwise", -1)])
@pytest.mark.parametrize("hand", ["left", "right"])
def test_stirring_turns_as_seen_from_above(
    clips: list[Clip], joints: np.ndarray, direction: str, sign: int, hand: str
) -> None:
    for i in find(clips, family="stir", direction=direction, hand=hand):
        path = joints[i, :, 0 if hand == "left" else 1, 0][:, [0, 2]]  # x right, z ahead
        path = path - path.mean(0)
        area = 0.5 * np.sum(path[:-1, 0] * path[1:, 1] - path[1:, 0] * path[:-1, 1])
        assert -sign * area > 0


@pytest.mark.parametrize(("direction", "before", "after"), [("up", 1, -1), ("down", -1, 1)])
def test_turning_the_palm(clips: list[Clip], joints: np.ndarray, direction: str, before: int, after: int) -> None:
    for i in find(clips, family="turn", direction=direction, size="large"):
        side = 0 if clips[i]["attributes"]["hand"] == "left" else 1
        facing = palm(joints[i, :, side], side)[1][:, 1]  # y points down
        assert before * facing[0] > 0.7
        assert (after * facing).max() > 0.7


@pytest.mark.parametrize("direction", ["up to", "down from"])
def test_counting_opens_or_closes_as_many_fingers(clips: list[Clip], joints: np.ndarray, direction: str) -> None:
    for i in find(clips, family="count", direction=direction):
        number = clips[i]["attributes"]["repetitions"]
        side = 0 if clips[i]["attributes"]["hand"] == "left" else 1
        reach = np.linalg.norm(joints[i, :, side, [8, 12, 16, 20]] - joints[i, :, side, :1].swapaxes(0, 1), axis=-1)
        is_open = reach > 0.115  # (4, T): index to pinky
        end = -1 if direction == "up to" else 0
        assert is_open[:, end].sum() == min(number, 4)
        assert is_open[:, -1 - end if end else -1].sum() == 0


def test_fast_is_faster_and_large_is_larger(clips: list[Clip], joints: np.ndarray) -> None:
    wrists = joints[..., 0, :]
    reach = np.ptp(wrists, axis=1).max((-1, -2))
    pace = np.linalg.norm(np.diff(wrists, axis=1), axis=-1).max((-1, -2)) / reach
    by_size = [np.median(reach[find(clips, size=size)]) for size in ("small", "medium", "large")]
    by_speed = [np.median(pace[find(clips, speed=speed)]) for speed in ("slow", "medium", "fast")]
    assert by_size == sorted(by_size)
    assert by_speed == sorted(by_speed)
    assert by_size[2] > 1.5 * by_size[0]
    assert by_speed[2] > 1.5 * by_speed[0]


def test_every_action_ends_within_the_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = []

    def watch(hand: HandTrack, cue: Cue) -> None:
        ends.append(cue.t[-1] - cue.start - cue.duration)

    watched = tuple(replace(family, act=watch) for family in FAMILIES)
    monkeypatch.setattr("hiw_data.sources.procedural.FAMILIES", watched)
    source = ProceduralSource(len(FAMILIES) * 20, seed=2)
    for index in range(len(source)):
        source.sketch(index, FPS)
    assert len(ends) > len(source)
    assert min(ends) >= 0
