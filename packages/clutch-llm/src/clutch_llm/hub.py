"""Models on the Hugging Face hub: a name to a local folder."""

from __future__ import annotations

import os
import re
from pathlib import Path

from clutch_llm.errors import CheckpointError

_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def find_folder(
    name_or_folder: str | os.PathLike[str],
    *,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
) -> Path:
    """The folder of that name; where there is none and the name is "owner/name", the hub's model, downloaded.

    Args:
        name_or_folder: a `pathlib.Path` is always a folder.
        revision: branch, tag or commit on the hub.
        cache_dir: where the hub's files are kept, instead of its usual place.
        token: for models that are not public.
        local_files_only: take what was downloaded before, without the network.

    Raises:
        CheckpointError: when the hub has no such model or cannot be reached.
    """
    path = Path(name_or_folder)
    if isinstance(name_or_folder, os.PathLike) or path.exists() or not _NAME.fullmatch(name_or_folder):
        return path
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(
            name_or_folder,
            revision=revision,
            cache_dir=None if cache_dir is None else Path(cache_dir),
            token=token,
            local_files_only=local_files_only,
        )
    except Exception as error:  # the client raises a dozen kinds, of several libraries
        reason = (str(error) or repr(error)).splitlines()[0]
        raise CheckpointError(
            f"Expected a model folder or a model of the hub at {name_or_folder}, got: {reason} "
            "Check the name and the connection."
        ) from error
    return Path(found)
