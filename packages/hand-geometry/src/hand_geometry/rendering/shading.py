"""The rasteriser's light: what the samples of a pixel show, shaded and averaged; compiled by numba on first use.

Design:
    * A warm key from above left, a cool sky, a fill from the right and a little light from the eye, wrapped so that
      nothing is black; red falls off last, as in skin. Ambient occlusion compares depths around a pixel: it is what
      separates the fingers.
    * Samples of one pixel that lie on one surface are shaded once, where the first of them is.
    * Row by row, in three passes: gather what is to be shaded, light all of it (no branches, so that the compiler
      works on many at once), add it up. Pixels outside the drawn box only ever show the background.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from hand_geometry.rendering.raster import OPTIONS, Floats, Ints

_ONE_SURFACE = np.float32(1.02)  # ratio of depths within a pixel

# Where occlusion is looked for, metres on the screen plane: two rings of six.
_RINGS = np.array(
    [
        (radius * math.cos((k + shift) * math.pi / 3), radius * math.sin((k + shift) * math.pi / 3))
        for radius, shift in ((0.006, 0.0), (0.016, 0.5))
        for k in range(6)
    ],
    np.float32,
)

_F = np.float32
_ZERO, _ONE, _HALF, _TINY = _F(0.0), _F(1.0), _F(0.5), _F(1e-12)
_FIELDS = 11  # of what is to be shaded: normal 3, albedo 3, opacity, sample x and y, darkness, weight


@njit(**OPTIONS)
def resolve(
    normals: Floats,
    colors: Floats,
    faces: Ints,
    screen: Floats,
    inverse_depth: Floats,
    triangle: Ints,
    box: Ints,
    lens: tuple[float, float, float],
    samples: int,
    shadow: Floats,
    background: Floats,
    out: np.ndarray,
) -> None:
    """Draw ``out`` (H, W, 3) uint8 from buffers of ``samples`` x ``samples`` per pixel.

    ``colors`` (V, 4) is albedo and opacity over the background, ``box`` (left, top, right, bottom) the samples that
    hold something, ends excluded, ``lens`` the focal length and centre in samples, ``shadow`` (H / 2, W / 2) how much
    darker the background is.
    """
    height, width = out.shape[0], out.shape[1]
    _paper(shadow, background, out)
    left, right = box[0] // samples, min(width, -(-box[2] // samples))
    top, bottom = box[1] // samples, min(height, -(-box[3] // samples))
    room = max(0, right - left) * samples * samples
    items = np.empty((_FIELDS, room), np.float32)
    lit = np.empty((3, room), np.float32)
    owner = np.empty(room, np.int32)
    hits = np.empty(max(0, right - left), np.int32)
    for y in range(top, bottom):
        count = _gather(
            y,
            left,
            right,
            samples,
            normals,
            colors,
            faces,
            screen,
            inverse_depth,
            triangle,
            lens[0],
            items,
            owner,
            hits,
        )
        if count > 0:
            _light(count, _F(lens[0]), _F(lens[1]), _F(lens[2]), items, lit)
            _add(y, left, count, samples, items, lit, owner, hits, shadow, background, out)


@njit(**OPTIONS)
def _paper(shadow: Floats, background: Floats, out: np.ndarray) -> None:
    """Fill the picture with the background, darker in the shadow."""
    height, width = out.shape[0], out.shape[1]
    for y in range(0, height, 2):
        for x in range(0, width, 2):
            dim = (_ONE - shadow[y // 2, x // 2]) * _F(255.0)
            for k in range(3):
                value = np.uint8(background[k] * dim + _HALF)
                out[y, x, k] = value
                if x + 1 < width:
                    out[y, x + 1, k] = value
        if y + 1 < height:
            out[y + 1] = out[y]


@njit(**OPTIONS)
def _gather(
    y: int,
    left: int,
    right: int,
    samples: int,
    normals: Floats,
    colors: Floats,
    faces: Ints,
    screen: Floats,
    inverse_depth: Floats,
    triangle: Ints,
    focal: float,
    items: Floats,
    owner: Ints,
    hits: Ints,
) -> int:
    """Collect the surfaces of a row of pixels; how many there are. ``hits`` counts the samples of each pixel."""
    count = 0
    for x in range(left, right):
        found, nearest, farthest = 0, _ZERO, _F(1e9)
        for sy in range(y * samples, y * samples + samples):
            for sx in range(x * samples, x * samples + samples):
                if triangle[sy, sx] > 0:
                    found += 1
                    nearest = max(nearest, inverse_depth[sy, sx])
                    farthest = min(farthest, inverse_depth[sy, sx])
        hits[x - left] = found
        if found == 0:
            continue
        half = samples // 2
        dark = _occlusion(inverse_depth, x * samples + half, y * samples + half, nearest, focal)
        together = nearest < farthest * _ONE_SURFACE
        for sample in range(samples * samples):
            sx, sy = x * samples + sample % samples, y * samples + sample // samples
            if triangle[sy, sx] == 0:
                continue
            at_x, at_y = _F(sx) + _HALF, _F(sy) + _HALF
            _interpolate(triangle[sy, sx] - 1, at_x, at_y, normals, colors, faces, screen, items, count)
            items[7, count], items[8, count], items[9, count] = at_x, at_y, dark
            items[10, count] = _F(found) if together else _ONE
            owner[count] = x - left
            count += 1
            if together:
                break
    return count


@njit(**OPTIONS)
def _interpolate(
    t: int,
    x: float,
    y: float,
    normals: Floats,
    colors: Floats,
    faces: Ints,
    screen: Floats,
    items: Floats,
    item: int,
) -> None:
    """Normal (3), albedo (3) and opacity of triangle ``t`` at a sample, perspective-correct, into a column."""
    a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
    ax, ay = screen[a, 0] - x, screen[a, 1] - y
    bx, by = screen[b, 0] - x, screen[b, 1] - y
    cx, cy = screen[c, 0] - x, screen[c, 1] - y
    wa = (bx * cy - by * cx) * screen[a, 2]
    wb = (cx * ay - cy * ax) * screen[b, 2]
    wc = (ax * by - ay * bx) * screen[c, 2]
    scale = _ONE / (wa + wb + wc)
    wa, wb, wc = wa * scale, wb * scale, wc * scale
    for k in range(3):
        items[k, item] = wa * normals[a, k] + wb * normals[b, k] + wc * normals[c, k]
    for k in range(4):
        items[3 + k, item] = wa * colors[a, k] + wb * colors[b, k] + wc * colors[c, k]


@njit(**OPTIONS)
def _occlusion(inverse_depth: Floats, x: int, y: int, inverse: float, focal: float) -> float:
    """Share of the surroundings that stands before a pixel, 0..1, within about 2 cm."""
    height, width = inverse_depth.shape
    here = _ONE / inverse
    scale = _F(focal) * inverse
    total = _ZERO
    for k in range(_RINGS.shape[0]):
        sx = int(x + scale * _RINGS[k, 0])
        sy = int(y + scale * _RINGS[k, 1])
        if sx < 0 or sy < 0 or sx >= width or sy >= height or inverse_depth[sy, sx] <= inverse:
            continue
        gap = here - _ONE / inverse_depth[sy, sx]
        if gap > _F(0.003):
            total += min(_ONE, (gap - _F(0.003)) * _F(125.0)) * max(_ZERO, _ONE - gap * _F(12.5))
    return float(total * _F(1.0 / 12.0))


@njit(**OPTIONS)
def _light(count: int, focal: float, center_x: float, center_y: float, items: Floats, lit: Floats) -> None:
    """The colour of each collected surface, (3, count), not yet weighted."""
    scale = _ONE / focal
    for i in range(count):
        nx, ny, nz = items[0, i], items[1, i], items[2, i]
        length = _ONE / math.sqrt(nx * nx + ny * ny + nz * nz + _TINY)
        nx, ny, nz = nx * length, ny * length, nz * length
        vx, vy = (center_x - items[7, i]) * scale, (center_y - items[8, i]) * scale
        view = _ONE / math.sqrt(vx * vx + vy * vy + _ONE)
        vx, vy, vz = vx * view, vy * view, -view
        facing = max(_ZERO, nx * vx + ny * vy + nz * vz)
        away = _ONE - facing
        key = max(_ZERO, (_F(0.38) - _F(0.42) * nx - _F(0.72) * ny - _F(0.55) * nz) * _F(1 / 1.38))
        fill = max(_ZERO, (_HALF + _F(0.75) * nx + _F(0.05) * ny - _F(0.66) * nz) * _F(1 / 1.5))
        sky = _HALF - _HALF * ny
        head = _F(0.22) * facing
        open_air = _ONE - _F(0.75) * items[9, i]
        hx, hy, hz = vx - _F(0.42), vy - _F(0.72), vz - _F(0.55)
        half = _ONE / math.sqrt(hx * hx + hy * hy + hz * hz + _TINY)
        glint = max(_ZERO, (nx * hx + ny * hy + nz * hz) * half)
        glint *= glint
        glint *= glint
        glint *= glint  # eighth power: a broad, soft highlight
        glow = _F(0.07) * glint * glint * open_air + _F(0.14) * away * away * away * sky
        edge = _ONE - _F(0.18) * away * away
        red = _F(0.28) + _F(0.15) * sky + _F(0.58) * key + _F(0.12) * fill + head
        green = _F(0.25) + _F(0.17) * sky + _F(0.57) * key + _F(0.13) * fill + head
        blue = _F(0.23) + _F(0.19) * sky + _F(0.56) * key + _F(0.15) * fill + head
        lit[0, i] = min(_ONE, items[3, i] * red * math.sqrt(open_air) * edge + glow)
        lit[1, i] = min(_ONE, items[4, i] * green * open_air * edge + glow)
        lit[2, i] = min(_ONE, items[5, i] * blue * open_air * edge + glow)


@njit(**OPTIONS)
def _add(
    y: int,
    left: int,
    count: int,
    samples: int,
    items: Floats,
    lit: Floats,
    owner: Ints,
    hits: Ints,
    shadow: Floats,
    background: Floats,
    out: np.ndarray,
) -> None:
    """Average the surfaces of each pixel over the background, and write the row."""
    share = _F(255.0) / _F(samples * samples)
    i = 0
    while i < count:
        pixel = owner[i]
        x = left + pixel
        paper = (_ONE - shadow[y // 2, x // 2]) * share
        bare = _F(samples * samples - hits[pixel])
        red, green, blue = _ZERO, _ZERO, _ZERO
        while i < count and owner[i] == pixel:
            solid = items[6, i] * items[10, i]
            bare += items[10, i] - solid
            red, green, blue = red + lit[0, i] * solid, green + lit[1, i] * solid, blue + lit[2, i] * solid
            i += 1
        bare *= paper
        out[y, x, 0] = np.uint8(min(_F(255.0), red * share + background[0] * bare + _HALF))
        out[y, x, 1] = np.uint8(min(_F(255.0), green * share + background[1] * bare + _HALF))
        out[y, x, 2] = np.uint8(min(_F(255.0), blue * share + background[2] * bare + _HALF))
