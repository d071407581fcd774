"""All datasets and devices that can be read in their own layouts, by name."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hiw_data.errors import OptionError

if TYPE_CHECKING:
    from hiw_data.sources.hand_recording import Dataset

_WHERE = {
    "hawor": ("hawor", "HAWOR"),
    "clutch": ("hawor", "CLUTCH"),
    "vitra": ("vitra", "VITRA"),
    "grab": ("grab", "GRAB"),
    "arctic": ("arctic", "ARCTIC"),
    "gigahands": ("gigahands", "GIGAHANDS"),
    "hot3d": ("hot3d", "HOT3D"),
    "hamer": ("crops", "HAMER"),
    "wilor-mini": ("crops", "WILOR_MINI"),
    "h2o": ("h2o", "H2O"),
    "interhand": ("interhand", "INTERHAND"),
    "dexycb": ("dexycb", "DEXYCB"),
    "taco": ("taco", "TACO"),
    "oakink2": ("oakink2", "OAKINK2"),
    "ho3d": ("ho3d", "HO3D"),
    "leap": ("leap", "LEAP"),
    "egodex": ("egodex", "EGODEX"),
    "holoassist": ("holoassist", "HOLOASSIST"),
    "aria": ("aria", "ARIA"),
    "handx": ("handx", "HANDX"),
}

DATASETS = tuple(_WHERE)
"""The names, as `type` in `data.sources` and in `hiw sources` has them."""


def dataset(name: str) -> Dataset:
    """What is known of a dataset, with its reader.

    Raises:
        OptionError: an unknown name.
    """
    if name not in _WHERE:
        raise OptionError(f"Expected a dataset of {', '.join(DATASETS)}, got {name!r}.")
    module, attribute = _WHERE[name]
    return cast("Dataset", getattr(import_module(f"hiw_data.sources.{module}"), attribute))


def dataset_source(name: str, /, folder: str | Path, **options: Any) -> Any:
    """A source of a dataset's clips.

    Args:
        name: of the dataset.
        folder: where its files lie.
        options: of `hiw_data.sources.recordings.RecordingSource`.

    Returns:
        The `RecordingSource`.

    Raises:
        OptionError: an unknown name, or an option out of range.
        SourceError: nothing to read.
    """
    from hiw_data.sources.recordings import RecordingSource

    return RecordingSource(dataset(name), folder, **options)


def dataset_sources() -> dict[str, Any]:
    """Makers of sources by name, for tables of sources such as the pipelines'."""
    return {name: partial(dataset_source, name) for name in DATASETS}
