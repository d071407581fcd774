"""The prompts: files of the package, each with a version, logged with every run and part of every answer's name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from string import Template

ATOMIC = ("hand_role", "action_object", "state_transition", "action_intent")
NAMES = (*ATOMIC, "summary", "choice", "fine", "verification", "again")


@dataclass(frozen=True)
class Prompt:
    """A prompt.

    Attributes:
        name: Of its file.
        version: Said in its first line; raised whenever the text changes.
        text: With ``$fields``.
        digest: First 12 digits of the text's SHA-256, so that an edit without a new version shows.
    """

    name: str
    version: int
    text: str
    digest: str

    @property
    def label(self) -> str:
        """Name, version and digest in one word, as results keep it."""
        return f"{self.name}@{self.version}-{self.digest}"

    def fill(self, **fields: object) -> str:
        """The text with its fields; what stands in a field is not looked at again."""
        return Template(self.text).substitute({name: str(value) for name, value in fields.items()})


@cache
def prompt(name: str) -> Prompt:
    """The prompt of a name in NAMES."""
    raw = (files("hiw_data.captioning") / "prompts" / f"{name}.md").read_text(encoding="utf-8")
    head, _, text = raw.partition("\n---\n")
    version = int(head.removeprefix("version:"))
    return Prompt(name, version, text.strip(), hashlib.sha256(text.strip().encode()).hexdigest()[:12])


def prompt_labels() -> dict[str, str]:
    """Name -> label of every prompt."""
    return {name: prompt(name).label for name in NAMES}
