"""Which parts of which videos: a CSV file with the columns file, start, end and, if there are words, caption."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from hiw_data.errors import SourceError


@dataclass(frozen=True)
class Cut:
    """A part of a video.

    Attributes:
        file: as the CSV names it.
        start, end: seconds.
        caption: or None.
        line: of the CSV file.
        fault: why it cannot be used; "" if it can.
    """

    file: str
    start: float = 0.0
    end: float = math.inf
    caption: str | None = None
    line: int = 0
    fault: str = ""


def read_cuts(path: str | Path) -> list[Cut]:
    """The rows of a CSV file in UTF-8. Times are seconds or [hours:]minutes:seconds; an empty end is the file's.

    A row that cannot be used is there with its fault.

    Raises:
        SourceError: no such file, not UTF-8, or no such columns.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows = [(reader.line_num, row) for row in reader]
            columns = reader.fieldnames or []
    except (OSError, UnicodeError, csv.Error) as error:
        raise SourceError(f"Expected a CSV file in UTF-8 at {path}, got {error}.") from error
    if not {"file", "start", "end"} <= set(columns):
        raise SourceError(f"Expected the columns file, start and end in {path}, got {list(columns)}.")
    return [_cut(line, row) for line, row in rows]


def _cut(line: int, row: dict[str, str | None]) -> Cut:
    file, caption = (row.get("file") or "").strip(), " ".join((row.get("caption") or "").split()) or None
    try:
        start, end = seconds(row.get("start") or "0"), seconds(row.get("end") or "inf")
    except ValueError:
        got = f"{row.get('start')!r} and {row.get('end')!r}"
        return Cut(file, line=line, fault=f"Expected times in seconds or h:m:s in line {line}, got {got}.")
    if not file or not 0 <= start < end:
        return Cut(file, line=line, fault=f"Expected a file and 0 <= start < end in line {line}, got {file!r}, {row}.")
    return Cut(file, start, end, caption, line)


def seconds(text: str) -> float:
    """Seconds of "12.5", "1:02.5" or "1:00:02".

    >>> seconds("1:02.5")
    62.5
    """
    parts = [float(part) for part in text.strip().split(":")]
    if len(parts) > 3 or any(math.isnan(part) or part < 0 for part in parts):
        raise ValueError(text)
    return sum(part * 60**power for power, part in enumerate(reversed(parts)))
