"""Cells and kitty placeholders as the lines Textual draws."""

from __future__ import annotations

from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING

from rich.color import Color, ColorSystem, ColorType
from rich.color_triplet import ColorTriplet
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from furnclip.terminal.choose import Depth
from furnclip.terminal.kitty import placeholder_lines

if TYPE_CHECKING:
    from furnclip.terminal.cells import Blocks, Colors


def cell_strips(drawn: Blocks, depth: Depth) -> tuple[Strip, ...]:
    """Return blocks (or an ASCII ramp), a strip a row of cells."""
    from furnclip.terminal.cells import ascii_lines

    if depth == "ascii":
        return tuple(Strip([Segment(line)], len(line)) for line in ascii_lines(drawn))
    fore, back = _colors(drawn.foreground, depth), _colors(drawn.background, depth)
    return tuple(
        Strip(_segments(symbols, upper, lower), len(symbols))
        for symbols, upper, lower in zip(drawn.symbols.tolist(), fore, back, strict=True)
    )


def placeholder_strips(image_id: int, columns: int, rows: int) -> tuple[Strip, ...]:
    """Return kitty placeholders; the id is an 8-bit colour that Textual must leave alone."""
    style = Style(color=_indexed(image_id))
    return tuple(
        Strip([Segment(line, style)], columns) for line in placeholder_lines(columns, rows)
    )


def _colors(colors: Colors, depth: Depth) -> list[list[Color]]:
    from furnclip.terminal.cells import to_256

    if depth == "256":
        return [[_indexed(i) for i in row] for row in to_256(colors).tolist()]
    return [[_rgb(*rgb) for rgb in row] for row in colors.tolist()]


def _segments(symbols: list[int], fore: list[Color], back: list[Color]) -> list[Segment]:
    """Join neighbouring cells that look alike into one segment; a space has no ink."""
    from furnclip.terminal.cells import SYMBOLS

    cells = [
        (SYMBOLS[symbol], ink if symbol else None, paper)
        for symbol, ink, paper in zip(symbols, fore, back, strict=True)
    ]
    return [
        Segment(symbol * len(list(run)), _style(ink, paper))
        for (symbol, ink, paper), run in groupby(cells)
    ]


def _style(ink: Color | None, paper: Color) -> Style:
    """Make a style that knows its escape codes already: a photo has thousands of them."""
    style = Style(color=ink, bgcolor=paper)
    style.render(" ", color_system=ColorSystem.TRUECOLOR)
    return style


def _rgb(red: int, green: int, blue: int) -> Color:
    return Color.from_triplet(ColorTriplet(red, green, blue))


@lru_cache(maxsize=256)
def _indexed(number: int) -> Color:
    """Return palette colour ``number``.

    Textual turns colours without a triplet into true colour, which would lose the number; one
    that carries a triplet passes, and is written as ``38;5;n``.
    """
    return Color(f"color({number})", ColorType.EIGHT_BIT, number, ColorTriplet(0, 0, number))
