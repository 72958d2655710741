"""Help and the last screen with the statistics."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen, Screen
from textual.widgets import Footer, Static

from furnclip.errors import FurnclipError

_HELP = """\
Two models answered the same query. Which row is better?

  a, b   that row is better (or click into it)
  t      they are equally good
  x      both are bad
  n      skip: no judgement
  u      take the last judgement back (as often as you like)
  q      quit and see the statistics
  ctrl+p command palette, themes

Which model stands in which row changes at random and stays hidden until the
end. Some comparisons come twice with the rows swapped, to see how far you
agree with yourself. Each key is on the disk before the next picture shows.
"""


class HelpScreen(ModalScreen[None]):
    """What the keys do, and how to see better pictures."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,space,q,question_mark", "dismiss", "Close")
    ]

    def __init__(self, graphics: str, hint: str | None) -> None:
        super().__init__()
        self._graphics = graphics
        self._hint = hint

    def compose(self) -> ComposeResult:
        """Show the text in a box."""
        text = f"{_HELP}\nPictures: {self._graphics}."
        if self._hint:
            text += f"\nSharper ones: {self._hint}"
        yield Static(Content(text), id="help")

    def on_click(self) -> None:
        """Close on a click anywhere."""
        self.dismiss()


class ResultsScreen(Screen[None]):
    """The statistics; from here one can only leave, since the models' names are out."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,Q,enter,escape", "app.quit", "Leave"),
    ]

    def __init__(self, compute: Callable[[], str]) -> None:
        super().__init__()
        self._compute = compute

    def compose(self) -> ComposeResult:
        """Show the report as soon as it is computed."""
        with VerticalScroll():
            yield Static(Content("Counting the votes"), id="report")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Begin to count."""
        self._count()

    @work(thread=True, exclusive=True)
    def _count(self) -> None:
        try:
            text = self._compute()
        except FurnclipError as error:
            text = f"{error.message}\n{error.hint or ''}\nThe votes are safe in the journal."
        self.app.call_from_thread(self.query_one("#report", Static).update, Content(text))
