"""The arena's grid drawn by textual-image, to measure it in the same way.

Runs under a Python of its own that has ``textual-image``; any key shows the next pictures.
Usage: ``python peer_textual_image.py sixel|tgp|halfcell COLUMNS ROWS FILE...``
"""

import sys

from PIL import Image
from textual.app import App, ComposeResult
from textual.containers import Horizontal, Vertical
from textual.events import Key
from textual_image.widget import HalfcellImage, SixelImage, TGPImage  # type: ignore[import-not-found]

_WIDGETS = {"sixel": SixelImage, "tgp": TGPImage, "halfcell": HalfcellImage}


class Peer(App[None]):
    """A query and two rows of pictures."""

    def __init__(self, kind: str, columns: int, rows: int, files: list[str]) -> None:
        super().__init__()
        self._pictures = [Image.open(file).convert("RGB") for file in files]
        self._images = [_WIDGETS[kind]() for _ in range(9)]
        self._box = (columns, rows)
        self._next = 0

    def compose(self) -> ComposeResult:
        """Lay out as the arena does."""
        with Horizontal():
            with Vertical() as panel:
                panel.styles.width = 14
                yield self._images[0]
            with Vertical():
                for start in (1, 5):
                    with Horizontal() as row:
                        row.styles.height = self._box[1] + 1
                        yield from self._images[start : start + 4]

    def on_mount(self) -> None:
        """Show the first pictures."""
        for image in self._images:
            image.styles.width, image.styles.height = self._box
        self._show()

    def on_key(self, _event: Key) -> None:
        """Show the next pictures."""
        self._show()

    def _show(self) -> None:
        for image in self._images:
            image.image = self._pictures[self._next % len(self._pictures)]
            self._next += 1


if __name__ == "__main__":
    Peer(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]).run()
