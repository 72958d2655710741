"""The curves of a run as a picture: the loss of every step, validation after every epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from furnclip.files import atomic_path

if TYPE_CHECKING:
    from PIL import ImageDraw

Point = tuple[float, float]

_WIDTH, _HEIGHT = 1200, 440
_LEFT, _TOP, _BOTTOM, _GAP = 80, 56, 52, 80
_INK, _GRID, _FAINT, _STRONG = "#222222", "#e4e4e4", "#b9cfe8", "#1f5fa8"


def draw_curves(
    path: Path, *, title: str, losses: Sequence[Point], scores: Sequence[Point], score_name: str
) -> None:
    """Write a PNG with two panels: (step, loss), raw and smoothed, and (epoch, score)."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (_WIDTH, _HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    draw.font = ImageFont.load_default(17)
    draw.text((_LEFT, 16), title, fill=_INK)
    width = (_WIDTH - 2 * _LEFT - _GAP) // 2
    panels = (("loss by step", losses), (f"{score_name} by epoch", scores))
    for column, (name, points) in enumerate(panels):
        left = _LEFT + column * (width + _GAP)
        frame = (left, _TOP, left + width, _HEIGHT - _BOTTOM)
        if points:
            _panel(draw, frame, name, points, smooth=column == 0)
    with atomic_path(path) as temporary:
        image.save(temporary, "PNG")


def smoothed(values: Sequence[float], *, memory: float = 0.9) -> list[float]:
    """Return exponential means, corrected for their start (Kingma and Ba 2014, section 3)."""
    means, mean = [], 0.0
    for count, value in enumerate(values, 1):
        mean = memory * mean + (1 - memory) * value
        means.append(mean / (1 - memory**count))
    return means


def _panel(
    draw: ImageDraw.ImageDraw,
    frame: tuple[int, int, int, int],
    name: str,
    points: Sequence[Point],
    *,
    smooth: bool,
) -> None:
    left, top, right, bottom = frame
    xs, ys = (np.array(axis, dtype=float) for axis in zip(*points, strict=True))
    low, high = _range(ys)
    across, first = max(1e-9, float(xs[-1] - xs[0])), float(xs[0])

    def place(x: float, y: float) -> Point:
        return left + (x - first) / across * (right - left), bottom - (y - low) / (high - low) * (
            bottom - top
        )

    for tick in np.linspace(low, high, 5):
        y = place(first, float(tick))[1]
        draw.line([(left, y), (right, y)], fill=_GRID)
        draw.text((left - 10, y), f"{tick:.3g}", fill=_INK, anchor="rm")
    for tick in sorted({float(x) for x in np.linspace(xs[0], xs[-1], 5).round()}):
        draw.text((place(tick, low)[0], bottom + 8), f"{tick:.0f}", fill=_INK, anchor="ma")
    draw.text(((left + right) / 2, bottom + 30), name, fill=_INK, anchor="ma")
    raw = [place(x, y) for x, y in points]
    draw.line(raw, fill=_FAINT if smooth else _STRONG, width=2 if smooth else 3)
    if smooth:
        means = smoothed(ys.tolist())
        draw.line([place(x, y) for x, y in zip(xs, means, strict=True)], fill=_STRONG, width=3)
    else:
        for x, y in raw:
            draw.ellipse([x - 4, y - 4, x + 4, y + 4], fill=_STRONG)


def _range(values: np.ndarray) -> Point:
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin
