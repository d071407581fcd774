"""Scripted two-handed actions with captions and known truth. Synthetic: no human made these movements.

Every clip is a function of (seed, index): its family is `index` modulo the number of families, and its
hands, speed, size, repetitions, direction, wording, length and tremor are drawn from a generator of its own. A clip is
as long as its action and some rest after it. Hands are written by `actions`, over the longest length; then all
conversions to features run on blocks of clips at once, and each is cut to its own.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
from hand_geometry import (
    features_to_joints,
    load_pose,
    mirror_text,
    params_to_features,
    relaxed_hand,
)
from hand_geometry.codes import MotionCodes, codes_of_clips
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

import hiw_data
from hiw_data.clips import Clip, SkippedClip
from hiw_data.errors import OptionError
from hiw_data.sources.base import SourceInfo
from hiw_data.sources.choreography import SIZES, SPEEDS, Array, Cue, HandTrack
from hiw_data.sources.families import FAMILIES, Family
from hiw_data.sources.held_out import HELD_OUT_COMBINATIONS
from hiw_data.sources.measured import add_measured
from hiw_data.sources.phrasing import TELLS, paraphrase
from hiw_data.sources.wording import NUMBERS, TIMES, fine_caption, short_caption

BLOCK = 256
WRIST_JITTER, TURN_JITTER, FINGER_JITTER = 0.015, 0.10, 0.06
WRIST_TREMOR, TURN_TREMOR, FINGER_TREMOR = 0.004, 0.03, 0.03
IDLE_TREMOR = 0.25
"""Jitter is one draw per clip, tremor moves within it (m, rad, rad); an idle hand trembles less."""

REST = 0.8
"""After their last movement the hands rest so long in the mean (s)."""

_KNOTS_A_SECOND = 3.0
_FINGER_OF_JOINT = np.repeat([1, 2, 4, 3, 0], 3)  # MANO: index, middle, pinky, ring, thumb
_MIRROR_ROTATION = np.array([1.0, -1.0, -1.0])
_MIRROR_POSITION = np.array([-1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Sketch:
    """One clip before its conversion to features: two tracks and their noise."""

    frames: int  # of the clip; its tracks may go on
    tracks: tuple[HandTrack, HandTrack]
    jitter: Array  # (2, 51) wrist 3, turn 3, fingers 45
    tremor: Array  # (knots, 2, 51)
    captions: list[str]
    mirrored_captions: list[str]
    attributes: dict[str, Any]


class ProceduralSource:
    """Scripted actions.

    Args:
        clips: how many.
        seed: another seed gives other clips.
        frames: length of the longest clips, at least 32: 8 s at 15 frames a second.
        min_frames: length of the shortest; as much as `frames` makes all clips equally long.
        name: of this source in the store.
        paraphrases: free sentences of each clip beside its captions, for training; see `phrasing`.
        hold_out: keep the combinations of `held_out` out of train; False leaves all splits to the build.
        measured_captions: between each clip's two captions also three from its motion codes, and who made each.

    Attributes of a clip: `family` (the action), `hand`, `direction`, `speed`, `size`, `repetitions`, `synthetic`,
    `unseen_combination`.

    Raises:
        OptionError: a number out of range.
    """

    def __init__(
        self,
        clips: int = 2500,
        seed: int = 0,
        frames: int = 120,
        *,
        min_frames: int = 30,
        name: str = "procedural",
        hold_out: bool = True,
        paraphrases: int = 0,
        measured_captions: bool = False,
    ) -> None:
        if clips < 1 or seed < 0 or frames < 32 or paraphrases < 0:
            raise OptionError(
                "Expected clips >= 1, seed >= 0, frames >= 32 and paraphrases >= 0, got "
                f"clips={clips}, seed={seed}, frames={frames}, paraphrases={paraphrases}."
            )
        if not 1 <= min_frames <= frames:
            raise OptionError(f"Expected min_frames from 1 to frames ({frames}), got {min_frames}.")
        self.clips, self.seed, self.frames, self.min_frames = clips, seed, frames, min_frames
        self.name, self.hold_out, self.paraphrases = name, hold_out, paraphrases
        self.measured_captions = measured_captions

    def __len__(self) -> int:
        return self.clips

    def info(self) -> SourceInfo:
        """What the data card says about this source."""
        return SourceInfo(
            title="Scripted two-handed actions (synthetic)",
            synthetic=True,
            description=(
                f"{len(FAMILIES)} families of actions written as code, {self.min_frames} to {self.frames} frames each. "
                "No human made these: they serve to check models against known truth, not as a sample of life."
            ),
            licence="Apache-2.0, as the code that writes them",
            origin=f"hiw_data.sources.procedural, seed {self.seed}",
            told=("family", "hand", "direction", "speed", "size", "repetitions"),
            limits="The actions are simple and drawn evenly. They check a model against known truth.",
        )

    def stream(self, fps: float) -> Iterator[Clip | SkippedClip]:
        """All clips in order of their index, at `fps` frames a second."""
        yield from self.stream_from(fps, 0)

    def stream_from(self, fps: float, start: int) -> Iterator[Clip | SkippedClip]:
        """The same without the first `start`, which are not made either, for a build that goes on."""
        for first in range(start // BLOCK * BLOCK, self.clips, BLOCK):
            indices = range(first, min(first + BLOCK, self.clips))
            sketches = [self.sketch(index, fps) for index in indices]
            motions = to_features(sketches)
            cut = [motion[: sketch.frames] for motion, sketch in zip(motions, sketches, strict=True)]
            codes = codes_of(cut, fps) if self.measured_captions else []
            for index, sketch, features in zip(indices, sketches, cut, strict=True):
                if index < start:
                    continue  # of a block whose other clips are wanted: blocks are always made whole, to the same bits
                clip_id = f"{self.name}/{self.seed}/{index:06d}"
                a = sketch.attributes
                held_out = HELD_OUT_COMBINATIONS.get((a["family"], a["hand"], a["direction"]), "")
                split = held_out if self.hold_out else ""
                clip = Clip(
                    clip_id=clip_id,
                    source=self.name,
                    split=split,
                    fps=fps,
                    features=features,
                    valid=np.ones((sketch.frames, 2), bool),
                    captions=sketch.captions,
                    mirrored_captions=sketch.mirrored_captions,
                    attributes=sketch.attributes | {"unseen_combination": bool(split)},
                    origin=clip_id,
                    held_out=bool(split),
                )
                if self.paraphrases:
                    clip["paraphrases"] = self._paraphrases(index, a)
                    clip["mirrored_paraphrases"] = self._paraphrases(index, mirror_attributes(a))
                if codes:
                    version = f"hiw-data {hiw_data.__version__}"
                    add_measured(clip, codes[index - first], maker="script", version=version, wearers_axes=True)
                yield clip

    def _paraphrases(self, index: int, attributes: Mapping[str, Any]) -> list[str]:
        """Free sentences in phrasings that training may see, from a generator of their own."""
        rng = np.random.default_rng([self.seed, index, 1])
        directions = FAMILIES[index % len(FAMILIES)].directions
        return [paraphrase(attributes, directions, rng) for _ in range(self.paraphrases)]

    def sketch(self, index: int, fps: float) -> Sketch:
        """Draws and writes clip number `index`."""
        rng = np.random.default_rng([self.seed, index])
        family = FAMILIES[index % len(FAMILIES)]
        seconds = self.frames / fps
        attributes, rate = _draw_attributes(family, rng, seconds=seconds)
        start = _draw_start(attributes, rate, rng, seconds=seconds)
        tracks = _write_tracks(family, attributes, rate, start, np.arange(self.frames) / fps)
        frames = _moving_frames(tracks) + 1 + int(rng.exponential(REST) * fps)
        knots = 2 + max(2, round(_KNOTS_A_SECOND * seconds))
        jitter, tremor = rng.normal(size=(2, 51)), rng.normal(size=(knots, 2, 51))
        mirrored = mirror_attributes(attributes)
        return Sketch(
            frames=min(max(frames, self.min_frames), self.frames),
            tracks=tracks,
            jitter=jitter,
            tremor=tremor,
            captions=_write_captions(family, attributes, deepcopy(rng)),
            mirrored_captions=_write_captions(family, mirrored, deepcopy(rng)),
            attributes=attributes,
        )


_ASKED = ("family", "hand", "direction", "speed", "size", "repetitions")


def held_out_phrasing(clip: Mapping[str, Any], tells: Collection[str] = TELLS) -> str | None:
    """A sentence that asks for a scripted clip in a phrasing that is held out of training.

    It is the same for the same clip.

    Args:
        clip: of a `ProceduralSource`.
        tells: what it tells beside the action; all that the detailed caption says unless told otherwise.

    Returns:
        The sentence; None for a clip that is not of this source.
    """
    a = clip.get("attributes", {})
    family = next((family for family in FAMILIES if family.name == a.get("family")), None)
    if family is None or not a.get("synthetic") or any(name not in a for name in _ASKED):
        return None
    rng = np.random.default_rng([zlib.crc32(str(clip["clip_id"]).encode()), 2])
    return paraphrase(a, family.directions, rng, tells=tells, unseen=True)


def mirror_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of the mirror image: its `hand` and its `direction` are others."""
    return {**attributes, "hand": mirror_text(attributes["hand"]), "direction": mirror_text(attributes["direction"])}


