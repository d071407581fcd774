"""Talking to a model in the terminal: a sentence becomes a motion, and the model says what it made of it."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from clutch_llm.errors import ClutchError, ConfigError
from clutch_llm.motion_files import check_target, write_motions

if TYPE_CHECKING:
    from clutch_llm.clutch import Clutch

N = TypeVar("N", int, float)

HELP = "a sentence makes a motion · /seconds 3 or /seconds auto · /seed 7 · /again the same with the next seed · /quit"


@dataclass
class Chat:
    """A conversation.

    Attributes:
        clutch: the model.
        folder: where motions are written, numbered.
        suffix: of the files, ".html" for pages to watch.
        say: what the answers are given to.
        view: open each file.
        seconds: exact length; None lets the model decide.
        seed: seed of the sampling.
        text: the last sentence.
        number: motions so far.
    """

    clutch: Clutch
    folder: Path
    suffix: str
    say: Callable[[str], object]
    view: bool = False
    seconds: float | None = None
    seed: int = 0
    text: str = ""
    number: int = 0

    def run(self, lines: Iterable[str]) -> None:
        """Answer line after line, until they end or one is /quit; what is wrong with a line is said."""
        self.say(HELP)
        for line in lines:
            words = line.strip()
            if words in ("/quit", "/exit"):
                return
            try:
                self._answer(words)
            except ClutchError as error:
                self.say(" ".join(str(error).split()))

    def _answer(self, words: str) -> None:
        name, _, value = words.partition(" ")
        if not words:
            return
        if name == "/again":
            if not self.text:
                raise ConfigError("Expected a sentence before /again, got none.")
            self.seed += 1
            self._make(self.text)
        elif name == "/seconds":
            self.seconds = None if value.strip() == "auto" else _number(value, float)
            self.say("length: the model decides" if self.seconds is None else f"length: {self.seconds:g} s")
        elif name == "/seed":
            self.seed = _number(value, int)
            self.say(f"seed: {self.seed}")
        elif name.startswith("/"):
            self.say(HELP)
        else:
            self._make(words)

    def _make(self, text: str) -> None:
        plans = self.clutch.config.plan
        motion = self.clutch.generate(text, self.seconds, seed=self.seed, explain=plans)[0][0]
        self.text, self.number = text, self.number + 1
        out = self.folder / f"{self.number:03}{self.suffix}"
        check_target(out)
        (path,) = write_motions(out, [text], [[motion]])
        seconds = len(motion["features"]) / motion["fps"]
        self.say(f"{path}, {seconds:.1f} s, seed {self.seed}")
        if plans:
            self.say(f"set out to do: {', '.join(motion['plan']) or 'nothing that it could tell'}")
        self.say(f"calls it: {self.clutch.caption(motion['features'])[0]}")
        if self.view:
            webbrowser.open(path.resolve().as_uri())


def _number(value: str, kind: Callable[[str], N]) -> N:
    try:
        return kind(value)
    except ValueError as error:
        raise ConfigError(f"Expected a number, got {value!r}.") from error
