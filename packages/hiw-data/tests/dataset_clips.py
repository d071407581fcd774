"""Every dataset's writer of tiny files, and what its source reads of them."""

from __future__ import annotations

from pathlib import Path

from hiw_data.sources.datasets import dataset_source

from .dataset_files import WRITERS as FIRST_WRITERS
from .dataset_files import Written
from .dataset_files_more import KEYPOINT_WRITERS, MANO_WRITERS

WRITERS = FIRST_WRITERS | MANO_WRITERS
EVERY = WRITERS | KEYPOINT_WRITERS
TENTH_OF_A_MILLIMETRE = 1e-4


def clips_of(name: str, written: Written, mano: Path, **options: object) -> list:
    source = dataset_source(name, written.folder, mano=mano, workers=0, **options)
    return list(source.stream(written.fps))
