"""Scaling a picture into a box of terminal cells, on an opaque background."""

from __future__ import annotations

from PIL import Image

_STRETCH = 0.04


def box_pixels(columns: int, rows: int, cell: tuple[int, int]) -> tuple[int, int]:
    """Return width and height in pixels of a box of cells."""
    return columns * cell[0], rows * cell[1]


def fit(
    image: Image.Image, width: int, height: int, *, background: tuple[int, int, int] = (0, 0, 0)
) -> Image.Image:
    """Scale ``image`` into exactly ``width`` x ``height`` RGB pixels, centred, aspect kept.

    A box that is within 4% of the picture's shape is filled: cells seldom make an exact square,
    and a strip of a few pixels shows as a coloured edge once the palette is reduced. The result is
    opaque, so drawing it over the last picture of the same box needs no clearing.
    """
    scale = min(width / image.width, height / image.height)
    inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    if inner[0] >= (1 - _STRETCH) * width and inner[1] >= (1 - _STRETCH) * height:
        inner = (width, height)
    source = image.convert("RGB") if image.mode != "RGB" else image
    scaled = source.resize(inner, Image.Resampling.LANCZOS, reducing_gap=3.0)
    if inner == (width, height):
        return scaled
    canvas = Image.new("RGB", (width, height), background)
    canvas.paste(scaled, ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return canvas
