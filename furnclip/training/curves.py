"""The curves of a run as pictures: the loss of every step, validation after every epoch."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Protocol

import numpy as np

from furnclip.files import atomic_path, write_text_atomic

Point = tuple[float, float]

_WIDTH, _HEIGHT = 1200, 440
_LEFT, _TOP, _BOTTOM, _GAP = 80, 56, 52, 80
_INK, _GRID, _FAINT, _STRONG = "#222222", "#e4e4e4", "#b9cfe8", "#1f5fa8"


class _Canvas(Protocol):
    """What both kinds of picture can draw; ``anchor`` is Pillow's: la, ma or rm."""

    def line(self, points: Sequence[Point], *, color: str, width: int) -> None: ...

    def dot(self, at: Point) -> None: ...

    def text(self, at: Point, text: str, *, anchor: str = "la") -> None: ...


class _Png:
    def __init__(self) -> None:
        from PIL import Image, ImageDraw, ImageFont

        self.image = Image.new("RGB", (_WIDTH, _HEIGHT), "white")
        self._draw = ImageDraw.Draw(self.image)
        self._draw.font = ImageFont.load_default(17)

    def line(self, points: Sequence[Point], *, color: str, width: int) -> None:
        self._draw.line(list(points), fill=color, width=width)

    def dot(self, at: Point) -> None:
        x, y = at
        self._draw.ellipse([x - 4, y - 4, x + 4, y + 4], fill=_STRONG)

    def text(self, at: Point, text: str, *, anchor: str = "la") -> None:
        self._draw.text(at, text, fill=_INK, anchor=anchor)


class _Svg:
    """Elements of an SVG, one a line."""

    _ANCHORS = ("la", "start", 13), ("ma", "middle", 13), ("rm", "end", 6)

    def __init__(self) -> None:
        self.parts = [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
                'font-family="system-ui, sans-serif" font-size="16">'
            ),
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        ]

    def line(self, points: Sequence[Point], *, color: str, width: int) -> None:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(
            f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="{width}" '
            'stroke-linejoin="round"/>'
        )

    def dot(self, at: Point) -> None:
        self.parts.append(f'<circle cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="4" fill="{_STRONG}"/>')

    def text(self, at: Point, text: str, *, anchor: str = "la") -> None:
        side, down = next((side, down) for name, side, down in self._ANCHORS if name == anchor)
        self.parts.append(
            f'<text x="{at[0]:.1f}" y="{at[1] + down:.1f}" text-anchor="{side}" '
            f'fill="{_INK}">{escape(text)}</text>'
        )


def draw_curves(
    path: Path, *, title: str, losses: Sequence[Point], scores: Sequence[Point], score_name: str
) -> None:
    """Write two panels, (step, loss) raw and smoothed and (epoch, score), as a PNG and as an SVG.

    ``path`` is the PNG's; the SVG gets the same name with its own ending.
    """
    png, svg = _Png(), _Svg()
    for canvas in (png, svg):
        _draw(canvas, title, losses, scores, score_name)
    with atomic_path(path) as temporary:
        png.image.save(temporary, "PNG")
    write_text_atomic(path.with_suffix(".svg"), "\n".join([*svg.parts, "</svg>\n"]))


def _draw(
    canvas: _Canvas,
    title: str,
    losses: Sequence[Point],
    scores: Sequence[Point],
    score_name: str,
) -> None:
    canvas.text((_LEFT, 16), title)
    width = (_WIDTH - 2 * _LEFT - _GAP) // 2
    panels = (("loss by step", losses), (f"{score_name} by epoch", scores))
    for column, (name, points) in enumerate(panels):
        left = _LEFT + column * (width + _GAP)
        frame = (left, _TOP, left + width, _HEIGHT - _BOTTOM)
        if points:
            _panel(canvas, frame, name, points, smooth=column == 0)


def smoothed(values: Sequence[float], *, memory: float = 0.9) -> list[float]:
    """Return exponential means, corrected for their start (Kingma and Ba 2014, section 3)."""
    means, mean = [], 0.0
    for count, value in enumerate(values, 1):
        mean = memory * mean + (1 - memory) * value
        means.append(mean / (1 - memory**count))
    return means


def _panel(
    canvas: _Canvas,
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
        canvas.line([(left, y), (right, y)], color=_GRID, width=1)
        canvas.text((left - 10, y), f"{tick:.3g}", anchor="rm")
    for tick in sorted({float(x) for x in np.linspace(xs[0], xs[-1], 5).round()}):
        canvas.text((place(tick, low)[0], bottom + 8), f"{tick:.0f}", anchor="ma")
    canvas.text(((left + right) / 2, bottom + 30), name, anchor="ma")
    raw = [place(x, y) for x, y in points]
    canvas.line(raw, color=_FAINT if smooth else _STRONG, width=2 if smooth else 3)
    if smooth:
        means = smoothed(ys.tolist())
        mean = [place(x, y) for x, y in zip(xs, means, strict=True)]
        canvas.line(mean, color=_STRONG, width=3)
    else:
        for point in raw:
            canvas.dot(point)


def _range(values: np.ndarray) -> Point:
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin
