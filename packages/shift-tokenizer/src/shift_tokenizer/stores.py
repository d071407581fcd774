"""Clips from a Zarr store, as hiw-data writes them, for training and measuring; needs the extra `zarr`.

Layout: a Zarr 3 group with `features` (frames, 198) and `valid` (frames, 2), and beside them either the file
`clips.arrow` (schema 2 of hiw-data) with the columns "start" and "length" of each clip, and "clip_id", "source",
"split"; or the array `clips`, the UTF-8 bytes of a JSON list with one object per clip: its "length" (all clips end to
end), and optionally "clip_id", "source", "split". The attribute `fps` is the rate of all clips.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .arrays import rate_of
from .errors import FileFormatError, ShiftTokenizerError
from .layout import FEATURES, HANDS
from .motions import fill_latent_step, find_files, read_clip
from .windows import Clip

_INDEX = "clips.arrow"


def read_clips(paths: Sequence[Path], frames_per_latent: int, fps: float, *, split: str | None = None) -> list[Clip]:
    """All clips of NumPy files, folders of them, and Zarr stores.

    Args:
        paths: files, folders and stores.
        frames_per_latent: of the tokenizer; each clip is filled up to a multiple of it.
        fps: frames a second. Files of another rate are resampled (`read_clip`); clips of stores keep and tell theirs.
        split: of stores, the clips of this split alone; files have none.

    Raises:
        FileFormatError: nothing is there, or something else.
        ShiftTokenizerError: a store is given and zarr is not installed.
    """
    stores = [path for path in paths if (path / "zarr.json").is_file()]
    others = [path for path in paths if path not in stores]
    clips = [clip for store in stores for clip in read_store(store, frames_per_latent, split=split)]
    if others or not stores:
        clips += [read_clip(path, frames_per_latent, fps) for path in find_files(others)]
    return clips


def read_store(path: Path, frames_per_latent: int, *, split: str | None = None) -> list[Clip]:
    """The clips of a store; see `read_clips`."""
    try:
        import zarr
    except ImportError as error:
        raise ShiftTokenizerError(
            f"{path}: a Zarr store needs zarr. `pip install 'shift-tokenizer[zarr]'`, or use .npz files."
        ) from error
    try:
        group = zarr.open_group(path, mode="r")
        features, valid = group["features"], group["valid"]
        described = _read_index(path, group)
        fps = rate_of({name: np.asarray(group.attrs[name]) for name in ("fps",) if name in group.attrs}, path)
        lengths = [int(clip["length"]) for clip in described]
        ends = [int(clip["start"]) + int(clip["length"]) for clip in described]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise FileFormatError(
            f"{path}: expected a Zarr group with features, valid and clips, got: {error!r}. Write it with hiw-data."
        ) from error
    frames = max(ends, default=0)
    whole = (path / _INDEX).is_file()  # its last shard may have room left; end to end, there is none
    if (
        features.shape[1:] != (FEATURES,)
        or valid.shape != (features.shape[0], HANDS)
        or min(lengths, default=0) < 1
        or not (frames <= features.shape[0] if whole else frames == features.shape[0])
    ):
        raise FileFormatError(
            f"{path}: expected {frames} frames of {FEATURES} features and {HANDS} flags, got {features.shape} and "
            f"{valid.shape}. Write the store again."
        )
    splits = sorted({str(clip.get("split", "")) for clip in described})
    if split is not None and split not in splits:
        raise FileFormatError(f"{path}: expected a split among {', '.join(splits)}, got {split!r}. Choose one of them.")
    clips: list[Clip] = []
    for number, (clip, end) in enumerate(zip(described, ends, strict=True)):
        if split is None or clip.get("split") == split:
            own = slice(int(clip["start"]), end)
            clips.append(
                {
                    "clip_id": str(clip.get("clip_id", number)),
                    "source": str(clip.get("source", "")),
                    "fps": fps,
                    **fill_latent_step(np.asarray(features[own]), np.asarray(valid[own], bool), frames_per_latent),
                }
            )
    return clips


def _read_index(path: Path, group: Any) -> list[dict[str, Any]]:
    if not (path / _INDEX).is_file():
        described: list[dict[str, Any]] = json.loads(np.asarray(group["clips"][:], np.uint8).tobytes())
        starts = np.cumsum([0, *(int(clip["length"]) for clip in described)])
        return [{**clip, "start": int(start)} for clip, start in zip(described, starts, strict=False)]
    try:
        from pyarrow import ipc
    except ImportError as error:
        raise ShiftTokenizerError(
            f"{path}: its index needs pyarrow. `pip install 'shift-tokenizer[zarr]'`, or use .npz files."
        ) from error
    with ipc.open_file(path / _INDEX) as reader:
        return reader.read_all().select(["start", "length", "clip_id", "source", "split"]).to_pylist()
