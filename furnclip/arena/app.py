"""The arena on screen: ``ArenaApp`` of the API document.

The app joins four parts: ``session`` (what is compared and recorded), ``board`` (where it stands),
``canvas`` (pictures) and ``driver`` (how they reach the terminal in one frame). Model names stay
out of everything written to the terminal until the statistics.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from textual import work
from textual.app import App

from furnclip.arena.board import Board
from furnclip.arena.canvas import Canvas, Circumstances
from furnclip.arena.driver import FrameDriver
from furnclip.arena.screens import HelpScreen, ResultsScreen
from furnclip.errors import FurnclipError
from furnclip.terminal.choose import Terminal

if TYPE_CHECKING:
    from furnclip.arena.deck import Comparison
    from furnclip.arena.options import ArenaOptions
    from furnclip.arena.session import ArenaSession
    from furnclip.arena.statistics import ArenaStatistics

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
        self.canvas = Canvas(self, terminal or Terminal("cells"))
        self.probe_complete = self.canvas.terminal.complete
        self.session: ArenaSession | None = None
        self.failure: FurnclipError | None = None
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
        if self.session is None or not self.is_running:
            return
        comparison = self.session.current
        if comparison is None:
            self.display_results()
            return
        self.board.write_texts(self.session, comparison, self.canvas.terminal.graphics)
        self.canvas.show(comparison)

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
            if self.canvas.complete_at is None or self.screen is not self.board:
                self._say(_LOADING)
                self._told_to_wait = True
                return
            seconds = time.monotonic() - self.canvas.complete_at
            if seconds < self.dwell_seconds:
                return
            details = self.canvas.circumstances(seconds)
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
        self.push_screen(HelpScreen(self.canvas.terminal.graphics, self.canvas.terminal.hint))

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
        self.canvas.measure_cells()
        return Board(
            self.canvas.note_repainted,
            most=self._resolved_options().k,
            cell=self.canvas.terminal.cell,
        )

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
        self.canvas.open(session)
        self.board.lay_out(session.k, self.canvas.terminal.cell)
        hint = self.canvas.terminal.hint
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
        self.canvas.measure_cells()
        most = self.session.k if self.session else self._resolved_options().k
        if self.board.lay_out(most, self.canvas.terminal.cell) is None:
            self.canvas.complete_at = None
        else:
            self.display_comparison()

    def on_unmount(self) -> None:
        """Stop encoding, and merge the last votes."""
        self.canvas.close()
        if self.session is not None:
            self.session.grader.close()

    def _say(self, text: str) -> None:
        if self.is_running:
            self.board.status(text)

    def _fail(self, error: FurnclipError) -> None:
        self.failure = error
        self.exit()

    # What the canvas and the driver ask for

    def on_pictures_complete(self) -> None:
        """Answer whoever pressed a key too early."""
        if self._told_to_wait:
            self._told_to_wait = False
            self._say(_QUESTION)

    def send(self, data: str) -> None:
        """Write escape codes that draw nothing."""
        if self._driver is not None:
            self._driver.write(data)

    def draw_between_frames(self, pictures: str) -> None:
        """Draw pictures that no frame took along, because no text changed."""
        if isinstance(self._driver, FrameDriver):
            self._driver.draw(pictures)

    def take_pictures(self) -> str:
        """Return the sixels of every picture whose text was just written again."""
        return self.canvas.take()

    def forget_pictures(self) -> str:
        """Return the escape codes that free what the terminal keeps."""
        return self.canvas.forget()


def run_arena(options: ArenaOptions, terminal: Terminal) -> ArenaApp:
    """Run the app until the user leaves; raise what made it stop early."""
    app = ArenaApp(options, terminal=terminal)
    app.run()
    if app.failure is not None:
        raise app.failure
    if app.return_code:  # a bug, whose traceback Textual has printed
        raise SystemExit(app.return_code)
    return app
