"""Which solid is seen at which pixel: Pillow draws the faces, numpy keeps the nearest.

Seen through a camera, the inverse depth of a flat face is linear across the picture; along the
parallel rays of the sun, the depth itself is. So a face's depth is three numbers, and comparing
two solids needs no more than a multiplication a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from furnclip.demo.solids import Array, Part


@dataclass(frozen=True)
class View:
    """A camera (perspective) or a sun (parallel rays).

    ``axes`` rows: right, up, forward. ``scale`` is pixels per unit at depth 1 (perspective) or
    per metre (parallel); ``shift`` is the pixel that the axis meets.
    """

    eye: Array
    axes: Array
    scale: float
    shift: tuple[float, float]
    perspective: bool

    def project(self, points: Array) -> tuple[Array, Array]:
        """Return pixels (..., 2) and nearness (...): larger is nearer, linear in pixels."""
        local = (points - self.eye) @ self.axes.T
        depth = local[..., 2]
        ratio = self.scale / depth if self.perspective else np.full_like(depth, self.scale)
        pixels = np.stack(
            [self.shift[0] + local[..., 0] * ratio, self.shift[1] - local[..., 1] * ratio], -1
        )
        near = 1 / depth if self.perspective else -depth
        return pixels.astype(np.float32), near.astype(np.float32)

    def rays(self, x: Array, y: Array) -> Array:
        """Return directions (n, 3) of unit depth through pixels; only for perspective."""
        across = (x - self.shift[0]) / self.scale
        upward = (self.shift[1] - y) / self.scale
        rays = across[:, None] * self.axes[0] + upward[:, None] * self.axes[1] + self.axes[2]
        return np.asarray(rays, np.float32)


@dataclass(frozen=True)
class Seen:
    """``face`` (size, size): 1 + index of the nearest face, 0 for none; ``near``: its nearness.

    ``part_of`` and ``corner_pixels``/``corner_normals`` are indexed by face.
    """

    face: NDArray[np.uint16]
    near: Array
    part_of: NDArray[np.int32]
    pixels: Array
    normals: Array


def look(parts: Sequence[Part], view: View, size: int) -> Seen:
    """Find the nearest face at each of ``size`` by ``size`` pixels."""
    counts = [len(part.quads) for part in parts]
    quads = np.concatenate([part.quads for part in parts])
    pixels, near = view.project(quads)
    planes = linear_fit(pixels, near[..., None])[..., 0]
    facing = _doubled_area(pixels) < 0
    order = near.mean(axis=1)
    face = np.zeros((size, size), np.uint16)
    nearest = np.full((size, size), -np.inf, np.float32)
    first = 0
    for count in counts:
        shown = first + np.flatnonzero(facing[first : first + count])
        first += count
        if len(shown):
            _draw(shown[np.argsort(order[shown])], pixels, planes, face, nearest)
    part_of = np.repeat(np.arange(len(parts), dtype=np.int32), counts)
    return Seen(face, nearest, part_of, pixels, np.concatenate([p.normals for p in parts]))


def linear_fit(pixels: Array, values: Array) -> Array:
    """Fit ``values`` (f, 4, k) as gx·x + gy·y + c over each face's corners: (f, 3, k)."""
    center = pixels.mean(axis=1, keepdims=True)
    mean = values.mean(axis=1, keepdims=True)
    dx, dy = (pixels - center)[..., 0], (pixels - center)[..., 1]
    xx, xy, yy = (dx * dx).sum(1), (dx * dy).sum(1), (dy * dy).sum(1)
    det = np.maximum(xx * yy - xy * xy, 1e-3)[:, None]
    vx = (dx[..., None] * (values - mean)).sum(1)
    vy = (dy[..., None] * (values - mean)).sum(1)
    gx = (vx * yy[:, None] - vy * xy[:, None]) / det
    gy = (vy * xx[:, None] - vx * xy[:, None]) / det
    offset = mean[:, 0] - gx * center[:, 0, :1] - gy * center[:, 0, 1:]
    return np.stack([gx, gy, offset], axis=1).astype(np.float32)


def _doubled_area(pixels: Array) -> Array:
    """Return the signed area of each face, twice; negative faces the viewer (y runs down)."""
    diagonal_a = pixels[:, 2] - pixels[:, 0]
    diagonal_b = pixels[:, 3] - pixels[:, 1]
    return diagonal_a[:, 0] * diagonal_b[:, 1] - diagonal_a[:, 1] * diagonal_b[:, 0]


def _draw(
    shown: NDArray[np.intp], pixels: Array, planes: Array, face: NDArray[np.uint16], nearest: Array
) -> None:
    """Draw one solid's faces, far to near, into the buffers where it is nearer."""
    size = len(face)
    corners = pixels[shown]
    low = np.clip(np.floor(corners.min(axis=(0, 1))).astype(int), 0, size)
    high = np.clip(np.ceil(corners.max(axis=(0, 1))).astype(int) + 1, 0, size)
    width, height = high - low
    if width <= 0 or height <= 0:
        return
    canvas = Image.new("I;16", (int(width), int(height)))
    pen = ImageDraw.Draw(canvas)
    for index, outline in zip(shown.tolist(), (corners - low).reshape(-1, 8).tolist(), strict=True):
        pen.polygon(outline, fill=index + 1)
    drawn = np.asarray(canvas).astype(np.int32)
    plane = planes[drawn - 1]
    x = np.arange(low[0], high[0], dtype=np.float32) + np.float32(0.5)
    y = np.arange(low[1], high[1], dtype=np.float32)[:, None] + np.float32(0.5)
    depth = plane[..., 0] * x + plane[..., 1] * y + plane[..., 2]
    window = np.s_[low[1] : high[1], low[0] : high[0]]
    wins = (drawn > 0) & (depth > nearest[window])
    np.copyto(nearest[window], depth, where=wins)
    np.copyto(face[window], drawn.astype(np.uint16), where=wins)
