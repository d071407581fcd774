"""The log of a console command: what it prints on stderr, and with ``--log-file`` a file that has all of it.

The file has the time, process, level and name of each message, also of those that the terminal does not show, and the
traceback of the error that ended the command. Later commands are added at its end.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOG = logging.getLogger(__name__)
_FORMAT = "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"


def add_log_file(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``--log-file`` to every command of a parser; call it when all of them are there.

    Args:
        commands: What ``ArgumentParser.add_subparsers`` returned.
    """
    for command in dict.fromkeys(commands.choices.values()):
        command.add_argument(
            "--log-file",
            type=Path,
            metavar="PATH",
            help="add all messages to this file too, with times, and the traceback of an error",
        )


@contextmanager
def command_log(
    path: Path | None, *, level: int = logging.WARNING, form: str = "%(message)s", told: str = ""
) -> Iterator[None]:
    """Log a command: to stderr, unless the program has set up its logging itself, and to a file.

    Args:
        path: The file, made with its folder if it is not there; None for stderr alone.
        level: Lowest level on stderr. The file has everything from INFO on, or from this level on if it is lower.
        form: Format on stderr.
        told: What is run, for the file's first line.

    Raises:
        OSError: If the file cannot be written.
    """
    logging.basicConfig(level=level, format=form)
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    file = logging.FileHandler(path, encoding="utf-8")
    file.setFormatter(logging.Formatter(_FORMAT))
    root = logging.getLogger()
    before, others = root.level, [(handler, handler.level) for handler in root.handlers]
    for handler, own in others:
        handler.setLevel(max(own, before))  # shows what it did, though more reaches it
    root.setLevel(min(before, logging.INFO))
    root.addHandler(file)
    try:
        _tell(file, logging.INFO, f"started: {told}")
        yield
        _tell(file, logging.INFO, "done")
    except Exception as error:
        _tell(file, logging.ERROR, "ended by an error", error)
        raise
    finally:
        root.removeHandler(file)
        file.close()
        root.setLevel(before)
        for handler, own in others:
            handler.setLevel(own)


def _tell(file: logging.Handler, level: int, message: str, error: Exception | None = None) -> None:
    """A line in the file alone."""
    about = None if error is None else (type(error), error, error.__traceback__)
    file.handle(_LOG.makeRecord(_LOG.name, level, __file__, 0, message, (), about))
