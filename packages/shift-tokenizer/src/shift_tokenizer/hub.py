"""Tokenizers on the Hugging Face hub, through huggingface_hub where that is installed: a name to a folder, and back."""

import re
from collections.abc import Callable
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from .errors import ShiftTokenizerError
from .files import CONFIG_FILE, WEIGHTS_FILE

_CARD = """---
{{ card_data }}
---

A motion tokenizer of the package shift-tokenizer: two hands to discrete tokens and back.

```python
from shift_tokenizer import ShiftTokenizer

tokenizer = ShiftTokenizer.from_pretrained("{{ repo_id }}")
```
"""
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


def push_folder(name: str, save: Callable[[Path], None], **options: Any) -> str:
    """Uploads what `save` writes into a folder, with a model card, by huggingface_hub's `ModelHubMixin`.

    Args:
        name: "owner/name" on the hub; made if it is not there.
        save: writes the files into the folder that it is given.
        options: of `ModelHubMixin.push_to_hub`: commit_message, private, token, branch, create_pr and others.

    Returns:
        the address of the commit.

    Raises:
        ShiftTokenizerError: the hub refuses, cannot be reached, or its client is not installed.
    """
    if not _NAME.fullmatch(name):
        raise ShiftTokenizerError(f'push_to_hub: expected a name "owner/name", got {name!r}. Correct it.')
    try:
        from huggingface_hub import ModelHubMixin
    except ImportError as error:
        raise ShiftTokenizerError(
            f"{name}: the hub needs huggingface_hub. `pip install 'shift-tokenizer[hub]'`."
        ) from error

    class Upload(ModelHubMixin, library_name="shift-tokenizer", model_card_template=_CARD, tags=["hand-motion"]):
        """Made here, so that the package needs no client of the hub to be imported."""

        def _save_pretrained(self, save_directory: Path) -> None:
            save(save_directory)

    try:
        return str(Upload().push_to_hub(name, model_card_kwargs={"repo_id": name}, **options))
    except (ShiftTokenizerError, TypeError):
        raise
    except Exception as error:  # the client has a dozen kinds, not all of them its own
        raise ShiftTokenizerError(
            f"{name}: expected the hub to take the model, got: {error!r}. Check the name, the token and the connection."
        ) from error
