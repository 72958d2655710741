"""A product photo: solids in finishes, under a lamp and a window, before a backdrop.

Rendered at twice the size and halved (supersampling); colours are linear until the last step.
Shadows come from a second look at the scene from the sun (Williams 1978, shadow maps); creases
are darkened by unsharp masking the depth (Luft et al. 2006).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from furnclip.demo import textures
from furnclip.demo.raster import Seen, View, linear_fit, look
from furnclip.demo.solids import Array, Part

SUN_SIZE = 224


@dataclass(frozen=True)
class Finish:
    """What a slot is made of: a surface and its colour (linear RGB)."""

    surface: str
    color: tuple[float, float, float]


@dataclass(frozen=True)
class Setting:
    """Everything about a photo that is not the product.

    Angles are degrees; ``fill`` is the part of the frame that the product takes up, ``offset``
    its shift in frame widths. ``floor`` names a surface or ``studio`` (a seamless backdrop).
    """

    yaw: float
    pitch: float
    fill: float
    offset: tuple[float, float]
    sun: tuple[float, float]
    sunlight: float
    warmth: float
    exposure: float
    backdrop: tuple[float, float, float]
    floor: str
    floor_color: tuple[float, float, float]


@dataclass(frozen=True)
class _Light:
    direction: Array
    color: Array
    ambient: Array
    bounce: Array


def take_photo(
    parts: Sequence[Part], finishes: Mapping[str, Finish], setting: Setting, size: int
) -> Image.Image:
    """Photograph ``parts`` (each slot's finish in ``finishes``) as a square RGB image."""
    full = 2 * size
    corners = np.concatenate([part.quads.reshape(-1, 3) for part in parts])
    extent = float(np.ptp(corners, axis=0).max())
    view = _camera(corners, setting, full)
    light = _light(setting)
    sun = _sun(corners, light.direction)
    solid = [part for part in parts if finishes[part.slot].surface != "glass"]
    shade = _Shadow(look(solid, sun, SUN_SIZE), sun) if solid else None
    canvas = _backdrop(view, setting, light, shade, corners, full)
    nearest = np.full((full, full), -np.inf, np.float32)
    if solid:
        seen = look(solid, view, full)
        nearest = seen.near
        _paint(canvas, seen, solid, finishes, view, light, shade, extent)
    clear = [part for part in parts if finishes[part.slot].surface == "glass"]
    if clear:
        _glaze(canvas, look(clear, view, full), nearest, clear, finishes, view, light)
    return _develop(canvas, setting)


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


def _light(setting: Setting) -> _Light:
    azimuth, height = np.radians(setting.sun)
    direction = np.array(
        (np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)),
        np.float32,
    )
    tint = np.array((1 + setting.warmth, 1.0, 1 - setting.warmth), np.float32)
    floor = np.asarray(setting.floor_color, np.float32)
    ambient = (0.88 - 0.42 * setting.sunlight) * (2 - tint)
    return _Light(direction, setting.sunlight * tint, ambient, 0.55 * floor + 0.12)


def _sun(corners: Array, direction: Array) -> View:
    right = np.cross((0, 1, 0), direction).astype(np.float32)
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(direction, right), -direction]).astype(np.float32)
    flat = (corners - corners.mean(0)) @ axes.T
    low, high = flat.min(0), flat.max(0)
    scale = SUN_SIZE * 0.9 / float((high - low)[:2].max())
    middle = (low + high) / 2 * scale
    shift = (SUN_SIZE / 2 - float(middle[0]), SUN_SIZE / 2 + float(middle[1]))
    return View(corners.mean(0), axes, scale, shift, perspective=False)


class _Shadow:
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
        return 1 - shade * inside


