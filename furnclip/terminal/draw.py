"""Rows of captioned thumbnails as bytes to print: what ``furnclip search`` shows."""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from furnclip.terminal import kitty
from furnclip.terminal.choose import Terminal

if TYPE_CHECKING:
    from PIL import Image

_GAP = 2


def draw(
    images: Sequence[Image.Image],
    *,
    columns: int,
    terminal: Terminal,
    captions: Sequence[str] = (),
    thumbnail_columns: int = 18,
    background: tuple[int, int, int] = (255, 255, 255),
) -> bytes:
    """Return thumbnails in rows that fill ``columns`` cells, each with its caption underneath.

    Write the result to the terminal as it is; it ends with a new line. Captions may be empty, or
    one to an image; long ones are cut. With ``text`` graphics only the captions come back.
    """
    if captions and len(captions) != len(images):
        raise ValueError(f"{len(captions)} captions for {len(images)} images")
    width = min(thumbnail_columns, columns)
    height = max(2, round(width * terminal.cell[0] / terminal.cell[1]))
    per_row = max(1, (columns + _GAP) // (width + _GAP))
    lines = []
    for start in range(0, len(images), per_row):
        row = images[start : start + per_row]
        if terminal.graphics != "text":
            lines.append(_picture_row(row, width, height, terminal, background))
        if captions:
            lines.append(_caption_row(captions[start : start + per_row], width))
    return b"".join(lines)


def cut(text: str, width: int) -> str:
    """Cut or pad ``text`` to exactly ``width`` cells; wide characters count as two."""
    clean = "".join(c if c.isprintable() else " " for c in text)
    if _cells(clean) > width:
        while clean and _cells(clean) > width - 1:
            clean = clean[:-1]
        clean += "\u2026"
    return clean + " " * (width - _cells(clean))


def _cells(text: str) -> int:
    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )


def _caption_row(captions: Sequence[str], width: int) -> bytes:
    row = (" " * _GAP).join(cut(caption, width) for caption in captions)
    return row.rstrip().encode() + b"\n\n"


def _picture_row(
    images: Sequence[Image.Image],
    width: int,
    height: int,
    terminal: Terminal,
    background: tuple[int, int, int],
) -> bytes:
    if terminal.graphics == "sixel":
        return _sixel_row(images, width, height, terminal, background)
    from furnclip.terminal import cells

    if terminal.graphics == "kitty":
        blocks = [_kitty_block(image, width, height, terminal, background) for image in images]
    else:
        blocks = [
            cells.ansi_lines(
                cells.blocks(image, width, height, background=background), terminal.depth
            )
            for image in images
        ]
    lines = ((" " * _GAP).join(parts) for parts in zip(*blocks, strict=True))
    return "".join(f"{line}\n" for line in lines).encode()


def _sixel_row(
    images: Sequence[Image.Image],
    width: int,
    height: int,
    terminal: Terminal,
    background: tuple[int, int, int],
) -> bytes:
    """Make room first, with a row to spare, because a sixel on the last row scrolls the screen."""
    from furnclip.terminal import sixel
    from furnclip.terminal.fit import box_pixels, fit

    pixels = box_pixels(width, height, terminal.cell)
    room = height + 1
    parts = [b"\n" * room, b"\x1b[%dA" % room]
    for i, image in enumerate(images):
        picture = fit(image, pixels[0], sixel.floor_to_band(pixels[1]), background=background)
        offset = i * (width + _GAP)
        move = b"\r\x1b[%dC" % offset if offset else b"\r"
        parts += [b"\x1b7", move, sixel.encode(picture), b"\x1b8"]
    return b"".join(parts) + b"\r\x1b[%dB" % height


def _kitty_block(
    image: Image.Image,
    width: int,
    height: int,
    terminal: Terminal,
    background: tuple[int, int, int],
) -> list[str]:
    """Ids are random, so that an earlier search further up the screen keeps its pictures."""
    from furnclip.terminal.fit import box_pixels, fit

    data = kitty.png(fit(image, *box_pixels(width, height, terminal.cell), background=background))
    if terminal.tmux:
        image_id = kitty.FIRST_ID + secrets.randbelow(kitty.LAST_ID - kitty.FIRST_ID + 1)
        color = f"5;{image_id}"
    else:
        image_id = 0x10000 + secrets.randbelow(0xFF0000)
        color = f"2;{image_id >> 16};{image_id >> 8 & 255};{image_id & 255}"
    commands = kitty.transmit(image_id, data, columns=width, rows=height)
    sent = b"".join(kitty.through_tmux(c) if terminal.tmux else c for c in commands).decode()
    lines = [f"\x1b[38;{color}m{line}\x1b[39m" for line in kitty.placeholder_lines(width, height)]
    return [sent + lines[0], *lines[1:]]
