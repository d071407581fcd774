"""What a server on this machine checks of a request: whom it was meant for, and which bytes it asks for."""

from __future__ import annotations

import re

_LOCAL = {"localhost", "127.0.0.1", "[::1]"}
_HOST = re.compile(r"(\[[0-9a-f:]+\]|[a-z0-9.-]+)(?::([0-9]{1,5}))?")
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


def host_is_local(host: str | None, port: int) -> bool:
    """Says whether a ``Host`` header names this machine's loopback and the server's port.

    A page from elsewhere whose name was made to point at 127.0.0.1 (DNS rebinding) sends its own name, and is refused.

    Args:
        host: The header's value; None if there is none.
        port: The port that is listened on, 1 to 65535. A header without a port means 80.
    """
    found = _HOST.fullmatch(host.lower()) if host is not None else None
    return found is not None and found[1] in _LOCAL and int(found[2] or 80) == port


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Reads a ``Range`` header of one range of bytes.

    Args:
        header: The header's value; None if there is none.
        size: Of the file, in bytes.

    Returns:
        The first byte and the one after the last, within the file; or None where the whole file is to be sent: there is
        no header, or it is one that may be ignored (several ranges, another unit, an end before its start).

    Raises:
        ValueError: The range holds no byte of the file (status 416).
    """
    found = _RANGE.fullmatch(header.replace(" ", "")) if header is not None else None
    if found is None or found[1] == found[2] == "":
        return None
    if found[1] == "":
        first, end = max(0, size - int(found[2])), size
    else:
        first = int(found[1])
        end = size if found[2] == "" else int(found[2]) + 1
        if found[2] != "" and end <= first:
            return None
        end = min(end, size)
    if first >= end:
        raise ValueError(f"range {header!r}: expected bytes within 0 to {size - 1}, got none of them")
    return first, end