def _draw_attributes(family: Family, rng: np.random.Generator, *, seconds: float) -> tuple[dict[str, Any], float]:
    """What the caption will name, and the repetitions a second."""
    hand = str(rng.choice(family.hands, p=[0.4, 0.4, 0.2] if len(family.hands) == 3 else None))
    speed = str(rng.choice(list(SPEEDS), p=[0.3, 0.4, 0.3]))
    size = str(rng.choice(list(SIZES), p=[0.3, 0.4, 0.3]))
    rate = family.rate * SPEEDS[speed] * rng.uniform(0.93, 1.07)
    fitting = int((0.87 * seconds - 0.2) * rate)  # repetitions that end before the clip does
    attributes: dict[str, Any] = {
        "family": family.name,
        "hand": hand,
        "speed": speed,
        "size": size,
        "direction": str(rng.choice(list(family.directions))),
        "repetitions": int(rng.integers(1, max(1, min(family.most, fitting)) + 1)),
        "synthetic": True,
    }
    return attributes, max(rate, attributes["repetitions"] / (0.93 * seconds - 0.1))


def _draw_start(attributes: dict[str, Any], rate: float, rng: np.random.Generator, *, seconds: float) -> float:
    """When the first repetition begins: soon, and so that the last one ends in time."""
    return float(rng.uniform(0.1, max(0.1, min(0.4, seconds - attributes["repetitions"] / rate - 0.1))))


