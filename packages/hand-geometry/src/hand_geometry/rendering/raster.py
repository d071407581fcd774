"""The rasteriser's geometry: camera, normals, z-buffer, shadows; compiled by numba on first use.

One pass fills inverse depth (linear on the screen) and a triangle number per sample. Triangles that face away are
dropped: hands are drawn from outside.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

OPTIONS = {"cache": True, "fastmath": True, "nogil": True, "error_model": "numpy"}


@njit(**OPTIONS)
def to_camera(points: Floats, rotation: Floats, position: Floats) -> Floats:
    """World points (V, 3) to camera axes (x right, y down, z forward)."""
    out = np.empty_like(points)
    for i in range(points.shape[0]):
        dx = points[i, 0] - position[0]
        dy = points[i, 1] - position[1]
        dz = points[i, 2] - position[2]
        for k in range(3):
            out[i, k] = rotation[k, 0] * dx + rotation[k, 1] * dy + rotation[k, 2] * dz
    return out


@njit(**OPTIONS)
def vertex_normals(points: Floats, faces: Ints) -> Floats:
    """Area-weighted unit normals, (V, 3)."""
    out = np.zeros_like(points)
    for t in range(faces.shape[0]):
        a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
        ux, uy, uz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
        vx, vy, vz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for k in (a, b, c):
            out[k, 0] += nx
            out[k, 1] += ny
            out[k, 2] += nz
    for i in range(out.shape[0]):
        scale = np.float32(1.0 / math.sqrt(out[i, 0] ** 2 + out[i, 1] ** 2 + out[i, 2] ** 2 + 1e-20))
        for k in range(3):
            out[i, k] *= scale
    return out


@njit(**OPTIONS)
def to_screen(points: Floats, focal: float, center_x: float, center_y: float, near: float) -> Floats:
    """Samples and inverse depth, (V, 3), of points in camera axes; inverse depth -1 marks what is too near."""
    out = np.empty_like(points)
    for i in range(points.shape[0]):
        inverse = 1.0 / max(points[i, 2], 1e-6)
        out[i, 0] = points[i, 0] * inverse * focal + center_x
        out[i, 1] = points[i, 1] * inverse * focal + center_y
        out[i, 2] = inverse if points[i, 2] > near else -1.0
    return out


@njit(**OPTIONS)
def rasterise(screen: Floats, faces: Ints, inverse_depth: Floats, triangle: Ints, box: Ints) -> None:
    """Fill the buffers (H, W): the largest 1/z and the number of its triangle + 1; zero where there is none.

    ``box`` (left, top, right, bottom), ends excluded, is what the last picture filled, and then what this one did: all
    else is known to be zero.
    """
    height, width = inverse_depth.shape
    for y in range(box[1], box[3]):
        inverse_depth[y, box[0] : box[2]] = 0
        triangle[y, box[0] : box[2]] = 0
    box[0], box[1], box[2], box[3] = width, height, 0, 0
    for t in range(faces.shape[0]):
        a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
        za, zb, zc = screen[a, 2], screen[b, 2], screen[c, 2]
        if za < 0 or zb < 0 or zc < 0:
            continue
        ax, ay, bx, by = screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1]
        cx, cy = screen[c, 0], screen[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area > -1e-9:  # y points down: what is counter-clockwise from outside has a negative area when seen
            continue
        x0 = max(0, math.floor(min(ax, bx, cx) - 0.5))
        x1 = min(width - 1, math.ceil(max(ax, bx, cx) - 0.5))
        y0 = max(0, math.floor(min(ay, by, cy) - 0.5))
        y1 = min(height - 1, math.ceil(max(ay, by, cy) - 0.5))
        if x0 > x1 or y0 > y1:
            continue
        box[0], box[1] = min(box[0], x0), min(box[1], y0)
        box[2], box[3] = max(box[2], x1 + 1), max(box[3], y1 + 1)
        scale = np.float32(1.0) / area
        step_a, step_b = (by - cy) * scale, (cy - ay) * scale
        px = np.float32(x0 + 0.5)
        for y in range(y0, y1 + 1):
            py = np.float32(y + 0.5)
            wa = ((bx - px) * (cy - py) - (by - py) * (cx - px)) * scale
            wb = ((cx - px) * (ay - py) - (cy - py) * (ax - px)) * scale
            for x in range(x0, x1 + 1):
                wc = np.float32(1.0) - wa - wb
                if wa >= 0 and wb >= 0 and wc >= 0:
                    inverse = wa * za + wb * zb + wc * zc
                    if inverse > inverse_depth[y, x]:
                        inverse_depth[y, x] = inverse
                        triangle[y, x] = t + 1
                wa += step_a
                wb += step_b


@njit(**OPTIONS)
def splat(screen: Floats, faces: Ints, weights: Floats, out: Floats) -> None:
    """Draw flat triangles into ``out`` (H, W), keeping the largest weight.

    Of what was dropped onto a floor that is seen from above, the undersides are drawn: they are nearest to it.
    """
    height, width = out.shape
    low, high = np.float32(-0.05), np.float32(1.05)
    for t in range(faces.shape[0]):
        a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
        if screen[a, 2] < 0 or screen[b, 2] < 0 or screen[c, 2] < 0:
            continue
        weight = (weights[a] + weights[b] + weights[c]) / np.float32(3.0)
        ax, ay, bx, by = screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1]
        cx, cy = screen[c, 0], screen[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area < np.float32(1e-9) or weight < np.float32(1e-3):
            continue
        x0, x1 = max(0, math.floor(min(ax, bx, cx))), min(width - 1, math.ceil(max(ax, bx, cx)))
        scale = np.float32(1.0) / area
        step_a, step_b = (by - cy) * scale, (cy - ay) * scale
        px = np.float32(x0 + 0.5)
        for y in range(max(0, math.floor(min(ay, by, cy))), min(height - 1, math.ceil(max(ay, by, cy))) + 1):
            py = np.float32(y + 0.5)
            wa = ((bx - px) * (cy - py) - (by - py) * (cx - px)) * scale
            wb = ((cx - px) * (ay - py) - (cy - py) * (ax - px)) * scale
            for x in range(x0, x1 + 1):
                if wa >= low and wb >= low and wa + wb <= high and weight > out[y, x]:
                    out[y, x] = weight
                wa += step_a
                wb += step_b


@njit(**OPTIONS)
def blur(image: Floats, radius: int) -> Floats:
    """Three box blurs (nearly a Gaussian) of an image (H, W), which goes on beyond its edges as it is at them."""
    source, target = image.copy(), np.empty_like(image)
    height, width = image.shape
    scale = np.float32(1.0 / (2 * radius + 1))
    for _ in range(3):
        for y in range(height):
            total = source[y, 0] * np.float32(radius + 1)
            for x in range(1, radius + 1):
                total += source[y, min(x, width - 1)]
            for x in range(width):
                target[y, x] = total * scale
                total += source[y, min(x + radius + 1, width - 1)] - source[y, max(x - radius, 0)]
        sums = target[0] * np.float32(radius + 1)
        for y in range(1, radius + 1):
            sums += target[min(y, height - 1)]
        for y in range(height):
            source[y] = sums * scale
            sums += target[min(y + radius + 1, height - 1)] - target[max(y - radius, 0)]
    return source
