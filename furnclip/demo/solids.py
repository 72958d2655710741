"""Furniture as solids: boxes, cushions, rods, turned and round shapes, each a mesh of quads.

Metres; x to the right, y up, z towards the viewer, the floor at y = 0. Every solid carries its
own frame (origin and axes), in which textures run and edges are rounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Point = tuple[float, float, float]


@dataclass(frozen=True)
class Part:
    """One solid: ``quads`` (f, 4, 3) and ``normals`` (f, 4, 3) in the world, outwards.

    ``axes`` (3, 3) holds the local x, y, z directions as rows. A ``bevel`` above 0 rounds the
    shading near the edges of a box of half extents ``half``. ``slot`` names the finish.
    """

    quads: Array
    normals: Array
    origin: Array
    axes: Array
    half: Array
    bevel: float
    slot: str


def box(
    center: Point,
    size: Point,
    slot: str,
    *,
    turn: Point = (0.0, 0.0, 0.0),
    bevel: float = 0.008,
) -> Part:
    """Return a cuboid of full extents ``size``, turned by degrees about x, then y, then z."""
    half = np.asarray(size, np.float32) / 2
    corners = _CUBE * half
    normals = np.repeat(_CUBE_NORMALS[:, None, :], 4, axis=1)
    return _placed(
        corners, normals, center, axes=_rotation(turn), half=half, bevel=bevel, slot=slot
    )


def cushion(
    center: Point,
    size: Point,
    slot: str,
    *,
    radius: float = 0.06,
    puff: float = 0.0,
    turn: Point = (0.0, 0.0, 0.0),
) -> Part:
    """Return a box with round edges of ``radius`` whose faces swell by ``puff`` (a fraction)."""
    half = np.asarray(size, np.float32) / 2
    radius = min(radius, float(half.min()) * 0.98)
    grid = _cube_grid(5)
    inner = np.clip(grid * half, -(half - radius), half - radius)
    outward = grid * half - inner + grid * 1e-4
    outward /= np.linalg.norm(outward, axis=-1, keepdims=True)
    points = inner + radius * outward
    if puff:
        square = 1 - np.clip(np.abs(points / half), 0, 1) ** 2
        swell = np.stack(
            [square[..., 1] * square[..., 2], square[..., 0] * square[..., 2],
             square[..., 0] * square[..., 1]], axis=-1
        )  # fmt: skip
        points = points * (1 + puff * swell)
        outward = outward + puff * 1.2 * points / half * (1 - swell)
        outward /= np.linalg.norm(outward, axis=-1, keepdims=True)
    return _placed(points, outward, center, axes=_rotation(turn), half=half, slot=slot)


def rod(
    start: Point,
    end: Point,
    radius: float | tuple[float, float],
    slot: str,
    *,
    sides: int = 12,
) -> Part:
    """Return a round (or ``sides``-cornered) bar from ``start`` to ``end``, tapered if asked."""
    first, last = (radius, radius) if isinstance(radius, (int, float)) else radius
    length = float(np.linalg.norm(np.subtract(end, start)))
    return lathe(start, [(0.0, first), (length, last)], slot, towards=end, sides=sides)


def lathe(
    start: Point,
    profile: Sequence[tuple[float, float]],
    slot: str,
    *,
    towards: Point | None = None,
    sides: int = 16,
    smooth: bool = False,
) -> Part:
    """Return a solid of revolution: ``profile`` gives (distance from ``start``, radius) pairs.

    ``smooth`` turns it on a lathe: the profile's corners become curves.
    """
    base = np.asarray(start, np.float32)
    up = np.array((0, 1, 0), np.float32)
    if towards is not None:
        up = np.asarray(towards, np.float32) - base
        up /= np.linalg.norm(up)
    axes = _frame(up)
    along, radii = _smoothed(profile) if smooth else np.array(profile, np.float32).T
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False, dtype=np.float32) + np.pi / sides
    ring = np.stack([np.cos(angle), np.zeros_like(angle), np.sin(angle)], axis=-1)
    points = ring[None] * radii[:, None, None]
    points[..., 1] = along[:, None]
    nxt = np.roll(np.arange(sides), -1)
    slopes = -np.diff(radii) / np.maximum(np.diff(along), 1e-4)
    quads, normals = [], []
    for i, slope in enumerate(slopes):
        low, high = slope, slope
        if smooth:
            low, high = slopes[max(i - 1, 0) : i + 1].mean(), slopes[i : i + 2].mean()
        quads.append(np.stack([points[i], points[i, nxt], points[i + 1, nxt], points[i + 1]], 1))
        below, above = (ring + np.array((0, tilt, 0), np.float32) for tilt in (low, high))
        if sides <= 6:
            flat = below + below[nxt]
            normals.append(np.repeat(flat[:, None], 4, axis=1))
        else:
            normals.append(np.stack([below, below[nxt], above[nxt], above], axis=1))
    normals = [n / np.linalg.norm(n, axis=-1, keepdims=True) for n in normals]
    for index, sign in ((0, -1.0), (len(profile) - 1, 1.0)):
        if radii[index] > 1e-4:
            fan = [(0, k, k + 1, k + 2) for k in range(1, sides - 2, 2)]
            quads.append(points[index][np.array(fan)])
            lid = np.array((0, sign, 0), np.float32)
            normals.append(np.broadcast_to(lid, (len(fan), 4, 3)))
    half = np.array((radii.max(), along.max() / 2, radii.max()), np.float32)
    return _placed(
        np.concatenate(quads), np.concatenate(normals), start, axes=axes, half=half, slot=slot
    )


def ball(center: Point, radii: Point, slot: str) -> Part:
    """Return an ellipsoid."""
    grid = _cube_grid(5)
    unit = grid / np.linalg.norm(grid, axis=-1, keepdims=True)
    half = np.asarray(radii, np.float32)
    normals = unit / half
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    return _placed(
        unit * half, normals, center, axes=np.eye(3, dtype=np.float32), half=half, slot=slot
    )


def _smoothed(profile: Sequence[tuple[float, float]]) -> tuple[Array, Array]:
    """Round a profile's corners by cutting them once (Chaikin 1974), its ends kept."""
    points = np.array(profile, np.float32)
    first, last = points[:-1], points[1:]
    cut = np.stack([0.75 * first + 0.25 * last, 0.25 * first + 0.75 * last], 1).reshape(-1, 2)
    along, radii = np.concatenate([points[:1], cut[1:-1], points[-1:]]).T
    return along, radii


