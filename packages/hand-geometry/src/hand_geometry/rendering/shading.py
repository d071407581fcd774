"""The rasteriser's light: what the samples of a pixel show, shaded and averaged; compiled by numba on first use.

Design:
    * A warm key from above left, a cool sky, a fill from the right and a little light from the eye, wrapped so that
      nothing is black; red falls off last, as in skin. Ambient occlusion compares depths around a pixel: it is what
      separates the fingers.
    * Samples of one pixel that lie on one surface are shaded once, where the first of them is.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from hand_geometry.rendering.raster import OPTIONS, Floats, Ints

_ONE_SURFACE = 1.02  # ratio of depths within a pixel

# Where occlusion is looked for, metres on the screen plane: two rings of six.
_RINGS = np.array(
    [
        (radius * math.cos((k + shift) * math.pi / 3), radius * math.sin((k + shift) * math.pi / 3))
        for radius, shift in ((0.006, 0.0), (0.016, 0.5))
        for k in range(6)
    ],
    np.float32,
)


@njit(**OPTIONS)
def resolve(
    normals: Floats,
    colors: Floats,
    faces: Ints,
    screen: Floats,
    inverse_depth: Floats,
    triangle: Ints,
    lens: tuple[float, float, float],
    samples: int,
    shadow: Floats,
    background: Floats,
    out: np.ndarray,
) -> None:
    """Draw ``out`` (H, W, 3) uint8 from buffers of ``samples`` x ``samples`` per pixel.

    ``colors`` (V, 4) is albedo and opacity over the background, ``lens`` the focal length and centre in samples,
    ``shadow`` (H / 2, W / 2) how much darker the background is.
    """
    height, width = out.shape[0], out.shape[1]
    count = samples * samples
    total = np.empty(3, np.float32)
    surface = np.empty(7, np.float32)
    for y in range(height):
        for x in range(width):
            dim = np.float32(1.0) - shadow[y // 2, x // 2]
            x0, y0 = x * samples, y * samples
            hits, nearest, farthest = 0, np.float32(0.0), np.float32(1e9)
            for sy in range(y0, y0 + samples):
                for sx in range(x0, x0 + samples):
                    if triangle[sy, sx] > 0:
                        hits += 1
                        nearest = max(nearest, inverse_depth[sy, sx])
                        farthest = min(farthest, inverse_depth[sy, sx])
            for k in range(3):
                total[k] = background[k] * dim * (count - hits)
            if hits > 0:
                dark = _occlusion(inverse_depth, x0 + samples // 2, y0 + samples // 2, nearest, lens[0])
                together = nearest < farthest * _ONE_SURFACE
                for sample in range(count):
                    sx, sy = x0 + sample % samples, y0 + sample // samples
                    if triangle[sy, sx] == 0:
                        continue
                    _interpolate(triangle[sy, sx] - 1, sx + 0.5, sy + 0.5, normals, colors, faces, screen, surface)
                    weight = hits if together else 1
                    _add_shaded(surface, weight, sx + 0.5, sy + 0.5, lens, dark, background, dim, total)
                    if together:
                        break
            for k in range(3):
                out[y, x, k] = np.uint8(min(1.0, total[k] / count) * 255.0 + 0.5)


@njit(**OPTIONS)
def _interpolate(
    t: int, x: float, y: float, normals: Floats, colors: Floats, faces: Ints, screen: Floats, out: Floats
) -> None:
    """Normal (3), albedo (3) and opacity of triangle ``t`` at a sample, perspective-correct."""
    a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
    ax, ay = screen[a, 0] - x, screen[a, 1] - y
    bx, by = screen[b, 0] - x, screen[b, 1] - y
    cx, cy = screen[c, 0] - x, screen[c, 1] - y
    wa = (bx * cy - by * cx) * screen[a, 2]
    wb = (cx * ay - cy * ax) * screen[b, 2]
    wc = (ax * by - ay * bx) * screen[c, 2]
    scale = 1.0 / (wa + wb + wc)
    wa, wb, wc = wa * scale, wb * scale, wc * scale
    for k in range(3):
        out[k] = wa * normals[a, k] + wb * normals[b, k] + wc * normals[c, k]
    for k in range(4):
        out[3 + k] = wa * colors[a, k] + wb * colors[b, k] + wc * colors[c, k]


@njit(**OPTIONS)
def _occlusion(inverse_depth: Floats, x: int, y: int, inverse: float, focal: float) -> float:
    """Share of the surroundings that stands before a pixel, 0..1, within about 2 cm."""
    height, width = inverse_depth.shape
    here = 1.0 / inverse
    scale = focal * inverse
    total = 0.0
    for k in range(_RINGS.shape[0]):
        sx = int(x + scale * _RINGS[k, 0])
        sy = int(y + scale * _RINGS[k, 1])
        if sx < 0 or sy < 0 or sx >= width or sy >= height or inverse_depth[sy, sx] <= inverse:
            continue
        gap = here - 1.0 / inverse_depth[sy, sx]
        if gap > 0.003:
            total += min(1.0, (gap - 0.003) / 0.008) * max(0.0, 1.0 - gap / 0.08)
    return total / _RINGS.shape[0]


@njit(**OPTIONS)
def _add_shaded(
    surface: Floats,
    weight: int,
    x: float,
    y: float,
    lens: tuple[float, float, float],
    dark: float,
    background: Floats,
    dim: float,
    total: Floats,
) -> None:
    """Add ``weight`` times the colour of a surface sample to ``total`` (3,)."""
    length = 1.0 / math.sqrt(surface[0] ** 2 + surface[1] ** 2 + surface[2] ** 2 + 1e-12)
    nx, ny, nz = surface[0] * length, surface[1] * length, surface[2] * length
    vx, vy = -(x - lens[1]) / lens[0], -(y - lens[2]) / lens[0]
    view = 1.0 / math.sqrt(vx * vx + vy * vy + 1.0)
    vx, vy, vz = vx * view, vy * view, -view
    facing = max(0.0, nx * vx + ny * vy + nz * vz)
    key = max(0.0, (nx * -0.42 + ny * -0.72 + nz * -0.55 + 0.38) / 1.38)
    fill = max(0.0, (nx * 0.75 + ny * 0.05 + nz * -0.66 + 0.5) / 1.5)
    sky = 0.5 - 0.5 * ny
    head = 0.22 * facing
    open_air = 1.0 - 0.75 * dark
    hx, hy, hz = vx - 0.42, vy - 0.72, vz - 0.55
    half = 1.0 / math.sqrt(hx * hx + hy * hy + hz * hz + 1e-12)
    glint = max(0.0, (nx * hx + ny * hy + nz * hz) * half) ** 2
    glint *= glint
    glint *= glint  # eighth power: a broad, soft highlight
    glow = (0.07 * glint * glint * open_air + 0.14 * (1.0 - facing) ** 3 * sky) * weight
    edge = (1.0 - 0.18 * (1.0 - facing) ** 2) * weight
    red = surface[3] * (0.28 + 0.15 * sky + 0.58 * key + 0.12 * fill + head) * math.sqrt(open_air) * edge + glow
    green = surface[4] * (0.25 + 0.17 * sky + 0.57 * key + 0.13 * fill + head) * open_air * edge + glow
    blue = surface[5] * (0.23 + 0.19 * sky + 0.56 * key + 0.15 * fill + head) * open_air * edge + glow
    alpha = surface[6]
    rest = (1.0 - alpha) * dim * weight
    total[0] += min(red, np.float32(weight)) * alpha + background[0] * rest
    total[1] += min(green, np.float32(weight)) * alpha + background[1] * rest
    total[2] += min(blue, np.float32(weight)) * alpha + background[2] * rest
