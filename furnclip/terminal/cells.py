"""Pictures out of characters: quadrant blocks in two colours a cell, or a grey ramp in ASCII.

Each cell stands for 2x2 pixels and takes the block character and the two colours that come closest
to them: twice the width in detail of half blocks, at the same number of bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from furnclip.terminal.choose import Depth

# One pattern of every complementary pair: which of upper left, upper right, lower left, lower
# right are drawn in the foreground.
_PATTERNS = np.array(
    [
        [0, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1],
        [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1],
    ],
    dtype=np.float32,
)  # fmt: skip
SYMBOLS = " \u2580\u258c\u259a\u2598\u259d\u2596\u2597"
_RAMP = " .:-=+*#%@"
_LEVELS = np.array([0, 95, 135, 175, 215, 255])
_RESET = "\x1b[0m"

Colors = NDArray[np.uint8]


@dataclass(frozen=True)
class Blocks:
    """Cells of a picture: ``symbols`` (rows, columns) index ``SYMBOLS``, colours (…, 3)."""

    symbols: NDArray[np.intp]
    foreground: Colors
    background: Colors


def blocks(
    image: Image.Image, columns: int, rows: int, *, background: tuple[int, int, int]
) -> Blocks:
    """Return the cells that come closest to ``image`` in a box of ``columns`` x ``rows``.

    Cells are taken to be twice as high as wide; the picture fills whole cells, which may stretch
    it by half a cell. A flat cell is a space on its background.
    """
    tall = np.asarray(_whole_cells(image, columns, rows, background), dtype=np.float32)
    pixels = tall.reshape(rows, 2, 2, columns, 2, 3).mean(axis=2)
    cells = pixels.transpose(0, 2, 1, 3, 4).reshape(rows, columns, 4, 3)
    weight = _PATTERNS.sum(axis=1)
    lit = np.einsum("pk,ijkc->ijpc", _PATTERNS, cells)
    unlit = cells.sum(axis=2)[:, :, None] - lit
    lit_mean = lit / np.maximum(weight, 1)[:, None]
    unlit_mean = unlit / (4 - weight)[:, None]
    # Minimising the squared error of both means is maximising what they explain.
    explained = (weight[:, None] * lit_mean**2 + (4 - weight)[:, None] * unlit_mean**2).sum(-1)
    explained[:, :, 0] += 1.0  # prefers a space where all colours are alike
    best = explained.argmax(axis=2)
    chosen = best[:, :, None, None]
    foreground = np.take_along_axis(lit_mean, chosen, axis=2)[:, :, 0]
    behind = np.take_along_axis(unlit_mean, chosen, axis=2)[:, :, 0]
    return Blocks(best, _bytes(foreground), _bytes(behind))


def _whole_cells(
    image: Image.Image, columns: int, rows: int, background: tuple[int, int, int]
) -> Image.Image:
    """Scale into the box at 2x4 pixels a cell, aligned to cells."""
    aspect = image.width / image.height
    across = min(columns, max(1, round(2 * rows * aspect)))
    down = min(rows, max(1, round(columns / (2 * aspect))))
    canvas = Image.new("RGB", (2 * columns, 4 * rows), background)
    scaled = image.convert("RGB").resize(
        (2 * across, 4 * down), Image.Resampling.LANCZOS, reducing_gap=3.0
    )
    canvas.paste(scaled, ((columns - across) // 2 * 2, (rows - down) // 2 * 4))
    return canvas


def to_256(colors: Colors) -> Colors:
    """Return the nearest entry (16 to 255) of xterm's palette for each colour of (…, 3)."""
    wide = colors.astype(np.int32)
    cube = np.abs(wide[..., None] - _LEVELS).argmin(-1)
    grey = np.clip((wide.mean(-1) - 3) // 10, 0, 23).astype(np.int32)
    cube_error = ((_LEVELS[cube] - wide) ** 2).sum(-1)
    grey_error = ((8 + 10 * grey[..., None] - wide) ** 2).sum(-1)
    index = 16 + 36 * cube[..., 0] + 6 * cube[..., 1] + cube[..., 2]
    nearest: Colors = np.where(grey_error < cube_error, 232 + grey, index).astype(np.uint8)
    return nearest


def ascii_lines(drawn: Blocks) -> list[str]:
    """Return the picture in grey, one character a cell, brighter ones denser."""
    share = (_PATTERNS.mean(axis=1))[drawn.symbols]
    grey = share * drawn.foreground.mean(-1) + (1 - share) * drawn.background.mean(-1)
    steps = np.minimum((grey / 256 * len(_RAMP)).astype(int), len(_RAMP) - 1)
    return ["".join(_RAMP[s] for s in row) for row in steps.tolist()]


def ansi_lines(drawn: Blocks, depth: Depth) -> list[str]:
    """Return one line of escape codes and blocks per row of cells; colours are sent on change."""
    if depth == "ascii":
        return ascii_lines(drawn)
    lines = []
    fore, back = _codes(drawn.foreground, depth), _codes(drawn.background, depth)
    for symbols, upper, lower in zip(drawn.symbols.tolist(), fore, back, strict=True):
        lines.append(_ansi_line([SYMBOLS[s] for s in symbols], upper, lower))
    return lines


def _codes(colors: Colors, depth: Depth) -> list[list[str]]:
    if depth == "256":
        return [[f"5;{c}" for c in row] for row in to_256(colors).tolist()]
    return [[f"2;{r};{g};{b}" for r, g, b in row] for row in colors.tolist()]


def _ansi_line(symbols: list[str], fore: list[str], back: list[str]) -> str:
    parts: list[str] = []
    last_fore = last_back = ""
    for symbol, ink, paper in zip(symbols, fore, back, strict=True):
        changed = []
        if ink != last_fore and symbol != " ":
            changed.append(f"38;{ink}")
            last_fore = ink
        if paper != last_back:
            changed.append(f"48;{paper}")
            last_back = paper
        if changed:
            parts.append(f"\x1b[{';'.join(changed)}m")
        parts.append(symbol)
    return "".join(parts) + _RESET


def _bytes(colors: NDArray[np.float32]) -> Colors:
    rounded: Colors = np.clip(colors + 0.5, 0, 255).astype(np.uint8)
    return rounded
