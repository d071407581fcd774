"""Video and keypoint sources from plain options, as a configuration file or a command line has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hiw_data.annotation import AnnotationConfig
from hiw_data.cleaning import CleaningConfig
from hiw_data.errors import OptionError
from hiw_data.sources.keypoints import KeypointSource
from hiw_data.sources.scenes import SceneConfig
from hiw_data.sources.video import VideoSource
from hiw_data.tracking.base import Tracker
from hiw_data.tracking.camera import CameraModel


def annotation_config(
    *,
    fov: float | None = None,
    focal: float | None = None,
    camera: str | Path | None = None,
    view: str = "egocentric",
    fill_seconds: float = 0.2,
    max_frames: int = 64,
    variants: int = 3,
    seed: int = 0,
    hands: str = "one",
    visible: float = 0.8,
    most_clips: int | None = None,
    keep_outliers: bool = False,
    keep_duplicates: bool = False,
) -> AnnotationConfig:
    """How tracked hands become clips, from plain options.

    Args:
        fov: horizontal field of view of the camera, degrees.
        focal: its focal length, pixels.
        camera: a JSON file of it, see `CameraModel.load`; at most one of these three.
        view: see `AnnotationConfig`, as are the next four.
        fill_seconds: see there.
        max_frames: see there.
        variants: see there.
        seed: see there; it also draws a balanced sample.
        hands: see `CleaningConfig`, as are the next two.
        visible: see there.
        most_clips: see there.
        keep_outliers: drop no clip for its accelerations.
        keep_duplicates: drop no clip for repeating another.

    Raises:
        OptionError: an option out of range.
        SourceError: the camera's file cannot be read.
    """
    known = CameraModel(fov=fov, focal=focal)
    if camera is not None:
        loaded = CameraModel.load(camera)
        known = CameraModel(fov=fov, focal=focal, matrix=loaded.matrix)
    cleaning = CleaningConfig(
        hands=hands,
        visible=visible,
        most_z=float("inf") if keep_outliers else 4.0,
        duplicate=0.0 if keep_duplicates else 0.004,
        most_clips=most_clips,
        seed=seed,
    )
    return AnnotationConfig(
        camera=known,
        view=view,
        fill_seconds=fill_seconds,
        max_frames=max_frames,
        variants=variants,
        seed=seed,
        cleaning=cleaning,
    )


def video_source(
    folder: str | Path,
    *,
    name: str = "video",
    licence: str = "not stated",
    cuts: str | Path | None = None,
    cut: str = "length",
    scene_threshold: float = 0.15,
    model: str | Path | None = None,
    max_hands: int = 4,
    work: str | Path | None = None,
    workers: int = 1,
    engine: str = "local",
    ray_address: str | None = None,
    tracker: str = "mediapipe",
    results: str | Path | None = None,
    mano: str | Path | None = None,
    results_fps: float | None = None,
    **options: Any,
) -> VideoSource:
    """A folder of videos.

    Args:
        folder: of videos, or one video.
        name: of this source in the store.
        licence: under which terms the clips may be used.
        cuts: see `VideoSource`.
        cut: "length" or "scene": whether videos are cut where scenes change, before clips are cut to their length.
        scene_threshold: see `SceneConfig`.
        model: see `MediaPipeTracker`.
        max_hands: see `MediaPipeTracker`.
        work: the folder that keeps results; None for a temporary one.
        workers: videos at a time.
        engine: "local" or "ray", see `engine_of`.
        ray_address: of a Ray cluster that is there.
        tracker: see `make_tracker`, as are the next three.
        results: see there.
        mano: see there.
        results_fps: see there.
        **options: of `annotation_config`.
    """
    config = annotation_config(**options)
    made = make_tracker(tracker, model=model, max_hands=max_hands, results=results, mano=mano, results_fps=results_fps)
    return VideoSource(
        folder,
        tracker=made,
        config=config,
        cuts=cuts,
        scenes=scenes_of(cut, scene_threshold),
        name=name,
        licence=licence,
        work=work,
        workers=workers,
        engine=engine,
        ray_address=ray_address,
    )


def scenes_of(cut: str, threshold: float) -> SceneConfig | None:
    """How a video is cut by scene, or None where it is not.

    Raises:
        OptionError: another word than "length" and "scene", or a threshold out of range.
    """
    if cut not in ("length", "scene"):
        raise OptionError(f"Expected cut of length or scene, got {cut!r}.")
    return SceneConfig(threshold) if cut == "scene" else None


def make_tracker(
    name: str = "mediapipe",
    *,
    model: str | Path | None = None,
    max_hands: int = 4,
    results: str | Path | None = None,
    mano: str | Path | None = None,
    results_fps: float | None = None,
) -> Tracker:
    """A tracker by its name.

    Args:
        name: "mediapipe", or of whom the results are: see `ResultTracker`.
        model: see `MediaPipeTracker`.
        max_hands: see there.
        results: folder of another tracker's results.
        mano: folder of the MANO files that they were made with.
        results_fps: rate of the frames that they count, or None.

    Raises:
        OptionError: options that do not go together.
        SourceError: something that is needed is not there.
    """
    from hiw_data import tracking

    if name == "mediapipe":
        if results is not None:
            raise OptionError("Expected the name of the tracker whose results these are, got mediapipe. Say --tracker.")
        return tracking.MediaPipeTracker(model, max_hands=max_hands)
    if results is None or mano is None:
        raise OptionError(
            f"Expected the folders of results and of MANO files (--results, --mano) for {name}, got none."
        )
    return tracking.ResultTracker(name, results, mano=mano, fps=results_fps)


def keypoint_source(
    folder: str | Path,
    *,
    name: str = "keypoints",
    licence: str = "not stated",
    fps: float = 15.0,
    side: str = "right",
    **options: Any,
) -> KeypointSource:
    """A folder of keypoints.

    Args:
        folder: of files, see `KeypointSource`.
        name: of this source in the store.
        licence: under which terms the clips may be used.
        fps: of files that do not say.
        side: of files with one hand that do not say.
        **options: of `annotation_config`.
    """
    return KeypointSource(folder, config=annotation_config(**options), fps=fps, side=side, name=name, licence=licence)
