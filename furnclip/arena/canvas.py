"""The pictures of the board: which are due, when they are all there, how they join a frame."""

from __future__ import annotations

import dataclasses
import sys
import time
from typing import TYPE_CHECKING, TypedDict

from textual.color import Color

from furnclip.arena.gallery import Gallery
from furnclip.arena.pictures import PictureKey
from furnclip.terminal.choose import Terminal, cell_size
from furnclip.terminal.detect import window_size
from furnclip.terminal.probe import Replies

if TYPE_CHECKING:
    from furnclip.arena.app import ArenaApp
    from furnclip.arena.board import Item
    from furnclip.arena.deck import Comparison
    from furnclip.arena.session import ArenaSession
    from furnclip.arena.widgets import Picture

_PREFETCH = 2
_REST_SECONDS = 0.05  # a frame of 100 kB is with the terminal by then


class Circumstances(TypedDict, total=False):
    """How a comparison looked and how long it took: what is stored with the vote."""

    seconds: float
    graphics: str
    thumbnail: tuple[int, int]
    shown: int


class Canvas:
    """Draws the current comparison's pictures on the board of ``app`` and prefetches the next.

    ``complete_at`` is when the last awaited picture was placed (monotonic seconds), None before.
    """

    def __init__(self, app: ArenaApp, terminal: Terminal) -> None:
        self.terminal = terminal
        self.complete_at: float | None = None
        self._app = app
        self._session: ArenaSession | None = None
        self._gallery: Gallery | None = None
        self._repainted: set[Picture] = set()

    def open(self, session: ArenaSession) -> None:
        """Begin to load pictures of this session; earlier ones are forgotten."""
        self.close()
        self._session = session
        self._gallery = Gallery(
            session.picture, self.terminal, write=self._app.send, arrived=self._arrived
        )

    def close(self) -> None:
        """Stop encoding."""
        if self._gallery is not None:
            self._gallery.close()

    def note_repainted(self, picture: Picture) -> None:
        """Remember that a picture's text was just written, which erases a sixel."""
        self._repainted.add(picture)

    def show(self, comparison: Comparison) -> None:
        """Show what is ready and a skeleton for the rest, then encode ahead."""
        if self._gallery is None:
            return
        self.complete_at = None
        for picture, key in self._keys(comparison):
            self._gallery.show(picture, key)
        self.note_completion()
        self._app.call_after_refresh(self._after_frame)

    def note_completion(self) -> None:
        """Start the clock once nothing is awaited any more."""
        if self.complete_at is not None or self._app.board.arrangement is None:
            return
        if not any(picture.awaited for picture in self._app.board.pictures()):
            self.complete_at = time.monotonic()
            self._app.on_pictures_complete()

    def take(self) -> str:
        """Return the sixels of every picture whose text was just written again."""
        repainted = list(self._repainted)
        self._repainted.clear()
        if self._app.screen is not self._app.board or self._app.board.arrangement is None:
            return ""
        return "".join(
            f"\x1b[{picture.region.y + 1};{picture.region.x + 1}H{picture.sixel}"
            for picture in repainted
            if picture.sixel and picture.is_attached and picture.region
        )

    def forget(self) -> str:
        """Return the escape codes that free what the terminal keeps."""
        return self._gallery.forget() if self._gallery else ""

    def circumstances(self, seconds: float) -> Circumstances:
        """Say how the comparison looked, for the record."""
        layout, cell = self._app.board.arrangement, self.terminal.cell
        size = (0, 0) if layout is None else layout.thumbnail
        return {
            "seconds": seconds,
            "graphics": self.terminal.graphics,
            "thumbnail": (size[0] * cell[0], size[1] * cell[1]),
            "shown": layout.shown if layout else 0,
        }

    def measure_cells(self) -> None:
        """Take the cell size from the kernel's window size, when it knows and it has changed.

        Asking the terminal again would send its reply through the keyboard.
        """
        if self._app.is_headless or self.terminal.tmux or sys.__stderr__ is None:
            return
        window = window_size(sys.__stderr__.fileno())
        cell = cell_size(Replies(), window)
        if all(window) and cell != self.terminal.cell:
            self.terminal = dataclasses.replace(self.terminal, cell=cell)
            if self._session is not None:
                self.open(self._session)

    def _draw_without_frame(self) -> None:
        """Draw pictures that no frame took along, because no text changed."""
        self._app.draw_between_frames(self.take())

    def _after_frame(self) -> None:
        """Draw what is left; encode ahead once the terminal has it, which needs the processor."""
        self._draw_without_frame()
        self._app.board.set_timer(_REST_SECONDS, self._encode_ahead)

    def _encode_ahead(self) -> None:
        if self._session is None or self._gallery is None:
            return
        for coming in self._session.ahead(_PREFETCH):
            self._gallery.prefetch(key for _, key in self._keys(coming) if key is not None)

    def _keys(self, comparison: Comparison) -> list[tuple[Picture, PictureKey | None]]:
        pairs = self._app.board.assignments(comparison)
        return [(slot.picture, self._key(slot.picture, item)) for slot, item in pairs]

    def _key(self, picture: Picture, item: Item | None) -> PictureKey | None:
        layout = self._app.board.arrangement
        if item is None or layout is None or self.terminal.graphics == "text":
            return None
        box = layout.query if picture.id == "query-slot-picture" else layout.thumbnail
        color = Color.parse(self._app.theme_variables["background"])
        return PictureKey(item, *box, (color.r, color.g, color.b))

    def _arrived(self, key: PictureKey) -> None:
        """Hand over from the encoder's thread to the app's."""
        if self._app.is_running:
            self._app.call_later(self._place, key)

    def _place(self, key: PictureKey) -> None:
        if self._gallery is not None:
            self._gallery.place(key, self._app.board.pictures())
            self.note_completion()
            self._app.call_after_refresh(self._draw_without_frame)
