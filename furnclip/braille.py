"""Curves as text: two by four dots in every character cell."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

# Unicode's braille patterns: the bit of each dot, by row from the top, left and right.
_BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BLANK = 0x2800


def curve(values: Sequence[float], *, width: int, height: int) -> list[str]:
    """Return ``height`` lines of ``width`` characters with the values from left to right.

    More values than dots are averaged; fewer are joined by straight lines. The highest is on the
    first line, the lowest on the last.
    """
    columns = _columns(values, 2 * width)
    low, high = min(columns), max(columns)
    rows = 4 * height
    places = [
        rows // 2 if high == low else round((high - value) / (high - low) * (rows - 1))
        for value in columns
    ]
    cells = [[_BLANK] * width for _ in range(height)]
    before = places[0]
    for x, y in enumerate(places):
        # A steep step is drawn as a line, without the dot that the column before has.
        first, last = (y, y) if y == before else (min(y, before + 1), max(y, before - 1))
        for dot in range(min(first, last), max(first, last) + 1):
            cells[dot // 4][x // 2] |= _BITS[dot % 4][x % 2]
        before = y
    return ["".join(map(chr, line)) for line in cells]


def labelled(name: str, values: Sequence[float], *, width: int, height: int) -> list[str]:
    """Return the curve with its highest and lowest value at the left and its name below."""
    columns = _columns(values, 2 * (width - 7))
    drawn = curve(columns, width=width - 7, height=height)
    margins = [""] * height
    margins[0], margins[-1] = _short(max(columns)), _short(min(columns))
    lines = [f"{margin:>6} {line}" for margin, line in zip(margins, drawn, strict=True)]
    return [*lines, f"{'':7}{name} {values[-1]:.4g}"[:width].ljust(width)]


def _short(value: float) -> str:
    """Return three digits of a number in at most six letters."""
    text = f"{value:.3g}"
    return text if len(text) <= 6 else f"{value:.0e}".replace("e+0", "e").replace("e-0", "e-")


def _columns(values: Sequence[float], count: int) -> list[float]:
    """Bring the values to ``count`` columns: by means where there are more, else in between."""
    if len(values) >= count:
        edges = [len(values) * i // count for i in range(count + 1)]
        return [sum(values[start:end]) / (end - start) for start, end in itertools.pairwise(edges)]
    if len(values) == 1:
        return [float(values[0])] * count
    found = []
    for column in range(count):
        place = column * (len(values) - 1) / (count - 1)
        left = min(int(place), len(values) - 2)
        part = place - left
        found.append(values[left] * (1 - part) + values[left + 1] * part)
    return found