def _write_tracks(
    family: Family, attributes: dict[str, Any], rate: float, start: float, t: Array
) -> tuple[HandTrack, HandTrack]:
    tracks = (HandTrack.at_rest(len(t)), HandTrack.at_rest(len(t)))
    for track, name, side in zip(tracks, ("left", "right"), (-1, 1), strict=True):
        if attributes["hand"] in (name, "both"):
            cue = Cue(
                t=t,
                start=start,
                rate=rate,
                count=attributes["repetitions"],
                size=SIZES[attributes["size"]],
                direction=attributes["direction"],
                side=side,
            )
            family.act(track, cue)
    return tracks


def _moving_frames(tracks: tuple[HandTrack, HandTrack]) -> int:
    """Frames up to the last one that differs from the one before."""
    numbers = np.concatenate(
        [np.column_stack([t.position, t.twist, t.swing, t.bend, t.curl, t.pinch]) for t in tracks], axis=1
    )
    moves = np.flatnonzero(np.abs(np.diff(numbers, axis=0)).max(1) > 1e-6)
    return int(moves[-1]) + 2 if len(moves) else 1


def _write_captions(family: Family, attributes: dict[str, Any], rng: np.random.Generator) -> list[str]:
    repetitions, hand = attributes["repetitions"], attributes["hand"]
    words = {"direction": family.directions[attributes["direction"]], "number": NUMBERS[repetitions]}
    short, fine = (str(rng.choice(family.phrases)).format(**words) for _ in range(2))
    times = "" if family.counts_itself else TIMES[repetitions]
    return [
        short_caption(short, hand, rng),
        fine_caption(fine, hand, speed=attributes["speed"], size=attributes["size"], times=times, rng=rng),
    ]


def codes_of(motions: Sequence[NDArray[np.float32]], fps: float) -> list[MotionCodes]:
    """Motion codes of each of some features (T, 198) of any lengths."""
    ends = np.cumsum([len(motion) for motion in motions])[:-1]
    return codes_of_clips(np.split(np.asarray(features_to_joints(np.concatenate(motions))), ends), None, fps)


