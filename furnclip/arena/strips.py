"""Cells and kitty placeholders as the lines Textual draws."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from rich.color import Color, ColorType
from rich.color_triplet import ColorTriplet
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from furnclip.terminal.cells import HALF_BLOCK, ascii_lines, to_256
from furnclip.terminal.choose import Depth
from furnclip.terminal.kitty import placeholder_lines


def cell_strips(pixels: NDArray[np.uint8], depth: Depth) -> tuple[Strip, ...]:
    """Return half blocks (or an ASCII ramp) for pixels of (2·rows, columns, 3), a strip a row."""
    if depth == "ascii":
        return tuple(Strip([Segment(line)], len(line)) for line in ascii_lines(pixels))
    if depth == "256":
        indices = to_256(pixels)
        colors = [[_indexed(int(i)) for i in row] for row in indices]
    else:
        colors = [[_rgb(*rgb) for rgb in row] for row in pixels.tolist()]
    return tuple(
        Strip(_half_blocks(colors[y], colors[y + 1]), len(colors[y]))
        for y in range(0, len(colors), 2)
    )


def placeholder_strips(image_id: int, columns: int, rows: int) -> tuple[Strip, ...]:
    """Return kitty placeholders; the id is an 8-bit colour that Textual must leave alone."""
    style = Style(color=_indexed(image_id))
    return tuple(
        Strip([Segment(line, style)], columns) for line in placeholder_lines(columns, rows)
    )


def _half_blocks(upper: list[Color], lower: list[Color]) -> list[Segment]:
    """Join neighbouring cells of equal colours into one segment."""
    segments: list[Segment] = []
    start = 0
    for x in range(1, len(upper) + 1):
        if x == len(upper) or (upper[x], lower[x]) != (upper[start], lower[start]):
            style = Style(color=upper[start], bgcolor=lower[start])
            segments.append(Segment(HALF_BLOCK * (x - start), style))
            start = x
    return segments


def _rgb(red: int, green: int, blue: int) -> Color:
    return Color.from_triplet(ColorTriplet(red, green, blue))


@lru_cache(maxsize=256)
def _indexed(number: int) -> Color:
    """Return palette colour ``number``.

    Textual turns colours without a triplet into true colour, which would lose the number; one
    that carries a triplet passes, and is written as ``38;5;n``.
    """
    return Color(f"color({number})", ColorType.EIGHT_BIT, number, ColorTriplet(0, 0, number))