def _backdrop(
    view: View,
    setting: Setting,
    light: _Light,
    shade: _Shadow | None,
    corners: Array,
    full: int,
) -> Array:
    """Paint wall and floor at half the resolution (both are smooth) and enlarge them."""
    half = full // 2
    y, x = np.mgrid[0:half, 0:half].astype(np.float32) * 2 + 1
    rays = view.rays(x.ravel(), y.ravel())
    extent = float(np.ptp(corners, axis=0).max())
    wall_z = float(corners[:, 2].min()) - 0.22 * extent
    with np.errstate(divide="ignore"):
        to_floor = np.where(rays[:, 1] < -1e-4, -view.eye[1] / rays[:, 1], np.inf)
        to_wall = np.where(rays[:, 2] < -1e-4, (wall_z - view.eye[2]) / rays[:, 2], np.inf)
    on_floor = to_floor < to_wall if setting.floor != "studio" else np.isfinite(to_floor)
    distance = np.minimum(np.where(on_floor, to_floor, to_wall), 60.0)
    points = view.eye + rays * distance[:, None]
    wall = np.asarray(setting.backdrop, np.float32)
    if setting.floor == "studio":
        height = (y.ravel() / full)[:, None]
        color = wall * (1.04 - 0.12 * np.abs(height - 0.5))
    else:
        fade = 1.0 - 0.16 * np.clip(points[:, 1:2] / extent, 0, 2.2) / 2.2
        color = np.where(on_floor[:, None], _floor(points, setting, extent), wall * fade)
        skirting = ~on_floor & (points[:, 1] < 0.075 * extent)
        color[skirting] = np.clip(wall * 0.4 + 0.55, 0, 0.92)
        color[~on_floor & (np.abs(points[:, 1] - 0.075 * extent) < 0.006 * extent)] *= 0.72
    dark = np.zeros(len(points), np.float32)
    if shade is not None:
        dark[on_floor] = 1 - shade.on_floor(points[on_floor])
    touch = _contact(points, corners, extent) * on_floor
    strength = min(0.62, 0.30 + 0.4 * setting.sunlight)
    color *= (1 - strength * dark)[:, None] * (1 - 0.5 * touch)[:, None]
    picture = np.clip(color.reshape(half, half, 3), 0, 1.2)
    return np.repeat(np.repeat(picture, 2, axis=0), 2, axis=1).astype(np.float32)


def _floor(points: Array, setting: Setting, extent: float) -> Array:
    color = np.asarray(setting.floor_color, np.float32)
    x, z = points[:, 0] / extent, points[:, 2] / extent
    if setting.floor in ("oak", "walnut", "pine"):
        lane = np.floor(z / 0.085)
        shade = 0.9 + 0.2 * ((lane * 0.618) % 1)
        grain = textures.sample("oak", x / 0.5 + lane * 0.37, z / 0.34)
        seam = np.abs(z / 0.085 - lane - 0.5) > 0.475
        return color * (shade * (1 + 0.14 * grain) * np.where(seam, 0.72, 1.0))[:, None]
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
    return np.exp(-np.sqrt(_dot(gap, gap)) / (0.05 * extent)).astype(np.float32)


