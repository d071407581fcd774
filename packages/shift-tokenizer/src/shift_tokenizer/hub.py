"""Tokenizers on the Hugging Face hub: a name to a local folder, through huggingface_hub where that is installed."""

import re
from os import PathLike, fspath
from pathlib import Path

from .errors import ShiftTokenizerError
from .files import CONFIG_FILE, WEIGHTS_FILE

_NAME = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")


def find_folder(
    name: str | PathLike[str], *, revision: str | None = None, cache_dir: str | PathLike[str] | None = None
) -> Path:
    """The folder of that name; where there is none and the name is "owner/name", the hub's model, downloaded.

    Raises:
        ShiftTokenizerError: the hub has no such model, cannot be reached, or its client is not installed.
    """
    path = Path(name)
    if isinstance(name, PathLike) or path.exists() or not _NAME.fullmatch(fspath(name)):
        return path
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ShiftTokenizerError(
            f"{name}: expected a folder, got none, and the hub needs huggingface_hub. Correct the path, or "
            "`pip install 'shift-tokenizer[hub]'`."
        ) from error
    try:
        found = snapshot_download(
            fspath(name),
            revision=revision,
            cache_dir=None if cache_dir is None else Path(cache_dir),
            allow_patterns=[CONFIG_FILE, WEIGHTS_FILE],
        )
    except Exception as error:  # the client has a dozen kinds, not all of them its own
        raise ShiftTokenizerError(
            f"{name}: expected a folder or a model of the hub, got: {error!r}. Check the name and the connection."
        ) from error
    return Path(found)
