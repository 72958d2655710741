"""The main colour of the product in a catalogue photo, without any model.

The background is taken from the border, the product is what differs from it, and every product
pixel votes for the nearest palette colour in CIELAB (CIE 1976 formulas, D65 white).
"""

from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from furnclip.cleaning.lexicon import load_lexicon

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SIDE = 96
_BORDER = 3
_BACKGROUND_DISTANCE = 9.0
"""In CIELAB units: JPEG noise on a plain background stays below 5, a soft shadow below 9."""


@dataclass(frozen=True)
class PhotoColor:
    """``name`` is a palette family; ``share`` of the product's pixels voted for it, 0 to 1.

    ``foreground`` is the product's share of the photo; below 0.02 nothing stood out.
    """

    name: str
    share: float
    foreground: float
    votes: dict[str, float]


def photo_color(image: Image.Image) -> PhotoColor:
    """Name the dominant colour of the foreground of an RGB image."""
    small = image.copy()
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    lab = _lab(np.asarray(small, dtype=np.float64) / 255.0)
    background = _border_color(lab)
    distance = np.linalg.norm(lab - background, axis=-1)
    mask = distance > _BACKGROUND_DISTANCE
    foreground = float(mask.mean())
    names, samples = _palette()
    if foreground < 0.02:
        # Nothing stands out from the background: the product has its colour.
        nearest = int(np.argmin(np.linalg.norm(samples - background, axis=1)))
        return PhotoColor(names[nearest], 1.0, foreground, {names[nearest]: 1.0})
    pixels = lab[mask]
    nearest_each = np.argmin(
        np.linalg.norm(pixels[:, None, :] - samples[None, :, :], axis=2), axis=1
    )
    votes = Counter(names[i] for i in nearest_each)
    total = len(pixels)
    shares = {name: votes[name] / total for name in sorted(votes)}
    best = max(shares, key=lambda name: shares[name])
    return PhotoColor(best, shares[best], foreground, shares)


def _border_color(lab: "NDArray[np.float64]") -> "NDArray[np.float64]":
    edges = np.concatenate(
        [
            lab[:_BORDER].reshape(-1, 3),
            lab[-_BORDER:].reshape(-1, 3),
            lab[:, :_BORDER].reshape(-1, 3),
            lab[:, -_BORDER:].reshape(-1, 3),
        ]
    )
    return np.asarray(np.median(edges, axis=0), dtype=np.float64)


@cache
def _palette() -> tuple[tuple[str, ...], "NDArray[np.float64]"]:
    pairs = [(c.name, rgb) for c in load_lexicon().palette for rgb in c.samples]
    values = np.asarray([rgb for _, rgb in pairs], dtype=np.float64) / 255.0
    return tuple(name for name, _ in pairs), _lab(values)


def _lab(rgb: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """Convert sRGB in 0..1, shape (..., 3), to CIELAB."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    matrix = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    xyz = linear @ matrix.T / np.array([0.95047, 1.0, 1.08883])
    cube = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    lightness = 116 * cube[..., 1] - 16
    a = 500 * (cube[..., 0] - cube[..., 1])
    b = 200 * (cube[..., 1] - cube[..., 2])
    return np.asarray(np.stack([lightness, a, b], axis=-1), dtype=np.float64)
