"""The colour of a surface at a pixel: its texture, its light, its shine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from furnclip.demo import textures
from furnclip.demo.light import Light, dot, unit
from furnclip.demo.scene import Finish, Scene, Spots
from furnclip.demo.solids import Array, Part

_WINDOW = np.array((-0.55, 0.62, 0.56), np.float32)


def shade(part: Part, finish: Finish, spots: Spots, scene: Scene) -> Array:
    """Return the linear RGB (n, 3) of ``spots`` on ``part``."""
    surface = textures.SURFACES[finish.surface]
    local = (spots.points - part.origin) @ part.axes.T
    normals = spots.normals
    if part.bevel:
        core = np.maximum(part.half - part.bevel * 2.2, 0)
        push = np.clip(local, -part.half, part.half) - np.clip(local, -core, core)
        normals = (normals @ part.axes.T * part.bevel + 0.55 * push) @ part.axes
    normals = unit(normals)
    albedo: Array = np.broadcast_to(np.asarray(finish.color, np.float32), normals.shape)
    if surface.contrast or surface.dent:
        tone, normals = _textured(part, surface, local, normals, scene.extent)
        albedo = albedo * tone[:, None]
    return _lit(surface, albedo, replace(spots, normals=normals), scene.light)


def _textured(
    part: Part, surface: textures.Surface, local: Array, normals: Array, extent: float
) -> tuple[Array, Array]:
    """Lay the tile on the face that each point is on, its grain along the longer side.

    Returns what the colour is multiplied by (n,) and the dented normals (n, 3).
    """
    facing = np.argmax(np.abs(normals @ part.axes.T), axis=1)
    others = np.array([(1, 2), (0, 2), (0, 1)])
    swap = part.half[others[:, 0]] < part.half[others[:, 1]]
    pairs = np.where(swap[:, None], others[:, ::-1], others)[facing]
    rows = np.arange(len(local))
    scale = 1 / (surface.repeat * max(extent, 0.5))
    start = float(part.origin.sum()) * 1.37
    u = local[rows, pairs[:, 0]] * (scale / surface.stretch) + start
    v = local[rows, pairs[:, 1]] * scale + 1.7 * start
    tone = np.clip(1 + surface.contrast * textures.sample(surface.tile, u, v), 0.12, 1.6)
    if surface.dent:
        du, dv = textures.slope(surface.tile, u, v)
        along, across = part.axes[pairs[:, 0]], part.axes[pairs[:, 1]]
        normals = unit(normals - surface.dent * (du[:, None] * along + dv[:, None] * across))
    return tone, normals


def _lit(surface: textures.Surface, albedo: Array, spots: Spots, light: Light) -> Array:
    """Add up sun, sky and what the floor throws back; then the surface's own shine."""
    normals, open_sky = spots.normals, spots.open_sky
    sunward = np.maximum(normals @ light.direction, 0) * spots.lit
    upward = (0.5 + 0.5 * normals[:, 1:2]) * 0.75 + 0.25
    sky = light.ambient * upward + light.bounce * (1 - upward) * 0.8
    color = albedo * (sunward[:, None] * light.color + sky * open_sky[:, None])
    facing = np.maximum(dot(normals, spots.towards), 0)
    if surface.sheen:
        color += albedo * (surface.sheen * (1 - facing) ** 2.2 * open_sky)[:, None]
        color *= 0.86
    if surface.gloss:
        middle = unit(light.direction + spots.towards)
        shine = np.maximum(dot(normals, middle), 0) ** surface.tightness
        window = np.maximum(normals @ _WINDOW, 0) ** (surface.tightness * 0.7)
        color += (surface.gloss * (shine * spots.lit + 0.35 * window) * 0.55)[:, None]
    if surface.mirror:
        tint = 0.72 * albedo + 0.28 if surface.mirror < 0.3 else albedo
        mirrored = surroundings(normals, spots.towards, facing)[:, None] * tint
        color += surface.mirror * (mirrored - color) * open_sky[:, None]
    return color


def surroundings(normals: Array, towards: Array, facing: Array) -> Array:
    """Return the brightness of an imagined studio in the direction of reflection."""
    reflected = 2 * facing[:, None] * normals - towards
    up = reflected[:, 1]
    room = 0.30 + 0.62 * np.clip(up * 1.6 + 0.35, 0, 1)
    above = np.clip(up * 2 + 0.7, 0, 1)
    softbox = 1.1 * np.exp(-(((reflected[:, 0] + 0.35) / 0.16) ** 2)) * above
    dark = 0.4 * np.exp(-(((reflected[:, 0] - 0.28) / 0.14) ** 2))
    return room + softbox - dark
