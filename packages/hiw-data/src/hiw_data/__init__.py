"""From landmarks, scripts and other people's motion to one Zarr store of two hands and text; its readers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hiw_data.adding import add
    from hiw_data.annotating import annotate
    from hiw_data.annotation import AnnotationConfig
    from hiw_data.captioning.check import CaptionCheck, check_caption
    from hiw_data.captioning.words import describe_motion
    from hiw_data.clips import Clip, SkippedClip
    from hiw_data.errors import (
        ClipError,
        DiskFullError,
        HiwDataError,
        NoClipsError,
        OptionError,
        SchemaVersionError,
        SourceError,
        StoreError,
    )
    from hiw_data.pipeline import BuildConfig, build
    from hiw_data.sources.base import Source, SourceInfo
    from hiw_data.sources.datasets import dataset_source
    from hiw_data.sources.fingerspelling import FingerspellingSource
    from hiw_data.sources.keypoints import KeypointSource
    from hiw_data.sources.npz import NpzSource
    from hiw_data.sources.procedural import ProceduralSource
    from hiw_data.sources.recordings import RecordingSource, clip_joints
    from hiw_data.sources.video import VideoSource
    from hiw_data.splits import assign_split
    from hiw_data.store.dataset import HiwDataset, collate
    from hiw_data.store.reader import HiwStore
    from hiw_data.store.schema import SCHEMA_VERSION
    from hiw_data.store.stream import HiwStream
    from hiw_data.store.writer import StoreWriter

__version__ = "0.1.0"

_WHERE = {
    "add": "adding",
    "annotate": "annotating",
    "AnnotationConfig": "annotation",
    "KeypointSource": "sources.keypoints",
    "VideoSource": "sources.video",
    "BuildConfig": "pipeline",
    "build": "pipeline",
    "CaptionCheck": "captioning.check",
    "check_caption": "captioning.check",
    "describe_motion": "captioning.words",
    "Clip": "clips",
    "SkippedClip": "clips",
    "HiwDataset": "store.dataset",
    "collate": "store.dataset",
    "HiwStream": "store.stream",
    "ClipError": "errors",
    "DiskFullError": "errors",
    "HiwDataError": "errors",
    "NoClipsError": "errors",
    "OptionError": "errors",
    "SchemaVersionError": "errors",
    "SourceError": "errors",
    "StoreError": "errors",
    "Source": "sources.base",
    "SourceInfo": "sources.base",
    "FingerspellingSource": "sources.fingerspelling",
    "NpzSource": "sources.npz",
    "ProceduralSource": "sources.procedural",
    "RecordingSource": "sources.recordings",
    "clip_joints": "sources.recordings",
    "dataset_source": "sources.datasets",
    "assign_split": "splits",
    "SCHEMA_VERSION": "store.schema",
    "HiwStore": "store.reader",
    "StoreWriter": "store.writer",
}

__all__ = [
    "SCHEMA_VERSION",
    "AnnotationConfig",
    "BuildConfig",
    "CaptionCheck",
    "Clip",
    "ClipError",
    "DiskFullError",
    "FingerspellingSource",
    "HiwDataError",
    "HiwDataset",
    "HiwStore",
    "HiwStream",
    "KeypointSource",
    "NoClipsError",
    "NpzSource",
    "OptionError",
    "ProceduralSource",
    "RecordingSource",
    "SchemaVersionError",
    "SkippedClip",
    "Source",
    "SourceError",
    "SourceInfo",
    "StoreError",
    "StoreWriter",
    "VideoSource",
    "add",
    "annotate",
    "assign_split",
    "build",
    "check_caption",
    "clip_joints",
    "collate",
    "dataset_source",
    "describe_motion",
]


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used, so that `hiw --help` does not wait for torch."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    globals()[name] = value
    return value
