"""Vertices of a PLY mesh, ASCII or little-endian binary; faces and further properties are passed over."""

from __future__ import annotations

from pathlib import Path

import numpy as np

_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "<i2"),
    **dict.fromkeys(("ushort", "uint16"), "<u2"),
    **dict.fromkeys(("int", "int32"), "<i4"),
    **dict.fromkeys(("uint", "uint32"), "<u4"),
    **dict.fromkeys(("float", "float32"), "<f4"),
    **dict.fromkeys(("double", "float64"), "<f8"),
}


def read_vertices(path: Path) -> np.ndarray:
    """Vertices (V, 3), float64, in the file's unit.

    Raises:
        ValueError: no PLY of these kinds, or one that is cut short.
    """
    head, mark, body = path.read_bytes().partition(b"end_header\n")
    lines = [line.split() for line in head.decode("ascii", "replace").splitlines()]
    if not mark or lines[:1] != [["ply"]]:
        raise ValueError(f"no PLY header in {path.name}")
    kind = next((line[1] for line in lines if line[:1] == ["format"]), "")
    start = next((k for k, line in enumerate(lines) if line[:2] == ["element", "vertex"]), None)
    if start is None or any(line[:1] == ["element"] for line in lines[:start]):
        raise ValueError(f"no vertices first in {path.name}")
    count = int(lines[start][2])
    columns = []
    for line in lines[start + 1 :]:
        if line[:1] == ["element"]:
            break
        if line[:1] == ["property"]:
            columns.append((line[-1], _TYPES[line[1]]))
    row = np.dtype(columns)
    if kind == "ascii":
        table = np.array([line.split()[:3] for line in body.decode("ascii").splitlines()[:count]], float)
        vertices = table if [name for name, _ in columns[:3]] == ["x", "y", "z"] else np.zeros((0, 3))
    elif kind == "binary_little_endian":
        whole = np.frombuffer(body[: count * row.itemsize], row)
        vertices = np.stack([whole[axis].astype(float) for axis in "xyz"], 1)
    else:
        raise ValueError(f"a PLY of the format {kind!r}")
    if vertices.shape != (count, 3):
        raise ValueError(f"{len(vertices)} of {count} vertices in {path.name}")
    return vertices
