"""A picture in a box of cells, its caption, and a slot that holds both."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.segment import Segment
from textual.app import ComposeResult
from textual.color import BLACK
from textual.containers import Vertical
from textual.content import Content
from textual.filter import LineFilter
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Static

if TYPE_CHECKING:
    from furnclip.arena.pictures import Encoded, PictureKey

_SKELETON = "\N{LIGHT SHADE}"


class Direct(Widget):
    """A widget without border or padding that makes its own strips.

    Textual would style and keep every line by itself, which takes 0.2 ms a caption and 0.9 ms a
    picture; a key changes up to twenty-two of them.
    """

    @abstractmethod
    def strips(self, width: int, height: int) -> Sequence[Strip]:
        """Return ``height`` strips of ``width`` cells."""

    def render_lines(self, crop: Region) -> list[Strip]:
        """Return the part of the strips that lies in ``crop``."""
        strips = self.strips(*self.size)[crop.y : crop.bottom]
        for line_filter in self.get_line_filters():
            background = self.visual_style.background or BLACK
            strips = [strip.apply_filter(line_filter, background) for strip in strips]
        return [strip.crop(crop.x, crop.right) for strip in strips]


class Picture(Direct):
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

    def show(self, key: PictureKey, encoded: Encoded, strips: tuple[Strip, ...]) -> None:
        """Show a picture with its text. A sixel over a sixel of the same box repaints no text."""
        overdraw = bool(encoded.sixel and self.sixel) and not self.awaited
        self.key, self.sixel, self._strips = key, encoded.sixel, strips
        self.awaited = False
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

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Leave colours alone: photos are made of them, and kitty's names are colours."""
        return []

    def strips(self, width: int, height: int) -> Sequence[Strip]:
        """Return the picture, the skeleton, or nothing, as under a dialogue."""
        style = self.visual_style.rich_style
        if self.app.screen is not self.screen:
            return [Strip.blank(width, style)] * height
        if self.awaited:
            return [Strip([Segment(_SKELETON * width, style)], width)] * height
        drawn = [strip.adjust_cell_length(width, style) for strip in self._strips[:height]]
        return drawn + [Strip.blank(width, style)] * (height - len(drawn))


class Caption(Direct, Static):
    """A title: cut where it has a single line, else wrapped between words."""

    def strips(self, width: int, height: int) -> Sequence[Strip]:
        """Return the title's lines, as many as there is room for."""
        content = Content(" ".join(str(self.content).split()))  # a line break is no break here
        lines = content.wrap(width)[:height] if height > 1 else [content]
        style = self.visual_style.rich_style
        drawn = [
            Strip([Segment(line.truncate(width, ellipsis=True, pad=True).plain, style)], width)
            for line in lines
        ]
        return drawn + [Strip.blank(width, style)] * (height - len(drawn))


class Slot(Vertical):
    """A picture with its caption, which cover it."""

    def __init__(self, repainted: Callable[[Picture], None], *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self.picture = Picture(repainted, id=f"{id}-picture")
        self.caption = Caption(id=f"{id}-caption", classes="caption", markup=False)

    def compose(self) -> ComposeResult:
        """Put the caption under the picture."""
        yield self.picture
        yield self.caption

    def render_lines(self, crop: Region) -> list[Strip]:
        """Draw nothing: what is not covered shows what lies behind."""
        return []

    def fit(self, size: tuple[int, int], caption_rows: int) -> None:
        """Take the picture's size in cells and the number of caption lines."""
        self.picture.styles.width, self.picture.styles.height = size
        self.caption.styles.width = size[0]
        self.caption.styles.height = caption_rows
        self.styles.width, self.styles.height = size[0], size[1] + caption_rows

    def title(self, text: str) -> None:
        """Set the caption; its box keeps its size."""
        self.caption.update(Content(text), layout=False)