def to_features(sketches: list[Sketch]) -> NDArray[np.float32]:
    """Features of N sketches whose tracks are equally long, shape (N, T, 198)."""
    tracks = [sketch.tracks for sketch in sketches]
    position = _gather(tracks, "position")  # (N, 2, T, 3)
    turns = np.stack([-_gather(tracks, "twist"), _gather(tracks, "swing"), _gather(tracks, "bend")], -1)
    noise = _noise(sketches)
    position = position + noise[..., :3]
    orient = _orient(_gather(tracks, "fingers"), _gather(tracks, "palm"), turns + noise[..., 3:6])
    pose = _finger_pose(_gather(tracks, "curl"), _gather(tracks, "pinch"))
    pose = pose + noise[..., 6:].reshape(pose.shape) * [1.0, 0.5, 0.3]
    return _mirror_and_convert(position, orient, pose)


def _gather(tracks: list[tuple[HandTrack, HandTrack]], name: str) -> Array:
    return np.array([[getattr(hand, name) for hand in pair] for pair in tracks])


def _noise(sketches: list[Sketch]) -> Array:
    """Jitter and tremor, (N, 2, T, 51)."""
    hands = [s.attributes["hand"] for s in sketches]
    idle = np.array([[hand == "right", hand == "left"] for hand in hands])
    frames = len(sketches[0].tracks[0].position)
    knots = np.linspace(-1, frames, len(sketches[0].tremor))
    spread = (knots[1] - knots[0]) * 0.9
    basis = np.exp(-0.5 * ((np.arange(frames)[:, None] - knots) / spread) ** 2)
    basis /= np.linalg.norm(basis, axis=1, keepdims=True)  # (T, knots): unit variance at every frame
    tremor = basis @ np.array([s.tremor for s in sketches]).transpose(0, 2, 1, 3)  # (N, 2, T, 51)
    tremor *= np.repeat([WRIST_TREMOR, TURN_TREMOR, FINGER_TREMOR], [3, 3, 45])
    tremor *= np.where(idle, IDLE_TREMOR, 1.0)[..., None, None]
    jitter = np.array([s.jitter for s in sketches]) * np.repeat([WRIST_JITTER, TURN_JITTER, FINGER_JITTER], [3, 3, 45])
    return tremor + jitter[:, :, None]


def _orient(fingers: Array, palm: Array, turns: Array) -> Rotation:
    """Wrist rotations of N x 2 x T frames, flattened.

    The model's right hand has its fingers along -x, its palm along -y and its thumb along +z.
    """
    columns = [-fingers, -palm, np.cross(fingers, palm)]
    base = np.repeat(np.stack(columns, -1).reshape(-1, 3, 3), turns.shape[2], 0)
    return Rotation.from_matrix(base) * Rotation.from_euler("XYZ", turns.reshape(-1, 3))


def _finger_pose(curl: Array, pinch: Array) -> Array:
    """Axis-angle pose of a right hand, (N, 2, T, 15, 3)."""
    fist, closed = (load_pose(name, side="right").double().numpy() for name in ("fist", "pinch"))
    pose = curl[..., _FINGER_OF_JOINT, None] * fist
    weight = np.clip(pinch, 0, 1)[..., None, None]
    return np.asarray(pose * (1 - weight) + weight * closed)


def _mirror_and_convert(position: Array, orient: Rotation, pose: Array) -> NDArray[np.float32]:
    orient_vectors = orient.as_rotvec().reshape(position.shape)
    for rotations in (orient_vectors, pose):
        rotations[:, 0] *= _MIRROR_ROTATION
    position = position * np.stack([_MIRROR_POSITION, np.ones(3)])[:, None]
    position -= position[:, :, :1].mean(1, keepdims=True)  # canonical: between the wrists in frame 0
    at_rest = [relaxed_hand(side) for side in ("left", "right")]
    rest_wrists = np.stack([(hand["wrist"] - hand["transl"]).double().numpy() for hand in at_rest])
    params = {
        "global_orient": orient_vectors,
        "hand_pose": pose,
        "transl": position - rest_wrists[:, None],
    }
    frames_first = {k: np.ascontiguousarray(np.swapaxes(v, 1, 2), np.float32) for k, v in params.items()}
    return np.asarray(params_to_features(frames_first), np.float32)
