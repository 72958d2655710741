"""Kitty's graphics protocol with unicode placeholders: transmit once, place as text.

A placeholder cell is U+10EEEE whose foreground colour is the image id; two diacritics on the first
cell of a line give row and column, the cells after it count on. So a picture moves, scrolls and
is covered like text, in tmux too. Ids are 16 to 255, which survive 256-colour palettes.
Source: https://sw.kovidgoyal.net/kitty/graphics-protocol/#unicode-placeholders
"""

from __future__ import annotations

import base64
import io
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

PLACEHOLDER = "\U0010eeee"
FIRST_ID, LAST_ID = 16, 255
_CHUNK = 4096

# The first entries of kitty's rowcolumn-diacritics.txt: as many rows as a screen ever has here.
_DIACRITICS = "".join(
    map(
        chr,
        (
            0x305, 0x30D, 0x30E, 0x310, 0x312, 0x33D, 0x33E, 0x33F, 0x346, 0x34A, 0x34B, 0x34C,
            0x350, 0x351, 0x352, 0x357, 0x35B, 0x363, 0x364, 0x365, 0x366, 0x367, 0x368, 0x369,
            0x36A, 0x36B, 0x36C, 0x36D, 0x36E, 0x36F, 0x483, 0x484, 0x485, 0x486, 0x487, 0x592,
            0x593, 0x594, 0x595, 0x597, 0x598, 0x599, 0x59C, 0x59D, 0x59E, 0x59F, 0x5A0, 0x5A1,
            0x5A8, 0x5A9, 0x5AB, 0x5AC, 0x5AF, 0x5C4, 0x610, 0x611, 0x612, 0x613, 0x614, 0x615,
            0x616, 0x617, 0x657, 0x658,
        ),
    )
)  # fmt: skip
MAX_ROWS = len(_DIACRITICS)


def png(image: Image.Image, *, colors: int = 128) -> bytes:
    """Encode as PNG with a palette: a quarter of the bytes of true colour, alike to the eye."""
    from PIL import Image

    from furnclip.terminal.palette import reduce

    pixels, palette = reduce(image, colors)
    indexed = Image.fromarray(pixels, "P")
    indexed.putpalette(bytes(value for rgb in palette for value in rgb))
    buffer = io.BytesIO()
    indexed.save(buffer, "PNG", compress_level=6)  # 9 takes half as long again and saves 0.3%
    return buffer.getvalue()


def transmit(image_id: int, data: bytes, *, columns: int, rows: int) -> list[bytes]:
    """Return the commands that send a PNG and make its virtual placement of ``columns`` x ``rows``.

    One command per list entry, so that each can be wrapped for tmux on its own.
    """
    encoded = base64.b64encode(data)
    chunks = [encoded[i : i + _CHUNK] for i in range(0, len(encoded), _CHUNK)]
    head = b"a=T,U=1,f=100,t=d,q=2,i=%d,c=%d,r=%d," % (image_id, columns, rows)
    return [
        b"\x1b_G%sm=%d;%s\x1b\\" % (head if i == 0 else b"q=2,", i + 1 < len(chunks), chunk)
        for i, chunk in enumerate(chunks)
    ]


def delete(image_ids: Iterable[int]) -> list[bytes]:
    """Return the commands that delete images and free their data."""
    return [b"\x1b_Ga=d,d=I,q=2,i=%d\x1b\\" % image_id for image_id in image_ids]


def placeholder_lines(columns: int, rows: int) -> list[str]:
    """Return the text of a placement; the caller sets the foreground colour, the image id."""
    if rows > MAX_ROWS:
        raise ValueError(f"a picture of {rows} rows; at most {MAX_ROWS}")
    first = _DIACRITICS[0]
    return [
        PLACEHOLDER + _DIACRITICS[row] + first + PLACEHOLDER * (columns - 1) for row in range(rows)
    ]


def through_tmux(command: bytes) -> bytes:
    """Wrap an escape sequence so that tmux passes it on untouched."""
    return b"\x1bPtmux;" + command.replace(b"\x1b", b"\x1b\x1b") + b"\x1b\\"


class ImageIds:
    """Hands out the 240 ids, the least recently used first once all are taken."""

    def __init__(self) -> None:
        self._ids: OrderedDict[Hashable, int] = OrderedDict()

    def get(self, key: Hashable) -> int | None:
        """Return the id that ``key`` holds and mark it as used, or None."""
        if key in self._ids:
            self._ids.move_to_end(key)
        return self._ids.get(key)

    def take(self, key: Hashable) -> int:
        """Give ``key`` an id; whoever held it longest unused loses it."""
        if len(self._ids) <= LAST_ID - FIRST_ID:
            image_id = FIRST_ID + len(self._ids)
        else:
            _, image_id = self._ids.popitem(last=False)
        self._ids[key] = image_id
        return image_id

    def used(self) -> list[int]:
        """Return every id that was handed out."""
        return sorted(self._ids.values())