def _placed(
    points: Array,
    normals: Array,
    origin: Point,
    *,
    axes: Array,
    half: Array,
    slot: str,
    bevel: float = 0.0,
) -> Part:
    """Turn faces outwards and everything into the world."""
    start = np.asarray(origin, np.float32)
    around = np.cross(points[:, 2] - points[:, 0], points[:, 3] - points[:, 1])
    inside_out = (around * normals.sum(axis=1)).sum(axis=1) < 0
    points = np.where(inside_out[:, None, None], points[:, ::-1], points)
    normals = np.where(inside_out[:, None, None], normals[:, ::-1], normals)
    placed = (points @ axes + start).astype(np.float32)
    turned = (normals @ axes).astype(np.float32)
    return Part(placed, turned, start, axes, half, bevel, slot)


def _rotation(turn: Point) -> Array:
    """Return the axes (as rows) after turning by degrees about x, y, z in that order."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    about_x = np.array([[1, 0, 0], [0, cx, sx], [0, -sx, cx]])
    about_y = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    about_z = np.array([[cz, sz, 0], [-sz, cz, 0], [0, 0, 1]])
    return np.asarray(about_x @ about_y @ about_z, np.float32)


def _frame(up: Array) -> Array:
    """Return orthonormal axes (rows) whose y is ``up``."""
    helper = np.array((0, 0, 1) if abs(up[2]) < 0.9 else (1, 0, 0), np.float32)
    side = np.cross(up, helper)
    side /= np.linalg.norm(side)
    return np.asarray([side, up, np.cross(side, up)], np.float32)


def _cube_faces(steps: Array) -> Array:
    """Return the quads (f, 4, 3) of the cube [-1, 1]³, each face cut at ``steps``."""
    u, v = np.meshgrid(np.arange(len(steps) - 1), np.arange(len(steps) - 1), indexing="ij")
    corner = [(0, 0), (1, 0), (1, 1), (0, 1)]
    a = np.stack([steps[u + i] for i, _ in corner], -1).reshape(-1, 4)
    b = np.stack([steps[v + j] for _, j in corner], -1).reshape(-1, 4)
    one = np.ones_like(a)
    faces = [(a, b, one), (-a, b, -one), (one, a, b), (-one, a, b), (a, one, -b), (a, -one, b)]
    quads = np.concatenate([np.stack(face, -1) for face in faces])
    return quads.astype(np.float32)


@cache
def _cube_grid(cuts: int) -> Array:
    """Return a cube surface cut finer towards the edges, where the roundness is."""
    steps = np.sin(np.linspace(-1, 1, cuts + 1) * np.pi / 2)
    return _cube_faces(steps.astype(np.float32))


_CUBE = _cube_faces(np.array((-1, 1), np.float32))
_CUBE_NORMALS = np.array(
    [(0, 0, 1), (0, 0, -1), (1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0)], np.float32
)
