"""The lamp, the sky and their shadows.

Shadows come from a second look at the scene from the sun (Williams 1978, shadow maps).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from furnclip.demo.raster import Seen, View
from furnclip.demo.solids import Array

SUN_SIZE = 224


@dataclass(frozen=True)
class Light:
    """Light of one photo: where the sun is, its colour, the sky's, and the floor's reflection."""

    direction: Array
    color: Array
    ambient: Array
    bounce: Array


def light_of(
    sun: tuple[float, float], *, sunlight: float, warmth: float, floor: Sequence[float]
) -> Light:
    """Turn angles (degrees), strength and warmth of the sun into light over a floor."""
    azimuth, height = np.radians(sun)
    direction = np.array(
        (np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)),
        np.float32,
    )
    tint = np.array((1 + warmth, 1.0, 1 - warmth), np.float32)
    ambient = (0.88 - 0.42 * sunlight) * (2 - tint)
    return Light(direction, sunlight * tint, ambient, 0.55 * np.asarray(floor, np.float32) + 0.12)


def sun_of(corners: Array, direction: Array) -> View:
    """Return the sun's view of all ``corners`` (n, 3)."""
    right = np.cross((0, 1, 0), direction).astype(np.float32)
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(direction, right), -direction]).astype(np.float32)
    flat = (corners - corners.mean(0)) @ axes.T
    low, high = flat.min(0), flat.max(0)
    scale = SUN_SIZE * 0.9 / float((high - low)[:2].max())
    middle = (low + high) / 2 * scale
    shift = (SUN_SIZE / 2 - float(middle[0]), SUN_SIZE / 2 + float(middle[1]))
    return View(corners.mean(0), axes, scale, shift, perspective=False)


class Shadow:
    """Which points the sun reaches: 1 in the light, 0 in the shade, soft in between."""

    def __init__(self, seen: Seen, sun: View) -> None:
        self._sun = sun
        self._near = seen.near
        mask = Image.fromarray(((seen.face > 0) * 255).astype(np.uint8))
        self._soft = np.asarray(mask.filter(ImageFilter.GaussianBlur(5)), np.float32) / 255

    def on_solids(self, points: Array) -> Array:
        """Compare with the depth that the sun sees, at four spots around each point."""
        pixels, near = self._sun.project(points)
        lit = np.zeros(len(points), np.float32)
        bias = 2.2 / self._sun.scale
        for dx, dy in ((-0.9, -0.4), (0.4, -0.9), (0.9, 0.4), (-0.4, 0.9)):
            column = np.clip(pixels[:, 0] + dx, 0, SUN_SIZE - 1).astype(np.int32)
            row = np.clip(pixels[:, 1] + dy, 0, SUN_SIZE - 1).astype(np.int32)
            lit += self._near[row, column] <= near + bias
        return lit / 4

    def on_floor(self, points: Array) -> Array:
        """Blur the outline: the floor lies at some distance from what shades it."""
        pixels, _ = self._sun.project(points)
        column = pixels[:, 0].astype(np.int32)
        row = pixels[:, 1].astype(np.int32)
        inside = (column >= 0) & (column < SUN_SIZE) & (row >= 0) & (row < SUN_SIZE)
        shade = self._soft[row.clip(0, SUN_SIZE - 1), column.clip(0, SUN_SIZE - 1)]
        return np.asarray(1 - shade * inside)


def dot(a: Array, b: Array) -> Array:
    """Multiply two lists of vectors (n, 3) pairwise: (n,)."""
    product: Array = np.einsum("ij,ij->i", a, b)
    return product


def unit(vectors: Array) -> Array:
    """Scale vectors (n, 3) to length 1."""
    unit: Array = vectors / np.sqrt(np.maximum(dot(vectors, vectors), 1e-12))[:, None]
    return unit
