"""All sources by name, made from plain options, as a configuration file or a command line has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hiw_data.errors import OptionError
from hiw_data.sources.annotated import keypoint_source, video_source
from hiw_data.sources.base import Source
from hiw_data.sources.datasets import dataset_sources
from hiw_data.sources.fingerspelling import FingerspellingSource
from hiw_data.sources.npz import NpzSource
from hiw_data.sources.procedural import ProceduralSource

SOURCES: dict[str, Callable[..., Source]] = {
    "fingerspelling": FingerspellingSource,
    "procedural": ProceduralSource,
    "npz": NpzSource,
    "video": video_source,
    "keypoints": keypoint_source,
    **dataset_sources(),
}
"""Makers by name, as `type` in `data.sources` and `hiw add` have them."""

WITHOUT_FOLDER = ("fingerspelling", "procedural")


def make_source(kind: str, **options: Any) -> Source:
    """A source by its name.

    Args:
        kind: a key of `SOURCES`.
        options: of that source, `folder` among them for all but those of `WITHOUT_FOLDER`.

    Raises:
        OptionError: an unknown name, or options that the source does not have.
        HiwDataError: see the source.
    """
    if kind not in SOURCES:
        raise OptionError(f"Expected a source of {', '.join(SOURCES)}, got {kind!r}. `hiw sources` tells of each.")
    try:
        return SOURCES[kind](**options)
    except TypeError as error:
        raise OptionError(
            f"Expected options that the source {kind} has, got {', '.join(sorted(options)) or 'none'} ({error})."
        ) from error
