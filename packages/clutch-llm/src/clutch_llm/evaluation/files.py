"""Motions of any system, from files: read, paired with the clips of a store, measured.

A motion of a clip is a file named by the clip's id, ``ID.npz`` or ``ID.npy``; several samples of it are ``ID-1.npz``,
``ID-2.npz`` and so on. An id with slashes is a path within the folder. A file holds one of

- ``features`` (T, 198), or an array of that shape;
- MANO parameters, as ``hand_geometry.load_motion`` takes them;
- ``joints`` (T, 2, 21, 3) in metres, left then right in OpenPose order, or an array of that shape: both hands are
  fitted, so that every system is measured in the same features.

``fps`` stands beside it in an ``.npz``; a motion at another rate than its clip is resampled.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from hand_geometry import (
    canonicalize,
    features_to_params,
    fit_keypoints,
    load_motion,
    params_to_features,
    resample_params,
)
from hand_geometry.errors import InputError
from numpy.typing import NDArray
from tqdm.auto import tqdm

from clutch_llm.errors import DataError, MissingDependencyError
from clutch_llm.evaluation.claims import ClaimReader, measure_claims
from clutch_llm.evaluation.evaluator import Evaluator
from clutch_llm.evaluation.grouping import Clip
from clutch_llm.evaluation.judge import Judge
from clutch_llm.evaluation.judgement import believed_shares, judge_motions
from clutch_llm.evaluation.motion_measures import measure_motions
from clutch_llm.evaluation.text_to_motion import evaluate_t2m
from clutch_llm.evaluation.unseen import fill_unseen

logger = logging.getLogger(__name__)

STORES = "clutch_llm.clip_stores"
"""Entry points that open a store of clips: a callable of a path whose result has ``clips(split=...)``."""

DEFAULT_FPS = 15.0
SUFFIXES = (".npz", ".npy")
SIDES = ("left", "right")
_PARAMETERS = ("global_orient", "hand_pose", "transl")


class ClipStore(Protocol):
    """What the measure needs of a store."""

    def clips(self, split: str) -> Sequence[Clip]:
        """The clips of a split."""


@dataclass(frozen=True)
class MotionFile:
    """A motion at its rate: features (T, 198) and which hands were seen, (T, 2) bool."""

    features: NDArray[np.float32]
    valid: NDArray[np.bool_]


def read_motion(path: str | Path, fps: float) -> MotionFile:
    """Read one motion at a frame rate.

    Args:
        path: ``.npz`` or ``.npy``, see the module.
        fps: frames per second wanted.

    Raises:
        DataError: if the file is none of these, or holds no frame.
    """
    path = Path(path)
    arrays = _arrays(path)
    params: dict[str, Any]
    if "joints" in arrays:
        rate = _rate(arrays, path)
        params = _fit(arrays["joints"], path) | {"fps": rate}
    elif "features" in arrays and path.suffix == ".npy":
        if arrays["features"].ndim != 2 or arrays["features"].shape[1] != 198:
            raise DataError(f"{path}: Expected features (T, 198), got {arrays['features'].shape}. Pass one motion.")
        found = features_to_params(arrays["features"].astype(np.float32))
        valid = np.ones((len(arrays["features"]), 2), bool)
        params = dict(found) | {"valid": valid, "fps": _rate(arrays, path)}
    else:
        params = load_motion(path)
        _rate(arrays, path)
    if not len(params["transl"]):
        raise DataError(f"{path}: Expected a motion of at least one frame, got none.")
    kept = {name: params[name] for name in (*_PARAMETERS, "valid")}
    if float(params["fps"]) != fps:
        kept = resample_params(kept, float(params["fps"]), fps)
    features = np.asarray(params_to_features(canonicalize(kept)), dtype=np.float32)
    return MotionFile(features, np.asarray(kept["valid"], dtype=bool))


def _arrays(path: Path) -> dict[str, Any]:
    """What stands in a file, without pickles; an array alone is joints or features by its shape."""
    if path.suffix not in SUFFIXES or not path.is_file():
        raise DataError(f"{path}: Expected a motion file ending in {' or '.join(SUFFIXES)}, got none. Check the path.")
    try:
        loaded = np.load(path, allow_pickle=False)
        if path.suffix == ".npy":
            return {"features" if loaded.ndim == 2 else "joints": loaded}
        with loaded as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # the text of a broken header raises nearly anything
        raise DataError(f"{path}: Expected plain arrays, got a file that cannot be read ({error}).") from error


def _rate(arrays: dict[str, Any], path: Path) -> float:
    if "fps" not in arrays:
        logger.warning("%s has no fps: %g frames a second are taken.", path, DEFAULT_FPS)
        return DEFAULT_FPS
    rate = np.asarray(arrays["fps"]).reshape(-1)
    if len(rate) != 1 or rate.dtype.kind not in "fiu" or not np.isfinite(rate[0]) or rate[0] <= 0:
        raise DataError(f"{path}: Expected fps as one positive number, got {arrays['fps']!r}.")
    return float(rate[0])


def _fit(joints: NDArray[Any], path: Path) -> dict[str, Any]:
    """MANO parameters of joints (T, 2, 21, 3); a hand is not seen where it is not finite or all its joints coincide."""
    if joints.ndim == 3 and joints.shape[1:] == (42, 3):
        joints = joints.reshape(-1, 2, 21, 3)
    if joints.ndim != 4 or joints.shape[1:] != (2, 21, 3) or not len(joints):
        raise DataError(f"{path}: Expected joints (T, 2, 21, 3) of both hands, got {joints.shape}. Stack them.")
    points = joints.astype(np.float32)
    points[(points == points[:, :, :1]).all((2, 3))] = np.nan
    shown = [bool(np.isfinite(points[:, hand].reshape(len(points), -1)).all(1).any()) for hand in (0, 1)]
    if not any(shown):
        raise DataError(f"{path}: Expected finite joints of a hand in at least one frame, got none.")
    try:
        fits = [
            fit_keypoints(points[:, hand], side=side, smoothness=None) if shown[hand] else None
            for hand, side in enumerate(SIDES)
        ]
    except InputError as error:
        raise DataError(f"{path}: {error}") from error
    frames = len(points)
    empty = {"global_orient": np.zeros((frames, 3)), "hand_pose": np.zeros((frames, 15, 3))}
    empty |= {"transl": np.zeros((frames, 3)), "valid": np.zeros(frames, bool)}
    return {
        name: np.stack([empty[name] if fit is None else getattr(fit, name) for fit in fits], 1)
        for name in (*_PARAMETERS, "valid")
    }


def find_motions(folder: str | Path, clips: Sequence[Clip]) -> dict[str, list[Path]]:
    """The files of each clip that has any, samples in their order.

    Args:
        folder: of motion files.
        clips: whose ids are looked for.

    Raises:
        DataError: if the folder holds no motion of these clips.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"Expected a folder of motions at {root}, got none. Check --motions.")
    ids = {str(clip["clip_id"]) for clip in clips}
    found: dict[str, list[tuple[int, Path]]] = {}
    strangers = []
    for path in sorted(p for p in root.rglob("*") if p.suffix in SUFFIXES):
        name = path.relative_to(root).with_suffix("").as_posix()
        numbered = re.fullmatch(r"(.+)-(\d+)", name)
        if name in ids:
            found.setdefault(name, []).append((0, path))
        elif numbered and numbered[1] in ids:
            found.setdefault(numbered[1], []).append((int(numbered[2]), path))
        else:
            strangers.append(name)
    if strangers:
        logger.warning("%d files are of no clip that is measured, such as %s.", len(strangers), strangers[0])
    if not found:
        example = next(iter(sorted(ids)), "ID")
        raise DataError(f"Expected motions named by clip id in {root}, such as {example}.npz, got none of these clips.")
    return {clip: [path for _, path in sorted(paths)] for clip, paths in found.items()}


