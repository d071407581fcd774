"""The videos that a server may send: those that lie under one folder, and no other file."""

from __future__ import annotations

import os
from pathlib import Path

from hiw_data.errors import OptionError
from hiw_data.sources.video_file import SUFFIXES

TYPES = {".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/quicktime", ".webm": "video/webm"}
"""What browsers are told a file is; others are video/x-SUFFIX."""


class VideoFolder:
    """Finds videos by the names that clips give. A name is looked up in a list, and never becomes a path.

    Args:
        folder: Looked through once, with its folders; links that lead out of it are left out.

    Raises:
        OptionError: There is no such folder.
    """

    def __init__(self, folder: str | Path) -> None:
        root = Path(folder).resolve()
        if not root.is_dir():
            raise OptionError(f"Expected a folder of videos at {folder}, got none there.")
        self._root = root
        self._by_path: dict[str, Path] = {}
        by_name: dict[str, list[Path]] = {}
        for parent, _, names in os.walk(root):
            for name in sorted(names):
                path = Path(parent, name)
                if path.suffix.lower() in SUFFIXES and self._inside(path):
                    self._by_path[path.relative_to(root).as_posix()] = path
                    by_name.setdefault(name, []).append(path)
        self._by_name = {name: paths[0] for name, paths in by_name.items() if len(paths) == 1}

    def __len__(self) -> int:
        return len(self._by_path)

    def find(self, name: object) -> Path | None:
        """The video of a name: its path in the folder, or the file's name where only one file has it; None without."""
        if not isinstance(name, str):
            return None
        found = self._by_path.get(name) or self._by_name.get(name)
        return found if found is not None and self._inside(found) else None

    def _inside(self, path: Path) -> bool:
        try:
            real = path.resolve(strict=True)
        except (OSError, RuntimeError):
            return False
        return real.is_file() and real.is_relative_to(self._root)


def media_type(path: Path) -> str:
    """The content type of a video."""
    suffix = path.suffix.lower()
    return TYPES.get(suffix, f"video/x-{suffix[1:]}")
