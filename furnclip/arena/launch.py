"""From settings to a played session: ask the terminal, embed what is new, run, count."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from furnclip.arena.options import options_from
from furnclip.errors import UsageError

if TYPE_CHECKING:
    from furnclip.arena.statistics import ArenaStatistics
    from furnclip.config import Settings


@dataclass(frozen=True)
class Played:
    """What a session leaves: the statistics of the project and their report."""

    statistics: ArenaStatistics
    report: str


def play(
    settings: Settings, chosen: Mapping[str, object], *, announce: Callable[[str], None]
) -> Played:
    """Play one session and return the statistics.

    Raises ``UsageError`` without a terminal, ``DataError`` without vectors or queries.
    """
    from furnclip.terminal import detect

    options = options_from(settings, **chosen)
    _ = options.pairs
    terminal = detect(options.graphics)
    if not os.isatty(2):
        raise UsageError(
            "the arena draws on standard error, which is not a terminal",
            hint="run it without redirecting standard error",
        )
    if options.queries_file is not None or options.evaluation_dir.is_dir():
        from furnclip.arena.session import prepare_queries

        prepare_queries(options, announce=announce)
    if terminal.depth == "truecolor":
        os.environ.setdefault("TEXTUAL_COLOR_SYSTEM", "truecolor")  # read when Textual is imported
    if os.environ.get("TERM") in {"dumb", "unknown"}:  # rich would say 80x25, whatever the size
        os.environ["TERM"] = "ansi"
    from furnclip.arena.app import run_arena

    app = run_arena(options, terminal)
    from furnclip.arena.grading import ArenaGrader
    from furnclip.arena.report import report
    from furnclip.state import StateStore

    grader = app.session.grader if app.session else ArenaGrader(StateStore(options.state_file))
    statistics = grader.compute_statistics()
    return Played(statistics, report(statistics))
