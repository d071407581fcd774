"""A work folder: results that took long, one file each, found again by what they were made from."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from hand_geometry.plain_npz import read_npz

from hiw_data.atomic import write_beside

logger = logging.getLogger(__name__)


class WorkFolder:
    """Arrays by key. Files appear whole or not at all, so that an interrupted run goes on with what is there.

    Args:
        path: made with the first result.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def load(self, key: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Arrays and notes of a key; None if there are none, or the file is damaged."""
        path = self._path(key)
        if not path.is_file():
            return None
        try:
            arrays = read_npz(path)
            return arrays, json.loads(str(arrays.pop("notes")))
        except (OSError, ValueError, KeyError) as error:
            logger.warning("Making %s again, for it is damaged: %s", path, error)
            return None

    def save(self, key: Mapping[str, Any], arrays: Mapping[str, np.ndarray], notes: Mapping[str, Any]) -> None:
        """Keeps arrays and notes (JSON values) of a key."""
        with write_beside(self._path(key)) as staged:
            np.savez(staged, allow_pickle=False, notes=np.array(json.dumps(notes, ensure_ascii=False)), **arrays)

    def _path(self, key: Mapping[str, Any]) -> Path:
        text = json.dumps(key, sort_keys=True, ensure_ascii=False, allow_nan=False)
        return self.path / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.npz"