def open_store(path: str | Path) -> ClipStore:
    """Open a store of clips by whichever installed package can.

    Raises:
        MissingDependencyError: if no installed package reads stores.
    """
    openers = list(entry_points(group=STORES))
    if not openers:
        raise MissingDependencyError(f"Expected a package that opens {path}, got none. Install hiw-data.")
    opener: Callable[[str | Path], ClipStore] = openers[0].load()
    return opener(path)


def evaluate_files(
    folder: str | Path,
    clips: Sequence[Clip],
    evaluator: Evaluator,
    *,
    judge: Judge | None = None,
    reader: ClaimReader | None = None,
    pool_clips: Sequence[Clip] | None = None,
    caption: int = -1,
    split_by: Sequence[str] = (),
    group_by: Sequence[str] = (),
    seed: int = 0,
) -> dict[str, Any]:
    """Measure the motions of a folder against the clips that they were made for.

    Args:
        folder: of motion files, see the module.
        clips: held-out clips; those without a file are left out, and counted.
        evaluator: of texts and motions.
        judge: adds its accuracies.
        reader: of captions (``claim_reader``): adds the share of their claims that the motions fulfil.
        pool_clips: clips of another split, for the motion of a random caption.
        caption: which caption the motions were made from: 0 the high-level one, -1 the most detailed.
        split_by: names of boolean attributes by which clips are reported apart.
        group_by: names of attributes by whose values speeds are reported.
        seed: of every random choice.

    Returns:
        ``text_to_motion`` (``evaluate_t2m``), ``motion`` (``measure_motions``), with a reader ``claims``
        (``measure_claims``), with a judge ``judge`` and ``believed`` (``judge_motions``,
        ``believed_shares``), ``measured_by`` (seed and data of evaluator and judge) and ``without_motion``: the ids of
        clips that have no file. The arm is called "generated"; of several samples each clip counts as many as the clip
        with the fewest has.

    Raises:
        DataError: if no clip has a motion, or a file cannot be read.
    """
    paths = find_motions(folder, clips)
    measured = [clip for clip in clips if clip["clip_id"] in paths]
    mean = evaluator.mean.cpu().numpy()
    motions = []
    for clip in tqdm(measured, desc="motions", disable=None):
        read = [read_motion(path, clip["fps"]) for path in paths[clip["clip_id"]]]
        motions.append([fill_unseen(m.features, m.valid, mean) for m in read])
    texts = [clip["captions"][caption] for clip in measured]
    found: dict[str, Any] = {
        "text_to_motion": evaluate_t2m(
            evaluator,
            measured,
            motions,
            pool_clips=pool_clips,
            texts=texts,
            split_by=split_by,
            seed=seed,
        ),
        "motion": measure_motions(measured, motions, group_by=group_by, seed=seed),
        "measured_by": {"evaluator": {"seed": evaluator.seed, "data_hash": evaluator.data_hash}},
        "without_motion": [clip["clip_id"] for clip in clips if clip["clip_id"] not in paths],
    }
    if reader is not None:
        found["claims"] = measure_claims(reader, measured, motions, texts=texts, split_by=split_by, seed=seed)
    if judge is not None:
        found["judge"] = judge_motions(judge, measured, motions, split_by=split_by, seed=seed)
        found["believed"] = believed_shares(found["text_to_motion"], found["judge"])
        found["measured_by"]["judge"] = {"seed": judge.seed, "data_hash": judge.data_hash}
    return found