def _paint(
    canvas: Array,
    seen: Seen,
    parts: Sequence[Part],
    finishes: Mapping[str, Finish],
    view: View,
    light: _Light,
    shade: _Shadow | None,
    extent: float,
) -> None:
    """Shade every visible pixel, one solid after another."""
    flat = seen.face.ravel()
    at = np.flatnonzero(flat)
    at = at[np.argsort(flat[at], kind="stable")]
    face = flat[at].astype(np.int32) - 1
    part_of = seen.part_of[face]
    size = len(canvas)
    x, y = (at % size).astype(np.float32) + 0.5, (at // size).astype(np.float32) + 0.5
    rays = view.rays(x, y)
    points = view.eye + rays / seen.near.ravel()[at][:, None]
    fit = linear_fit(seen.pixels, seen.normals)[face]
    normals = fit[:, 0] * x[:, None] + fit[:, 1] * y[:, None] + fit[:, 2]
    towards = -_unit(rays)
    lit = np.ones(len(at), np.float32) if shade is None else shade.on_solids(points)
    open_sky = _openness(seen, size).ravel()[at]
    target = canvas.reshape(-1, 3)
    bounds = np.searchsorted(part_of, np.arange(len(parts) + 1))
    for index, part in enumerate(parts):
        cut = slice(bounds[index], bounds[index + 1])
        if cut.start < cut.stop:
            target[at[cut]] = _shade(
                part, finishes[part.slot], points[cut], normals[cut], towards[cut],
                lit[cut], open_sky[cut], light, extent,
            )  # fmt: skip


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


def _shade(
    part: Part,
    finish: Finish,
    points: Array,
    normals: Array,
    towards: Array,
    lit: Array,
    open_sky: Array,
    light: _Light,
    extent: float,
) -> Array:
    surface = textures.SURFACES[finish.surface]
    local = (points - part.origin) @ part.axes.T
    if part.bevel:
        core = np.maximum(part.half - part.bevel * 2.2, 0)
        inward = normals @ part.axes.T
        push = np.clip(local, -part.half, part.half) - np.clip(local, -core, core)
        inward = inward * part.bevel + 0.55 * push
        normals = inward @ part.axes
    normals = _unit(normals)
    albedo = np.broadcast_to(np.asarray(finish.color, np.float32), normals.shape)
    if surface.contrast or surface.dent:
        albedo, normals = _textured(part, surface, local, normals, albedo, extent)
    return _lit(surface, albedo, normals, towards, lit, open_sky, light)


def _textured(
    part: Part, surface: textures.Surface, local: Array, normals: Array, albedo: Array, extent: float
) -> tuple[Array, Array]:
    """Lay the tile on the face that each point is on, its grain along the longer side."""
    facing = np.argmax(np.abs(normals @ part.axes.T), axis=1)
    others = np.array([(1, 2), (0, 2), (0, 1)])
    swap = part.half[others[:, 0]] < part.half[others[:, 1]]
    pairs = np.where(swap[:, None], others[:, ::-1], others)[facing]
    rows = np.arange(len(local))
    scale = 1 / (surface.repeat * max(extent, 0.5))
    start = float(part.origin.sum()) * 1.37
    u = local[rows, pairs[:, 0]] * (scale / surface.stretch) + start
    v = local[rows, pairs[:, 1]] * scale + 1.7 * start
    tone = 1 + surface.contrast * textures.sample(surface.tile, u, v)
    albedo = albedo * np.clip(tone, 0.12, 1.6)[:, None]
    if surface.dent:
        du, dv = textures.slope(surface.tile, u, v)
        normals = normals - surface.dent * (
            du[:, None] * part.axes[pairs[:, 0]] + dv[:, None] * part.axes[pairs[:, 1]]
        )
        normals = _unit(normals)
    return albedo, normals


def _lit(
    surface: textures.Surface,
    albedo: Array,
    normals: Array,
    towards: Array,
    lit: Array,
    open_sky: Array,
    light: _Light,
) -> Array:
    sunward = np.maximum(normals @ light.direction, 0) * lit
    upward = (0.5 + 0.5 * normals[:, 1:2]) * 0.75 + 0.25
    sky = light.ambient * upward + light.bounce * (1 - upward) * 0.8
    color = albedo * (sunward[:, None] * light.color + sky * open_sky[:, None])
    facing = np.maximum(_dot(normals, towards), 0)
    if surface.sheen:
        color += albedo * (surface.sheen * (1 - facing) ** 2.2 * open_sky)[:, None]
        color *= 0.86
    if surface.gloss:
        middle = _unit(light.direction + towards)
        shine = np.maximum(_dot(normals, middle), 0) ** surface.tightness
        window = np.maximum(normals @ _WINDOW, 0) ** (surface.tightness * 0.7)
        color += (surface.gloss * (shine * lit + 0.35 * window) * 0.55)[:, None]
    if surface.mirror:
        tint = 0.72 * albedo + 0.28 if surface.mirror < 0.3 else albedo
        mirrored = _surroundings(normals, towards, facing)[:, None] * tint
        color += surface.mirror * (mirrored - color) * open_sky[:, None]
    return color


_WINDOW = np.array((-0.55, 0.62, 0.56), np.float32)


def _surroundings(normals: Array, towards: Array, facing: Array) -> Array:
    """Return the brightness of an imagined studio in the direction of reflection."""
    reflected = 2 * facing[:, None] * normals - towards
    up = reflected[:, 1]
    room = 0.30 + 0.62 * np.clip(up * 1.6 + 0.35, 0, 1)
    softbox = 1.1 * np.exp(-(((reflected[:, 0] + 0.35) / 0.16) ** 2)) * (up > -0.3)
    dark = 0.4 * np.exp(-(((reflected[:, 0] - 0.28) / 0.14) ** 2))
    return room + softbox - dark


def _glaze(
    canvas: Array,
    seen: Seen,
    nearest: Array,
    parts: Sequence[Part],
    finishes: Mapping[str, Finish],
    view: View,
    light: _Light,
) -> None:
    """Lay glass over what is behind it: a tint, a reflection, a bright edge."""
    size = len(canvas)
    at = np.flatnonzero((seen.face > 0) & (seen.near > nearest))
    if not len(at):
        return
    face = seen.face.ravel()[at].astype(np.int32) - 1
    x, y = (at % size).astype(np.float32) + 0.5, (at // size).astype(np.float32) + 0.5
    rays = view.rays(x, y)
    towards = -_unit(rays)
    normals = seen.normals[face].mean(axis=1)
    facing = np.abs(_dot(normals, towards))
    tint = np.array([finishes[part.slot].color for part in parts], np.float32)[seen.part_of[face]]
    reflects = (0.10 + 0.5 * (1 - facing) ** 3)[:, None]
    bright = _surroundings(normals, towards, facing)[:, None]
    edge = (np.abs(normals[:, 1]) < 0.5)[:, None]
    behind = canvas.reshape(-1, 3)[at]
    color = behind * tint * 0.93 * (1 - reflects) + reflects * bright * light.ambient
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


def _dot(a: Array, b: Array) -> Array:
    product: Array = np.einsum("ij,ij->i", a, b)
    return product


def _unit(vectors: Array) -> Array:
    unit: Array = vectors / np.sqrt(np.maximum(_dot(vectors, vectors), 1e-12))[:, None]
    return unit
