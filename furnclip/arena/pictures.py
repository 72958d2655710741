"""Pictures encoded ahead of time, in threads, for the terminal at hand.

The key handler only writes: what it needs is in the cache already. Entries are named by picture,
size in cells and background; protocol, cell size and colours belong to the terminal, and a change
of cell size starts an empty cache.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from furnclip.errors import FurnclipError

if TYPE_CHECKING:
    from PIL import Image
    from textual.strip import Strip

    from furnclip.terminal.choose import Terminal

_LOG = logging.getLogger(__name__)
_CAPACITY = 400  # some 6 MB of sixel at 80x24
_SMALL_BOX = 45_000  # pixels; below it 32 colours look the same and cost a quarter less


@dataclass(frozen=True)
class PictureKey:
    """A product's row or a photo's path, in a box of cells, on a background."""

    item: int | Path
    columns: int
    rows: int
    background: tuple[int, int, int]


@dataclass(frozen=True)
class Encoded:
    """A picture ready to write; one field is set, by protocol, or ``problem`` instead."""

    sixel: str = ""
    png: bytes = b""
    strips: tuple[Strip, ...] = ()
    problem: str = ""


class PictureCache:
    """Encodes on request in two threads and keeps the most recently used results."""

    def __init__(
        self,
        load: Callable[[int | Path], Image.Image],
        terminal: Terminal,
        ready: Callable[[PictureKey], None],
    ) -> None:
        self._load = load
        self._terminal = terminal
        self._ready = ready
        self._lock = threading.Lock()
        self._entries: OrderedDict[PictureKey, Encoded] = OrderedDict()
        self._pending: set[PictureKey] = set()
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="arena-pictures")

    def get(self, key: PictureKey) -> Encoded | None:
        """Return a picture that is ready, or None."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
            return self._entries.get(key)

    def request(self, keys: Iterable[PictureKey]) -> None:
        """Encode what is missing, in order; ``ready`` is called from a thread for each."""
        with self._lock:
            missing = [k for k in keys if k not in self._entries and k not in self._pending]
            self._pending.update(missing)
        for key in missing:
            self._pool.submit(self._work, key)

    def close(self) -> None:
        """Drop what is waiting and let the threads finish."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _work(self, key: PictureKey) -> None:
        try:
            encoded = encode(self._load(key.item), key, self._terminal)
        except FurnclipError as error:
            _LOG.info("no picture of %s: %s", key.item, error)
            encoded = Encoded(problem="no image")
        with self._lock:
            self._entries[key] = encoded
            self._pending.discard(key)
            while len(self._entries) > _CAPACITY:
                self._entries.popitem(last=False)
        self._ready(key)


def encode(image: Image.Image, key: PictureKey, terminal: Terminal) -> Encoded:
    """Turn an image into what this terminal takes for a box of cells."""
    from furnclip.terminal import cells, kitty, sixel
    from furnclip.terminal.fit import box_pixels, fit

    width, height = box_pixels(key.columns, key.rows, terminal.cell)
    if terminal.graphics == "sixel":
        height = sixel.floor_to_band(height)
        colors = 32 if width * height < _SMALL_BOX else 64
        picture = fit(image, width, height, background=key.background)
        return Encoded(sixel=sixel.encode(picture, colors=colors).decode("ascii"))
    if terminal.graphics == "kitty":
        return Encoded(png=kitty.png(fit(image, width, height, background=key.background)))
    if terminal.graphics == "text":
        return Encoded()
    drawn = cells.blocks(image, key.columns, key.rows, background=key.background)
    from furnclip.arena.strips import cell_strips

    return Encoded(strips=cell_strips(drawn, terminal.depth))
