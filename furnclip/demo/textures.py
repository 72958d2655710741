"""Surfaces: wood grain, leather, weave, cane, marble, brushed metal, and how each takes light.

A texture is a tile of 256 by 256 values around 0 that repeats without a seam; ``u`` runs along
the grain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from furnclip.demo.solids import Array

TILE = 256


@dataclass(frozen=True)
class Surface:
    """How a material looks: its tile, how strongly that darkens and dents, and its shine.

    ``repeat`` is the tile's edge in units of the product's size, ``stretch`` times that along the
    grain. ``gloss`` and ``tightness``
    are Blinn-Phong's; ``sheen`` brightens grazing angles (pile, plush); ``mirror`` reflects.
    """

    tile: str
    repeat: float
    stretch: float = 1.0
    contrast: float = 0.0
    dent: float = 0.0
    gloss: float = 0.0
    tightness: float = 20.0
    sheen: float = 0.0
    mirror: float = 0.0


SURFACES: dict[str, Surface] = {
    "oak": Surface("oak", 0.26, stretch=4.0, contrast=0.34, gloss=0.06, tightness=18),
    "walnut": Surface("walnut", 0.26, stretch=4.0, contrast=0.55, gloss=0.14, tightness=26),
    "pine": Surface("pine", 0.38, stretch=2.6, contrast=0.42, gloss=0.05, tightness=16),
    "leather": Surface("leather", 0.22, contrast=0.20, dent=0.9, gloss=0.55, tightness=14),
    "velvet": Surface("nap", 0.45, contrast=0.13, sheen=0.95),
    "linen": Surface("weave", 0.075, contrast=0.50, dent=0.5),
    "boucle": Surface("boucle", 0.10, contrast=0.45, dent=1.0),
    "rattan": Surface("cane", 0.085, contrast=0.95, dent=0.8, gloss=0.10),
    "marble": Surface("marble", 0.55, contrast=0.75, gloss=0.45, tightness=60),
    "metal": Surface("brushed", 0.20, contrast=0.10, gloss=0.7, tightness=34, mirror=0.42),
    "chrome": Surface("plain", 1.0, gloss=0.9, tightness=60, mirror=0.85),
    "lacquer": Surface("plain", 1.0, gloss=0.28, tightness=50, mirror=0.06),
    "ceramic": Surface("plain", 1.0, gloss=0.8, tightness=70, mirror=0.12),
    "bedding": Surface("nap", 0.30, contrast=0.10),
    "paper": Surface("plain", 1.0),
    "glass": Surface("plain", 1.0, gloss=1.0, tightness=90, mirror=0.35),
    "looking_glass": Surface("glance", 0.9, contrast=0.30),
}


def sample(name: str, u: Array, v: Array) -> Array:
    """Look a tile up at ``u``, ``v`` in tiles."""
    return tile(name)[_wrap(v), _wrap(u)]


def slope(name: str, u: Array, v: Array) -> tuple[Array, Array]:
    """Return the tile's slope along u and v at the same places."""
    du, dv = _slopes(name)
    rows, columns = _wrap(v), _wrap(u)
    return du[rows, columns], dv[rows, columns]


def _wrap(coordinate: Array) -> NDArray[np.int32]:
    return np.floor(coordinate * TILE).astype(np.int32) & (TILE - 1)


@cache
def tile(name: str) -> Array:
    """Make a tile, values about -1 to 1, mean 0."""
    made = _MAKERS[name]()
    made = made - made.mean()
    return np.asarray(made / max(float(np.abs(made).max()), 1e-6), np.float32)


@cache
def _slopes(name: str) -> tuple[Array, Array]:
    made = tile(name)
    du = np.roll(made, -1, 1) - np.roll(made, 1, 1)
    dv = np.roll(made, -1, 0) - np.roll(made, 1, 0)
    return du, dv


def _axes() -> tuple[Array, Array]:
    v, u = np.mgrid[0:TILE, 0:TILE].astype(np.float32) / TILE
    return u, v


def _noise(seed: int, along: float, across: float, power: float = 1.6) -> Array:
    """Return seamless noise with features of about ``along`` by ``across`` pixels, spread 1."""
    rng = np.random.default_rng(seed)
    fu = np.fft.rfftfreq(TILE)[None, :] * along
    fv = np.fft.fftfreq(TILE)[:, None] * across
    strength = 1 / (1 + fu * fu + fv * fv) ** power
    strength[0, 0] = 0
    phase = rng.uniform(0, 2 * np.pi, strength.shape)
    made = np.fft.irfft2(strength * np.exp(1j * phase), s=(TILE, TILE))
    return np.asarray(made / made.std(), np.float32)


