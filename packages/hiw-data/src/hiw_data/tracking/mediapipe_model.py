"""MediaPipe's hand model file: by path, from the user's cache, or assembled once from a wheel of the package index.

A `.task` file is a zip of the two networks. Releases of mediapipe up to 0.10.21 carry both in their wheel; `pip`
fetches that wheel (36 MB, nothing is installed), the two are taken out and compared with their known hashes.
"""

from __future__ import annotations

import hashlib
import logging
import os
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from hiw_data.atomic import write_beside
from hiw_data.errors import SourceError

logger = logging.getLogger(__name__)

WHEEL = "mediapipe==0.10.21"
PARTS = {
    "hand_detector.tflite": (
        "mediapipe/modules/palm_detection/palm_detection_full.tflite",
        "1b14e9422c6ad006cde6581a46c8b90dd573c07ab7f3934b5589e7cea3f89a54",
    ),
    "hand_landmarks_detector.tflite": (
        "mediapipe/modules/hand_landmark/hand_landmark_full.tflite",
        "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
    ),
}
"""Name in the task file -> name in the wheel, SHA-256."""

_FOREIGN = ("--only-binary=:all:", "--python-version", "3.11", "--platform", "manylinux_2_28_x86_64")
"""The wheel need not run here: that of one system will do on all."""
_PADDING_FIELD = 0xD935
"""Of a zip entry: the number that Android's zipalign uses."""
_HELP = (
    "Give a model file with --model or HIW_HAND_MODEL: hand_landmarker.task from MediaPipe's documentation of the Hand "
    "Landmarker."
)


def cache_folder() -> Path:
    """Where models are kept: $HIW_CACHE, else hiw-data in the user's cache folder."""
    if own := os.environ.get("HIW_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".cache") / "hiw-data"


def hand_model(path: str | Path | None = None) -> Path:
    """The model file, made if it is not there.

    Args:
        path: a `.task` file; None for $HIW_HAND_MODEL, else the one in the cache.

    Raises:
        SourceError: no such file, or it is none, or it has to be made and there is no network.
    """
    given = path or os.environ.get("HIW_HAND_MODEL")
    if given is not None:
        if not zipfile.is_zipfile(given):
            raise SourceError(f"Expected MediaPipe's hand model, a .task file, at {given}, got none. {_HELP}")
        return Path(given)
    cached = cache_folder() / "hand_landmarker.task"
    if not cached.is_file():
        logger.info("Making MediaPipe's hand model from the wheel of %s (36 MB, once) at %s", WHEEL, cached)
        with tempfile.TemporaryDirectory() as folder:
            assemble(_fetch_wheel(Path(folder)), cached)
    return cached


def assemble(wheel: Path, out: Path) -> None:
    """Writes a task file from the networks in a wheel; it appears whole or not at all.

    Raises:
        SourceError: the wheel is damaged, lacks a network, or has another.
    """
    parts = {}
    for name, (inside, digest) in PARTS.items():
        try:
            with zipfile.ZipFile(wheel) as archive:
                data = archive.read(inside)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise SourceError(f"Expected {inside} in {wheel.name}, got {error}. {_HELP}") from error
        if (got := hashlib.sha256(data).hexdigest()) != digest:
            raise SourceError(f"Expected {inside} of SHA-256 {digest} in {wheel.name}, got {got}. {_HELP}")
        parts[name] = data
    with write_beside(out) as staged, zipfile.ZipFile(staged, "w", zipfile.ZIP_STORED) as archive:
        for name, data in parts.items():
            archive.writestr(_aligned(name, archive.start_dir), data)


def _aligned(name: str, at: int) -> zipfile.ZipInfo:
    """An entry whose data start at a multiple of 16, so that the networks can be mapped into memory as they lie."""
    entry, padding = zipfile.ZipInfo(name), -(at + 30 + len(name) + 4) % 16
    entry.extra = struct.pack("<HH", _PADDING_FIELD, padding) + bytes(padding)
    return entry


def _fetch_wheel(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), *_FOREIGN, WHEEL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("mediapipe-*.whl"))
    if done.returncode or not wheels:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SourceError(f"Expected to fetch {WHEEL} with pip for its hand model, got: {last} {_HELP}")
    return wheels[0]
