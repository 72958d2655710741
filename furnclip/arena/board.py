"""The judging screen: header, query panel, two rows of slots, status line, keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Footer, Static

from furnclip.arena.layout import SMALLEST, Layout, fit_screen
from furnclip.arena.widgets import Picture, Slot

if TYPE_CHECKING:
    from furnclip.arena.deck import Comparison
    from furnclip.arena.session import ArenaSession

Item = int | Path


class Board(Screen[None]):
    """What a rater sees. It knows no session: it is told what to show."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a,A", "app.judge('A')", "A", key_display="a"),
        Binding("b,B", "app.judge('B')", "B", key_display="b"),
        Binding("t,T", "app.judge('tie')", "Tie", key_display="t"),
        Binding("x,X", "app.judge('bad')", "Both bad", key_display="x"),
        Binding("n,N", "app.judge('skip')", "Skip", key_display="n"),
        Binding("u,U", "app.undo", "Undo", key_display="u"),
        Binding("question_mark", "app.help", "Help", key_display="?"),
        Binding("q,Q", "app.finish", "Quit+stats", key_display="q"),
    ]

    class Ready(Message):
        """Every widget is there, and the first frame follows."""

    class Resized(Message):
        """The screen has another size."""

    def __init__(
        self, repainted: Callable[[Picture], None], *, most: int, cell: tuple[int, int]
    ) -> None:
        super().__init__(id="board")
        self._most, self._cell = most, cell
        self._query_slot = Slot(repainted, id="query-slot")
        self._row_slots = {
            letter: [Slot(repainted, id=f"{letter}{number}") for number in range(most)]
            for letter in ("a", "b")
        }
        self.arrangement: Layout | None = None

    def compose(self) -> ComposeResult:
        """Make as many slots as a row may ever have; a small screen hides some."""
        with Horizontal(id="top"):
            yield Static(id="top-left", markup=False)
            yield Static("? help", id="top-right")
        with Horizontal(id="body"):
            with Vertical(id="query-panel") as panel:
                panel.border_title = "query"
                yield self._query_slot
            with Vertical(id="rows"):
                yield from self._row("a")
                yield Static(id="rule")
                yield from self._row("b")
        yield Static("reading the vectors", id="status", markup=False)
        yield Static(id="refusal", markup=False)
        yield Footer(show_command_palette=False)

    def _row(self, name: str) -> ComposeResult:
        with Horizontal(id=f"row-{name}", classes="row"):
            yield Static(name.upper(), classes="letter")
            yield from self._row_slots[name]

    def on_mount(self) -> None:
        """Lay out before the first frame, so that it is the only one, and say so."""
        self.lay_out(self._most, self._cell)
        self.post_message(self.Ready())

    def on_resize(self, _event: events.Resize) -> None:
        """Let the app arrange the new size: it knows the cells and the session."""
        if self.is_mounted:
            self.post_message(self.Resized())

    async def on_click(self, event: events.Click) -> None:
        """Take a click into a row as a vote for it."""
        if event.widget is None:
            return
        ids = {node.id for node in event.widget.ancestors_with_self}
        for name in ("a", "b"):
            if f"row-{name}" in ids:
                await self.run_action(f"app.judge('{name.upper()}')")

    def lay_out(self, most: int, cell: tuple[int, int]) -> Layout | None:
        """Lay out for at most ``most`` thumbnails a row, or say that the screen is too small."""
        width, height = self.app.size  # the screen's own is not known before the first frame
        layout = self.arrangement = fit_screen(width, height, most, cell)
        self.query_one("#refusal").display = layout is None
        for name in ("#top", "#body", "#status"):
            self.query_one(name).display = layout is not None
        if layout is None:
            self.query_one("#refusal", Static).update(
                Content(
                    f"This screen has {width}x{height} cells; the arena needs "
                    f"{SMALLEST[0]}x{SMALLEST[1]}.\nMake the window larger, or press q."
                )
            )
            return None
        self.query_one("#query-panel").styles.width = layout.panel_columns
        self._query_slot.fit(layout.query, max(1, height - layout.query[1] - 5))
        line = "\N{BOX DRAWINGS LIGHT HORIZONTAL}" * (width - layout.panel_columns)
        self.query_one("#rule", Static).update(Content(line), layout=False)
        for slots in self._row_slots.values():
            for number, slot in enumerate(slots):
                slot.display = number < layout.shown
                slot.fit(layout.thumbnail, layout.caption_rows)
        for name in ("#row-a", "#row-b"):
            self.query_one(name).styles.height = layout.thumbnail[1] + layout.caption_rows
        return layout

    def write_texts(self, session: ArenaSession, comparison: Comparison, graphics: str) -> None:
        """Write the header and every caption; no model has a name here."""
        header = (
            f"arena {session.position + 1}/{len(session.deck)}",
            graphics,
            f"session {session.grader.session}",
        )
        text = " \N{MIDDLE DOT} ".join(header)
        self.query_one("#top-left", Static).update(Content(text), layout=False)
        for slot, item in self.assignments(comparison):
            if slot is self._query_slot:
                slot.title(comparison.query.caption)
            else:
                slot.title(session.caption(item) if isinstance(item, int) else "")

    def assignments(self, comparison: Comparison) -> list[tuple[Slot, Item | None]]:
        """Pair every visible slot with what it shows, the query first."""
        shown = self.arrangement.shown if self.arrangement else 0
        query = comparison.query
        pairs: list[tuple[Slot, Item | None]] = [
            (self._query_slot, query.row if query.path is None else query.path)
        ]
        for letter, rows in (("a", comparison.row_a), ("b", comparison.row_b)):
            for number, slot in enumerate(self._row_slots[letter][:shown]):
                pairs.append((slot, rows[number] if number < len(rows) else None))
        return pairs

    def pictures(self) -> list[Picture]:
        """Return every picture that has a place on this screen."""
        slots = [self._query_slot, *self._row_slots["a"], *self._row_slots["b"]]
        return [slot.picture for slot in slots if slot.display]

    def status(self, text: str) -> None:
        """Write the line above the keys."""
        self.query_one("#status", Static).update(Content(text), layout=False)
