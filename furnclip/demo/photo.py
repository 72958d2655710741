"""A product photo: solids in finishes, under a lamp and a window, before a backdrop.

Rendered at twice the size and halved (supersampling); colours are linear until the last step.
Creases are darkened by unsharp masking the depth (Luft et al. 2006).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from furnclip.demo.backdrop import backdrop
from furnclip.demo.light import SUN_SIZE, Shadow, dot, light_of, sun_of, unit
from furnclip.demo.raster import Seen, View, linear_fit, look
from furnclip.demo.scene import Finish, Scene, Setting, Spots
from furnclip.demo.shading import shade, surroundings
from furnclip.demo.solids import Array, Part


def take_photo(
    parts: Sequence[Part], finishes: Mapping[str, Finish], setting: Setting, size: int
) -> Image.Image:
    """Photograph ``parts`` (each slot's finish in ``finishes``) as a square RGB image."""
    full = 2 * size
    solid = [part for part in parts if finishes[part.slot].surface != "glass"]
    clear = [part for part in parts if finishes[part.slot].surface == "glass"]
    scene = _arrange(parts, solid, setting, full)
    canvas = backdrop(scene, full)
    nearest = np.full((full, full), -np.inf, np.float32)
    if solid:
        seen = look(solid, scene.view, full)
        nearest = seen.near
        _paint(canvas, seen, solid, finishes, scene)
    if clear:
        seen = look(clear, scene.view, full)
        tints = np.array([finishes[part.slot].color for part in clear], np.float32)
        _glaze(canvas, seen, seen.near > nearest, tints, scene)
    return _develop(canvas, setting)


def _arrange(parts: Sequence[Part], solid: Sequence[Part], setting: Setting, full: int) -> Scene:
    corners = np.concatenate([part.quads.reshape(-1, 3) for part in parts])
    light = light_of(
        setting.sun,
        sunlight=setting.sunlight,
        warmth=setting.warmth,
        floor=setting.floor_color,
    )
    sun = sun_of(corners, light.direction)
    return Scene(
        setting=setting,
        corners=corners,
        extent=float(np.ptp(corners, axis=0).max()),
        view=_camera(corners, setting, full),
        light=light,
        shade=Shadow(look(solid, sun, SUN_SIZE), sun) if solid else None,
    )


def _camera(corners: Array, setting: Setting, full: int) -> View:
    yaw, pitch = np.radians(setting.yaw), np.radians(setting.pitch)
    forward = -np.array(
        (np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)), np.float32
    )
    right = np.array((np.cos(yaw), 0, -np.sin(yaw)), np.float32)
    axes = np.stack([right, np.cross(right, forward), forward]).astype(np.float32)
    middle = (corners.min(0) + corners.max(0)) / 2
    distance = 3.0 * float(np.linalg.norm(np.ptp(corners, axis=0)))
    eye = (middle - forward * distance).astype(np.float32)
    unit, _ = View(eye, axes, 1.0, (0.0, 0.0), perspective=True).project(corners)
    low, high = unit.min(0), unit.max(0)
    scale = full * setting.fill / float((high - low).max())
    shift = full * (0.5 + np.asarray(setting.offset)) - (low + high) / 2 * scale
    return View(eye, axes, scale, (float(shift[0]), float(shift[1])), perspective=True)


def _paint(
    canvas: Array,
    seen: Seen,
    parts: Sequence[Part],
    finishes: Mapping[str, Finish],
    scene: Scene,
) -> None:
    """Shade every visible pixel, one solid after another."""
    flat = seen.face.ravel()
    at = np.flatnonzero(flat)
    at = at[np.argsort(flat[at], kind="stable")]
    face = flat[at].astype(np.int32) - 1
    size = len(canvas)
    x, y = (at % size).astype(np.float32) + 0.5, (at // size).astype(np.float32) + 0.5
    rays = scene.view.rays(x, y)
    points = scene.view.eye + rays / seen.near.ravel()[at][:, None]
    fit = linear_fit(seen.pixels, seen.normals)[face]
    normals = fit[:, 0] * x[:, None] + fit[:, 1] * y[:, None] + fit[:, 2]
    towards = -unit(rays)
    lit = np.ones(len(at)) if scene.shade is None else scene.shade.on_solids(points)
    open_sky = _openness(seen, size).ravel()[at]
    target = canvas.reshape(-1, 3)
    bounds = np.searchsorted(seen.part_of[face], np.arange(len(parts) + 1))
    for part, start, end in zip(parts, bounds[:-1], bounds[1:], strict=True):
        if start < end:
            spots = Spots(*(a[start:end] for a in (points, normals, towards, lit, open_sky)))
            target[at[start:end]] = shade(part, finishes[part.slot], spots, scene)


def _openness(seen: Seen, size: int) -> Array:
    """Return 1 where nothing nearby stands in front, less in creases and under overhangs."""
    there = seen.face > 0
    near = seen.near[there]
    low, high = float(near.min()), float(near.max())
    scaled = np.where(there, (seen.near - low) / max(high - low, 1e-6), 0.0)
    small = Image.fromarray((scaled * 255).astype(np.uint8)).reduce(4)
    blurred = small.filter(ImageFilter.GaussianBlur(size / 4 / 26))
    around = np.asarray(blurred.resize((size, size), Image.Resampling.BILINEAR), np.float32) / 255
    return np.clip(1 - 2.2 * np.clip(around - scaled.astype(np.float32), 0, 0.3), 0.35, 1)


def _glaze(
    canvas: Array, seen: Seen, in_front: NDArray[np.bool_], tints: Array, scene: Scene
) -> None:
    """Lay glass over what is behind it: a tint (one a solid), a reflection, a bright edge."""
    size = len(canvas)
    at = np.flatnonzero((seen.face > 0) & in_front)
    if not len(at):
        return
    face = seen.face.ravel()[at].astype(np.int32) - 1
    x, y = (at % size).astype(np.float32) + 0.5, (at // size).astype(np.float32) + 0.5
    towards = -unit(scene.view.rays(x, y))
    normals = seen.normals[face].mean(axis=1)
    facing = np.abs(dot(normals, towards))
    tint = tints[seen.part_of[face]]
    reflects = (0.10 + 0.5 * (1 - facing) ** 3)[:, None]
    bright = surroundings(normals, towards, facing)[:, None]
    edge = (np.abs(normals[:, 1]) < 0.5)[:, None]
    behind = canvas.reshape(-1, 3)[at]
    color = behind * tint * 0.93 * (1 - reflects) + reflects * bright * scene.light.ambient
    color = np.where(edge, 0.45 * color + 0.42 * tint**2, color)
    canvas.reshape(-1, 3)[at] = color


def _develop(canvas: Array, setting: Setting) -> Image.Image:
    """Expose, roll highlights off softly, halve the size in linear light, encode as sRGB."""
    rows = canvas[::2] + canvas[1::2]
    exposed = (rows[:, ::2] + rows[:, 1::2]) * np.float32(setting.exposure / 4)
    over = np.maximum(exposed - 0.8, 0)
    rolled = np.minimum(exposed, 0.8) + 0.2 * (1 - np.exp(-over / 0.2))
    encoded = np.clip(rolled, 0, 1) ** np.float32(1 / 2.2)
    return Image.fromarray((encoded * 255 + 0.5).astype(np.uint8))
