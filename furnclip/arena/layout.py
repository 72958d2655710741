"""Where things go for a given screen: pure arithmetic, in cells."""

from __future__ import annotations

from dataclasses import dataclass

SMALLEST = (60, 18)
_LABEL = 2  # the letter beside a row
_CHROME = 4  # header, rule between the rows, status line, key line
_TALLEST = 60  # rows of cells a picture may have: kitty's placeholders count no further than 64
_NARROWEST = 12  # a thumbnail in a row of its full length


@dataclass(frozen=True)
class Layout:
    """Sizes in cells: thumbnails and their number a row, the query's picture and panel."""

    shown: int
    thumbnail: tuple[int, int]
    caption_rows: int
    query: tuple[int, int]
    panel_columns: int


def fit_screen(width: int, height: int, k: int, cell: tuple[int, int]) -> Layout | None:
    """Lay out ``width`` x ``height`` cells for up to ``k`` thumbnails; None when it is too small.

    Thumbnails are as square as cells of ``cell`` pixels allow. Below 80 columns a row has three.
    """
    if width < SMALLEST[0] or height < SMALLEST[1]:
        return None
    panel = 30 if width >= 120 else 14 if width < 90 else 20
    caption_rows = 2 if height >= 40 else 1
    room = width - panel - _LABEL
    most = k if width >= 80 else min(k, 3)
    shown = max(n for n in range(1, most + 1) if n == 1 or n <= 3 or room // n > _NARROWEST)
    columns = room // shown - 1
    tallest = min(_TALLEST, (height - _CHROME) // 2 - caption_rows)
    rows = min(tallest, _square_rows(columns, cell))
    columns = min(columns, max(1, -(-rows * cell[1] // cell[0])))
    inner = panel - 2
    query_rows = min(_square_rows(inner, cell), height - 8, _TALLEST)
    return Layout(shown, (columns, rows), caption_rows, (inner, query_rows), panel)


def _square_rows(columns: int, cell: tuple[int, int]) -> int:
    return max(1, round(columns * cell[0] / cell[1]))
