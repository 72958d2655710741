"""A picture in a box of cells, and a slot that puts a caption under it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.segment import Segment
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Static

from furnclip.arena.strips import placeholder_strips

if TYPE_CHECKING:
    from furnclip.arena.pictures import Encoded, PictureKey

_SKELETON = "\N{LIGHT SHADE}"


class Picture(Widget):
    """One picture. Cells and kitty placeholders are its text; a sixel is drawn over blank text.

    ``repainted`` is told whenever the text was written again, because that erases a sixel.
    """

    def __init__(self, repainted: Callable[[Picture], None], *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self._repainted = repainted
        self._strips: tuple[Strip, ...] = ()
        self.key: PictureKey | None = None
        self.sixel = ""
        self.awaited = False

    def expect(self, key: PictureKey | None) -> None:
        """Take on a new picture that is not there yet: show a skeleton, or nothing without key."""
        self.key, self.sixel, self._strips = key, "", ()
        self.awaited = key is not None
        self.refresh()

    def show(self, key: PictureKey, encoded: Encoded, image_id: int | None = None) -> None:
        """Show a picture. A sixel over a sixel of the same box repaints no text."""
        overdraw = bool(encoded.sixel and self.sixel) and not self.awaited
        self.key, self.sixel = key, encoded.sixel
        self.awaited = False
        self._strips = encoded.strips
        if image_id is not None:
            self._strips = placeholder_strips(image_id, key.columns, key.rows)
        if encoded.problem:
            self._strips = (Strip([Segment(encoded.problem[: key.columns])]),)
        if overdraw:
            self._repainted(self)
        else:
            self.refresh()

    def render_lines(self, crop: Region) -> list[Strip]:
        """Render, and note that the text under the picture is written again."""
        self._repainted(self)
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        """Return a line of the picture, of the skeleton, or of nothing."""
        width, style = self.size.width, self.rich_style
        if self.app.screen is not self.screen:
            return Strip.blank(width, style)
        if self.awaited:
            return Strip([Segment(_SKELETON * width, style)], width)
        if y >= len(self._strips):
            return Strip.blank(width, style)
        return self._strips[y].adjust_cell_length(width, style)


class Slot(Vertical):
    """A picture with its caption."""

    def __init__(self, repainted: Callable[[Picture], None], *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self.picture = Picture(repainted, id=f"{id}-picture")
        self.caption = Static(id=f"{id}-caption", classes="caption", markup=False)

    def compose(self) -> ComposeResult:
        """Put the caption under the picture."""
        yield self.picture
        yield self.caption

    def fit(self, size: tuple[int, int], caption_rows: int) -> None:
        """Take the picture's size in cells and the number of caption lines."""
        self.picture.styles.width, self.picture.styles.height = size
        self.caption.styles.width = size[0]
        self.caption.styles.height = caption_rows
        self.caption.set_class(caption_rows == 1, "single")
        self.styles.width, self.styles.height = size[0], size[1] + caption_rows

    def title(self, text: str) -> None:
        """Set the caption; its box keeps its size."""
        self.caption.update(Content(text), layout=False)
