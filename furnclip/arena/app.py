"""The arena on screen: ``ArenaApp`` of the API document.

The app joins four parts: ``session`` (what is compared and recorded), ``board`` (where it stands),
``gallery`` (pictures) and ``driver`` (how they reach the terminal in one frame). Model names stay
out of everything written to the terminal until the statistics.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from typing import TYPE_CHECKING, TypedDict

from textual import work
from textual.app import App
from textual.color import Color

from furnclip.arena.board import Board, Item
from furnclip.arena.driver import FrameDriver
from furnclip.arena.gallery import Gallery
from furnclip.arena.pictures import PictureKey
from furnclip.arena.screens import HelpScreen, ResultsScreen
from furnclip.errors import FurnclipError
from furnclip.terminal.choose import Terminal, cell_size
from furnclip.terminal.detect import window_size
from furnclip.terminal.probe import Replies

if TYPE_CHECKING:
    from furnclip.arena.deck import Comparison
    from furnclip.arena.options import ArenaOptions
    from furnclip.arena.session import ArenaSession
    from furnclip.arena.statistics import ArenaStatistics
    from furnclip.arena.widgets import Picture

_PREFETCH = 2
_QUESTION = "which row answers the query better?"
_LOADING = "still loading"
_VOTES = {"a": "A", "b": "B", "t": "tie", "x": "bad", "n": "skip"}
_SAID = {
    "A": "A is better: noted. u takes it back",
    "B": "B is better: noted. u takes it back",
    "tie": "a tie: noted. u takes it back",
    "bad": "both bad: noted. u takes it back",
    "skip": "skipped. u goes back",
}


class Circumstances(TypedDict, total=False):
    """How a comparison looked and how long it took: what is stored with the vote."""

    seconds: float
    graphics: str
    thumbnail: tuple[int, int]
    shown: int


class ArenaApp(App[None]):
    """Two blind rows of hits for a query, judged by one key.

    Without arguments it takes everything from the settings and draws half blocks; ``furnclip
    arena`` asks the terminal first. Nothing is read before ``run`` or the first ``next_query``.
    """

    TITLE = "furnclip arena"
    CSS_PATH = "app.tcss"
    dwell_seconds = 0.12  # a key that bounces must not judge what nobody has seen

    def __init__(
        self, options: ArenaOptions | None = None, *, terminal: Terminal | None = None
    ) -> None:
        super().__init__(driver_class=FrameDriver)
        self._options = options
        self._terminal = terminal or Terminal("cells")
        self.probe_complete = self._terminal.complete
        self.session: ArenaSession | None = None
        self.failure: FurnclipError | None = None
        self._gallery: Gallery | None = None
        self._repainted: set[Picture] = set()
        self._complete_at: float | None = None
        self._told_to_wait = False

    # The methods of the API document

    def next_query(self) -> Comparison | None:
        """Go on to the next comparison and show it; None after the last, which ends the session.

        Without a running app it opens the session, so a script can walk through the deck.
        """
        if self.session is None:
            self.session = self._open_session()
        comparison = self.session.advance()
        self.display_comparison()
        return comparison

    def display_comparison(self) -> None:
        """Show the current comparison; pictures that are not ready yet show a skeleton."""
        if self.session is None or self._gallery is None or not self.is_running:
            return
        comparison = self.session.current
        if comparison is None:
            self.display_results()
            return
        self._complete_at = None
        self.board.write_texts(self.session, comparison, self._terminal.graphics)
        for picture, key in self._keys(comparison):
            self._gallery.show(picture, key)
        self._note_completion()
        self.call_after_refresh(self._after_frame)

    def handle_keypress(self, key: str) -> None:
        """Do what a key means, as if it had been typed: a b t x n vote, u undoes, q ends."""
        key = key.lower()
        if key in _VOTES:
            self.action_judge(_VOTES[key])
        elif key == "u":
            self.action_undo()
        elif key == "q" and self.is_running:
            self.action_finish()
        elif key == "?" and self.is_running:
            self.action_help()

    def display_results(self) -> ArenaStatistics | None:
        """Show the statistics and the models' names; without a running app, return them."""
        from furnclip.arena.grading import ArenaGrader
        from furnclip.arena.report import report

        grader = self.session.grader if self.session else ArenaGrader()
        if not self.is_running:
            return grader.compute_statistics()
        self.push_screen(ResultsScreen(lambda: report(grader.compute_statistics())))
        return None

    # Actions

    def action_judge(self, choice: str) -> None:
        """Record a judgement and go on; ignored until the whole comparison is on screen."""
        session = self.session
        if session is None or session.current is None:
            return
        details: Circumstances = {}
        if self.is_running:
            if self._complete_at is None or self.screen is not self.board:
                self._say(_LOADING)
                self._told_to_wait = True
                return
            seconds = time.monotonic() - self._complete_at
            if seconds < self.dwell_seconds:
                return
            details = {"seconds": seconds, **self._circumstances()}
        try:
            session.vote(choice, **details)
        except FurnclipError as error:
            self._fail(error)
            return
        self._say(_SAID[choice])
        self.next_query()

    def action_undo(self) -> None:
        """Take the last judgement back and show its comparison again."""
        if self.session is None:
            return
        undone = self.session.undo() is not None
        self._say("taken back" if undone else "nothing to take back")
        if undone:
            self.display_comparison()

    def action_help(self) -> None:
        """Explain the keys."""
        self.push_screen(HelpScreen(self._terminal.graphics, self._terminal.hint))

    def action_finish(self) -> None:
        """End the session and show what the votes say; before it began, just leave."""
        if self.session is None:
            self.exit()
        else:
            self.display_results()

    # Life

    @property
    def board(self) -> Board:
        """The judging screen, also while another lies over it."""
        board = self.screen_stack[0]
        assert isinstance(board, Board)  # noqa: S101 (what get_default_screen returned)
        return board

    def get_default_screen(self) -> Board:
        """Begin with the judging screen."""
        return Board(self._repainted.add, most=self._resolved_options().k)

    def on_board_ready(self) -> None:
        """Paint at once; read the vectors behind it."""
        self.theme_changed_signal.subscribe(self, lambda _theme: self.display_comparison())
        self.on_board_resized()
        self._begin()

    @work(thread=True, exclusive=True)
    def _begin(self) -> None:
        try:
            session = self._open_session()
        except FurnclipError as error:
            self.call_from_thread(self._fail, error)
            return
        self.call_from_thread(self._start, session)

    def _start(self, session: ArenaSession) -> None:
        self.session = session
        self._open_gallery()
        self.board.lay_out(session.k, self._terminal.cell)
        hint = self._terminal.hint
        self._say(f"sharper pictures: {hint}" if hint else _QUESTION)
        self.next_query()

    def _open_session(self) -> ArenaSession:
        from furnclip.arena.session import ArenaSession

        layout = self.board.arrangement if self.is_running else None
        return ArenaSession.open(self._resolved_options(), k=layout.shown if layout else None)

    def _resolved_options(self) -> ArenaOptions:
        if self._options is None:
            from furnclip.arena.options import options_from
            from furnclip.config import load_settings

            self._options = options_from(load_settings())
        return self._options

    def on_board_resized(self) -> None:
        """Lay out again; the cells may have changed with the font."""
        self._measure_cells()
        most = self.session.k if self.session else self._resolved_options().k
        if self.board.lay_out(most, self._terminal.cell) is None:
            self._complete_at = None
        else:
            self.display_comparison()

    def on_unmount(self) -> None:
        """Stop encoding, and merge the last votes."""
        if self._gallery is not None:
            self._gallery.close()
        if self.session is not None:
            self.session.grader.close()

    def _say(self, text: str) -> None:
        if self.is_running:
            self.board.status(text)

    def _fail(self, error: FurnclipError) -> None:
        self.failure = error
        self.exit()

    # Pictures

    def take_pictures(self) -> str:
        """Return the sixels of every picture whose text was just written again."""
        repainted = list(self._repainted)
        self._repainted.clear()
        if self.screen is not self.board or self.board.arrangement is None:
            return ""
        return "".join(
            f"\x1b[{picture.region.y + 1};{picture.region.x + 1}H{picture.sixel}"
            for picture in repainted
            if picture.sixel and picture.is_attached and picture.region
        )

    def forget_pictures(self) -> str:
        """Return the escape codes that free what the terminal keeps."""
        return self._gallery.forget() if self._gallery else ""

    def _draw_without_frame(self) -> None:
        """Draw pictures that no frame took along, because no text changed."""
        if isinstance(self._driver, FrameDriver):
            self._driver.draw(self.take_pictures())

    def _after_frame(self) -> None:
        """Draw what is left, then encode ahead: not before, to leave the frame the processor."""
        self._draw_without_frame()
        if self.session is None or self._gallery is None:
            return
        for coming in self.session.ahead(_PREFETCH):
            self._gallery.prefetch(key for _, key in self._keys(coming) if key is not None)

    def _keys(self, comparison: Comparison) -> list[tuple[Picture, PictureKey | None]]:
        pairs = self.board.assignments(comparison)
        return [(slot.picture, self._key(slot.picture, item)) for slot, item in pairs]

    def _key(self, picture: Picture, item: Item | None) -> PictureKey | None:
        layout = self.board.arrangement
        if item is None or layout is None or self._terminal.graphics == "text":
            return None
        box = layout.query if picture.id == "query-slot-picture" else layout.thumbnail
        color = Color.parse(self.theme_variables["background"])
        return PictureKey(item, *box, (color.r, color.g, color.b))

    def _arrived(self, key: PictureKey) -> None:
        """Hand over from the encoder's thread to the app's."""
        if self.is_running:
            self.call_later(self._place, key)

    def _place(self, key: PictureKey) -> None:
        if self._gallery is not None:
            self._gallery.place(key, self.board.pictures())
            self._note_completion()
            self.call_after_refresh(self._draw_without_frame)

    def _note_completion(self) -> None:
        """Start the clock once nothing is awaited any more."""
        if self._complete_at is not None or self.board.arrangement is None:
            return
        if not any(picture.awaited for picture in self.board.pictures()):
            self._complete_at = time.monotonic()
            if self._told_to_wait:
                self._told_to_wait = False
                self._say(_QUESTION)

    def _open_gallery(self) -> None:
        if self._gallery is not None:
            self._gallery.close()
        if self.session is not None:
            self._gallery = Gallery(
                self.session.picture, self._terminal, write=self._send, arrived=self._arrived
            )

    def _send(self, data: str) -> None:
        if self._driver is not None:
            self._driver.write(data)

    def _circumstances(self) -> Circumstances:
        """Say how the comparison looked, for the record."""
        layout, cell = self.board.arrangement, self._terminal.cell
        size = (0, 0) if layout is None else layout.thumbnail
        return {
            "graphics": self._terminal.graphics,
            "thumbnail": (size[0] * cell[0], size[1] * cell[1]),
            "shown": layout.shown if layout else 0,
        }

    def _measure_cells(self) -> None:
        """Take the cell size from the kernel's window size, when it knows and it has changed.

        Asking the terminal again would send its reply through the keyboard.
        """
        if self.is_headless or self._terminal.tmux or sys.__stderr__ is None:
            return
        window = window_size(sys.__stderr__.fileno())
        cell = cell_size(Replies(), window)
        if all(window) and cell != self._terminal.cell:
            self._terminal = dataclasses.replace(self._terminal, cell=cell)
            self._open_gallery()


def run_arena(options: ArenaOptions, terminal: Terminal) -> ArenaApp:
    """Run the app until the user leaves; raise what made it stop early."""
    app = ArenaApp(options, terminal=terminal)
    app.run()
    if app.failure is not None:
        raise app.failure
    if app.return_code:  # a bug, whose traceback Textual has printed
        raise SystemExit(app.return_code)
    return app
