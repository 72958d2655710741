"""Textual's terminal driver with room for pictures inside a frame.

Textual writes a frame as text that ends by placing the cursor. Sixels of widgets that the frame
repainted must follow that text at once, and all of it must appear in one go, so both are written
inside one synchronised update (mode 2026; terminals without it ignore the request).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol, cast

from textual import events
from textual._ansi_sequences import SYNC_END, SYNC_START
from textual.drivers.linux_driver import LinuxDriver

if TYPE_CHECKING:
    from textual.message import Message

_LATE_REPLY_SECONDS = 2.0


class Pictures(Protocol):
    """What the driver asks of the app."""

    probe_complete: bool

    def take_pictures(self) -> str:
        """Return the escape codes of pictures to draw over the frame just written."""

    def forget_pictures(self) -> str:
        """Return the escape codes that free what the terminal keeps, at the end."""


class FrameDriver(LinuxDriver):
    """Writes frames and the pictures over them as one; holds late probe replies off the keys."""

    _started = 0.0

    @property
    def _pictures(self) -> Pictures:
        return cast("Pictures", self._app)

    def start_application_mode(self) -> None:
        """Start, and note when."""
        self._started = time.monotonic()
        super().start_application_mode()  # type: ignore[no-untyped-call]

    def write(self, data: str) -> None:
        """Write; a frame, which ends in a cursor position, takes its pictures with it."""
        pictures = self._pictures.take_pictures() if data.endswith("H") else ""
        if pictures:
            data = f"{SYNC_START}{data}{pictures}{SYNC_END}"
        super().write(data)

    def draw(self, pictures: str) -> None:
        """Write pictures between frames."""
        if pictures:
            super().write(f"{SYNC_START}{pictures}{SYNC_END}")

    def process_message(self, message: Message) -> None:
        """Drop keys for a moment when probe replies are still due: they would arrive as keys."""
        late = time.monotonic() - self._started < _LATE_REPLY_SECONDS
        if isinstance(message, events.Key) and late and not self._pictures.probe_complete:
            return
        super().process_message(message)

    def stop_application_mode(self) -> None:
        """Free the terminal's copies of the pictures, then stop."""
        super().write(self._pictures.forget_pictures())
        super().stop_application_mode()
