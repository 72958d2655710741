"""What stands behind a product: a seamless studio backdrop, or a room."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from furnclip.demo import textures
from furnclip.demo.light import dot
from furnclip.demo.scene import Scene, Setting
from furnclip.demo.solids import Array


def backdrop(scene: Scene, full: int) -> Array:
    """Paint wall and floor at half the resolution (both are smooth) and enlarge them."""
    setting, half = scene.setting, full // 2
    y, x = np.mgrid[0:half, 0:half].astype(np.float32) * 2 + 1
    rays = scene.view.rays(x.ravel(), y.ravel())
    points, on_floor = _behind(scene, rays)
    wall = np.asarray(setting.backdrop, np.float32)
    if setting.floor == "studio":
        color = wall * (1.04 - 0.12 * np.abs((y.ravel() / full)[:, None] - 0.5))
    else:
        color = _room(points, on_floor, wall, scene)
    dark = np.zeros(len(points), np.float32)
    if scene.shade is not None:
        dark[on_floor] = 1 - scene.shade.on_floor(points[on_floor])
    touch = _contact(points, scene.corners, scene.extent) * on_floor
    strength = min(0.62, 0.30 + 0.4 * setting.sunlight)
    color = color * (1 - strength * dark)[:, None] * (1 - 0.5 * touch)[:, None]
    picture = np.clip(color.reshape(half, half, 3), 0, 1.2).astype(np.float32)
    return np.repeat(np.repeat(picture, 2, axis=0), 2, axis=1)


def _behind(scene: Scene, rays: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Return where rays meet the floor or the wall behind the product, and which of the two."""
    eye = scene.view.eye
    wall_z = float(scene.corners[:, 2].min()) - 0.22 * scene.extent
    with np.errstate(divide="ignore"):
        to_floor = np.where(rays[:, 1] < -1e-4, -eye[1] / rays[:, 1], np.inf)
        to_wall = np.where(rays[:, 2] < -1e-4, (wall_z - eye[2]) / rays[:, 2], np.inf)
    seamless = scene.setting.floor == "studio"
    on_floor = np.isfinite(to_floor) if seamless else to_floor < to_wall
    distance = np.minimum(np.where(on_floor, to_floor, to_wall), 60.0)
    return eye + rays * distance[:, None].astype(np.float32), on_floor


def _room(points: Array, on_floor: NDArray[np.bool_], wall: Array, scene: Scene) -> Array:
    """Paint a floor, a wall that darkens upwards, and a skirting board between them."""
    extent = scene.extent
    fade = 1.0 - 0.16 * np.clip(points[:, 1:2] / extent, 0, 2.2) / 2.2
    color = np.where(on_floor[:, None], _floor(points, scene.setting, extent), wall * fade)
    color[~on_floor & (points[:, 1] < 0.075 * extent)] = np.clip(wall * 0.4 + 0.55, 0, 0.92)
    edge = np.abs(points[:, 1] - 0.075 * extent) < 0.006 * extent
    color[~on_floor & edge] *= 0.72
    return color


def _floor(points: Array, setting: Setting, extent: float) -> Array:
    color = np.asarray(setting.floor_color, np.float32)
    x, z = points[:, 0] / extent, points[:, 2] / extent
    if setting.floor in ("oak", "walnut", "pine"):
        lane = np.floor(z / 0.085)
        shade = 0.9 + 0.2 * ((lane * 0.618) % 1)
        grain = textures.sample("oak", x / 0.5 + lane * 0.37, z / 0.34)
        seam = np.abs(z / 0.085 - lane - 0.5) > 0.475
        tone = shade * (1 + 0.14 * grain) * np.where(seam, 0.72, 1.0)
        return np.asarray(color * tone[:, None])
    surface = textures.SURFACES[setting.floor]
    grain = textures.sample(surface.tile, x / 0.3, z / 0.3)
    return color * (1 + 0.12 * grain)[:, None]


def _contact(points: Array, corners: Array, extent: float) -> Array:
    """Darken the floor under what stands on it or hangs low over it."""
    low = corners[corners[:, 1] < 0.12 * extent]
    if not len(low):
        return np.zeros(len(points), np.float32)
    least, most = low[:, (0, 2)].min(0), low[:, (0, 2)].max(0)
    at = points[:, (0, 2)]
    gap = np.maximum(np.maximum(least - at, at - most), 0)
    return np.exp(-np.sqrt(dot(gap, gap)) / (0.05 * extent)).astype(np.float32)
