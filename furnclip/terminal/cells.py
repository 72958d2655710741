"""Pictures out of characters: two pixels a cell as half blocks, or a grey ramp in ASCII."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from furnclip.terminal.choose import Depth
from furnclip.terminal.fit import fit

HALF_BLOCK = "\u2580"  # upper half: the foreground is the upper pixel, the background the lower
_RAMP = " .:-=+*#%@"
_LEVELS = np.array([0, 95, 135, 175, 215, 255])
_RESET = "\x1b[0m"


def half_block_pixels(
    image: Image.Image, columns: int, rows: int, *, background: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Return the pixels of a box of cells, shape (2·rows, columns, 3); a pixel is half a cell."""
    return np.asarray(fit(image, columns, 2 * rows, background=background), dtype=np.uint8)


def to_256(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the nearest entry (16 to 255) of xterm's palette for each pixel of (…, 3)."""
    wide = pixels.astype(np.int32)
    cube = np.abs(wide[..., None] - _LEVELS).argmin(-1)
    grey = np.clip((wide.mean(-1) - 3) // 10, 0, 23).astype(np.int32)
    cube_error = ((_LEVELS[cube] - wide) ** 2).sum(-1)
    grey_error = ((8 + 10 * grey[..., None] - wide) ** 2).sum(-1)
    index = 16 + 36 * cube[..., 0] + 6 * cube[..., 1] + cube[..., 2]
    nearest: NDArray[np.uint8] = np.where(grey_error < cube_error, 232 + grey, index).astype(
        np.uint8
    )
    return nearest


def ascii_lines(pixels: NDArray[np.uint8]) -> list[str]:
    """Return a grey ramp for pixels of (2·rows, columns, 3): one character a cell."""
    grey = pixels.astype(np.float32).mean(-1)
    cell = (grey[0::2] + grey[1::2]) / 2
    steps = np.minimum((cell / 256 * len(_RAMP)).astype(int), len(_RAMP) - 1)
    return ["".join(_RAMP[s] for s in row) for row in steps.tolist()]


def ansi_lines(pixels: NDArray[np.uint8], depth: Depth) -> list[str]:
    """Return one line of escape codes and half blocks per row of cells; colours sent on change."""
    if depth == "ascii":
        return ascii_lines(pixels)
    if depth == "256":
        codes = [[f"5;{c}" for c in row] for row in to_256(pixels).tolist()]
    else:
        codes = [[f"2;{r};{g};{b}" for r, g, b in row] for row in pixels.tolist()]
    return [_ansi_line(codes[y], codes[y + 1]) for y in range(0, len(codes), 2)]


def _ansi_line(upper: list[str], lower: list[str]) -> str:
    parts: list[str] = []
    last_upper = last_lower = ""
    for top, bottom in zip(upper, lower, strict=True):
        changed = [f"38;{top}"] if top != last_upper else []
        changed += [f"48;{bottom}"] if bottom != last_lower else []
        if changed:
            parts.append(f"\x1b[{';'.join(changed)}m")
        parts.append(HALF_BLOCK)
        last_upper, last_lower = top, bottom
    return "".join(parts) + _RESET