def _rings(seed: int, bands: int, warp: float, sharpness: float) -> Array:
    """Return growth rings cut lengthwise: pale early wood that darkens and ends sharply."""
    _, v = _axes()
    turns = v * bands + warp * _noise(seed, 200, 110, 2.0)
    saw = turns - np.floor(turns)
    fibre = _noise(seed + 1, 60, 2, 1.0)
    ring: Array = -(saw**sharpness) - 0.16 * fibre
    return ring


def _pine() -> Array:
    """Pine: wide rings that flow around dark knots."""
    u, v = _axes()
    knots = [(0.2, 0.25, 0.05), (0.66, 0.62, 0.06), (0.45, 0.9, 0.035)]
    bend = 0.55 * _noise(31, 240, 80, 2.0)
    core = np.zeros_like(u)
    for at_u, at_v, wide in knots:
        du = (u - at_u + 0.5) % 1 - 0.5
        dv = (v - at_v + 0.5) % 1 - 0.5
        near = np.exp(-((du / (2.2 * wide)) ** 2) - (dv / wide) ** 2)
        bend += 1.6 * near * np.sign(dv)
        core += np.exp(-((du / (0.6 * wide)) ** 2) - (dv / (0.42 * wide)) ** 2)
    turns = v * 7 + bend
    saw = turns - np.floor(turns)
    grain: Array = -(saw**2.2) * 0.9 - 0.08 * _noise(33, 60, 2, 1.0) - 2.2 * core
    return grain


def _leather() -> Array:
    """Leather: pebbles between creases (distance to the second less the first of random seeds)."""
    rng = np.random.default_rng(5)
    seeds = rng.uniform(0, 1, (260, 2)).astype(np.float32)
    u, v = _axes()
    first = np.full_like(u, 9.0)
    second = np.full_like(u, 9.0)
    for at_u, at_v in seeds:
        du = (u - at_u + 0.5) % 1 - 0.5
        dv = (v - at_v + 0.5) % 1 - 0.5
        gap = du * du + dv * dv
        second = np.minimum(second, np.maximum(first, gap))
        first = np.minimum(first, gap)
    crease = np.minimum((np.sqrt(second) - np.sqrt(first)) * 22, 1)
    return np.asarray(crease + 0.35 * _noise(6, 90, 90, 2.0))


def _weave() -> Array:
    u, v = _axes()
    warp, weft = u * 12, v * 12
    over = (np.floor(warp) + np.floor(weft)) % 2
    along = np.where(over > 0, np.sin(np.pi * warp) ** 2, np.sin(np.pi * weft) ** 2)
    return np.asarray(along * 0.7 + 0.22 * (_noise(8, 40, 3, 1.0) + _noise(9, 3, 40, 1.0)))


def _cane() -> Array:
    """Rattan: flat strands plaited two over, two under."""
    u, v = _axes()
    a, b = u * 4, v * 4
    over = (np.floor(a) + np.floor(b)) % 2
    lane = np.where(over > 0, np.sin(np.pi * b * 2), np.sin(np.pi * a * 2)) ** 2
    hump = np.where(over > 0, np.sin(np.pi * (a % 1)), np.sin(np.pi * (b % 1)))
    return np.asarray(np.sqrt(np.clip(lane * hump, 0, 1)) - 0.05 * _noise(12, 20, 20))


def _marble() -> Array:
    cloud = _noise(14, 150, 150, 1.4) + 0.5 * _noise(15, 60, 60, 1.4)
    vein = np.exp(-np.abs(cloud) * 9)
    fine = np.exp(-np.abs(_noise(16, 110, 110, 1.3) + 0.4) * 12)
    return np.asarray(-vein - 0.45 * fine + 0.08 * cloud)


def _glance() -> Array:
    """Show what a mirror does: light falling across a room, in slanting bands."""
    u, v = _axes()
    turn = 2 * np.pi * (u + v)
    return np.asarray(np.sin(turn) + 0.5 * np.sin(2 * turn + 1.0) + 0.35 * np.sin(3 * turn))


_MAKERS: dict[str, Callable[[], Array]] = {
    "glance": _glance,
    "plain": lambda: np.zeros((TILE, TILE), np.float32),
    "oak": lambda: _rings(20, 9, 0.7, 2.4),
    "walnut": lambda: _rings(25, 6, 1.1, 1.6),
    "pine": _pine,
    "leather": _leather,
    "nap": lambda: _noise(10, 90, 90, 1.8),
    "weave": _weave,
    "boucle": lambda: np.abs(_noise(11, 22, 22, 2.4)),
    "cane": _cane,
    "marble": _marble,
    "brushed": lambda: _noise(17, 160, 1.5, 1.0),
}
