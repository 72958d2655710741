"""The peer of ``bench_arena``: the arena's layout made of textual-image's own widgets.

Runs in an environment of its own (textual-image, no furnclip) and knows only a folder of JPEGs:
``python textual_image_arena.py FOLDER MODE COLUMNS K WIDTH HEIGHT QUERY_HEIGHT``. Every key shows
the next query and 2 K hits. To be fair the photos are decoded before the app starts, as they are
when furnclip has looked ahead; encoding is what the library does itself.
"""

import sys
from pathlib import Path

from PIL import Image as Photos
from textual.app import App, ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widget import Widget
from textual.widgets import Static
from textual_image.widget import HalfcellImage, SixelImage, TGPImage

_WIDGETS = {"sixel": SixelImage, "kitty": TGPImage, "cells": HalfcellImage}


class Peer(App[None]):
    """A query at the left, two rows at the right, like the arena."""

    CSS = """
    #top, .caption, #status { height: 1; }
    .row { height: auto; }
    """

    def __init__(self, photos: list[Photos.Image], mode: str, numbers: list[int]) -> None:
        super().__init__()
        self.photos = photos
        self.widget = _WIDGETS[mode]
        self.panel, self.k, self.columns, self.rows, self.query_rows = numbers
        self.turn = 0

    def compose(self) -> ComposeResult:
        yield Static("turn 0", id="top")
        with Horizontal():
            with Vertical() as panel:
                panel.styles.width = self.panel
                yield self._image(self.panel - 2, self.query_rows)
                yield Static("query", classes="caption")
            with Vertical():
                for _ in range(2):
                    with Horizontal(classes="row"):
                        for _ in range(self.k):
                            with Vertical() as slot:
                                slot.styles.width = self.columns + 1
                                slot.styles.height = self.rows + 1
                                yield self._image(self.columns, self.rows)
                                yield Static("title", classes="caption")
        yield Static("status", id="status")

    def on_mount(self) -> None:
        self.show()

    def on_key(self) -> None:
        self.turn += 1
        self.show()

    def show(self) -> None:
        images = list(self.query(self.widget))
        for number, image in enumerate(images):
            image.image = self.photos[(self.turn * len(images) + number) % len(self.photos)]
        self.query_one("#top", Static).update(f"turn {self.turn}")

    def _image(self, columns: int, rows: int) -> Widget:
        image: Widget = self.widget()
        image.styles.width, image.styles.height = columns, rows
        return image


def main() -> None:
    folder, mode, *numbers = sys.argv[1:]
    photos = [Photos.open(path).convert("RGB") for path in sorted(Path(folder).glob("*.jpg"))]
    Peer(photos, mode, [int(n) for n in numbers]).run()


if __name__ == "__main__":
    main()
