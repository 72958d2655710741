"""Cells and kitty placeholders as the lines Textual draws."""

from __future__ import annotations

import io
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING

from rich.color import Color, ColorType
from rich.color_triplet import ColorTriplet
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from furnclip.terminal.choose import Depth
from furnclip.terminal.kitty import placeholder_lines

if TYPE_CHECKING:
    from furnclip.terminal.cells import Blocks, Colors


# Escape codes are made with the strips, ahead of time: a photo has hundreds of them.
_CONSOLE = Console(color_system="truecolor", file=io.StringIO())


def cell_strips(drawn: Blocks, depth: Depth) -> tuple[Strip, ...]:
    """Return blocks (or an ASCII ramp), a strip a row of cells."""
    from furnclip.terminal.cells import ascii_lines

    if depth == "ascii":
        return tuple(Strip([Segment(line)], len(line)) for line in ascii_lines(drawn))
    fore, back = _colors(drawn.foreground, depth), _colors(drawn.background, depth)
    return tuple(
        _written(_segments(symbols, upper, lower), len(symbols))
        for symbols, upper, lower in zip(drawn.symbols.tolist(), fore, back, strict=True)
    )


@lru_cache(maxsize=512)
def placeholder_strips(image_id: int, columns: int, rows: int) -> tuple[Strip, ...]:
    """Return kitty placeholders; the id is an 8-bit colour that Textual must leave alone."""
    style = Style(color=_indexed(image_id))
    lines = placeholder_lines(columns, rows)
    return tuple(_written([Segment(line, style)], columns) for line in lines)


def _written(segments: list[Segment], columns: int) -> Strip:
    """Make a strip that knows its escape codes; its colours are indexed or true on any screen."""
    strip = Strip(segments, columns)
    strip.render(_CONSOLE)  # which the strip keeps
    return strip


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
        Segment(symbol * len(list(run)), Style(color=ink, bgcolor=paper))
        for (symbol, ink, paper), run in groupby(cells)
    ]


def _rgb(red: int, green: int, blue: int) -> Color:
    return Color.from_triplet(ColorTriplet(red, green, blue))


@lru_cache(maxsize=256)
def _indexed(number: int) -> Color:
    """Return palette colour ``number``.

    Textual turns colours without a triplet into true colour, which would lose the number; one
    that carries a triplet passes, and is written as ``38;5;n``.
    """
    return Color(f"color({number})", ColorType.EIGHT_BIT, number, ColorTriplet(0, 0, number))
