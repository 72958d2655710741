"""The two streams: results on stdout, everything else on stderr.

User text is never read as rich markup: a path such as ``[/foo]`` would break it.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from furnclip.errors import FurnclipError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

    from furnclip.progress import Progress


class _Verbosity:
    quiet = False


def set_verbosity(*, quiet: bool, verbose: bool) -> None:
    """Hide notes and progress bars, or show library logs of level INFO (else WARNING)."""
    _Verbosity.quiet = quiet
    logger = logging.getLogger("furnclip")
    logger.handlers[:] = [_Notes()]
    logger.setLevel(logging.INFO if verbose else logging.WARNING)


class _Notes(logging.Handler):
    """Prints log lines above whatever display is live, instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print warnings as ``warn`` does, the rest as plain notes."""
        if record.levelno >= logging.WARNING:
            warn(record.getMessage())
        else:
            err().print(record.getMessage(), style="dim", soft_wrap=True)


@cache
def out() -> Console:
    """Return the console of stdout; a pipe gets wide lines, for no one sees them wrapped."""
    from rich.console import Console

    wide = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160
    return Console(markup=False, highlight=False, emoji=False, width=wide)


@cache
def err() -> Console:
    """Return the console of stderr."""
    from rich.console import Console

    return Console(stderr=True, markup=False, highlight=False, emoji=False)


def result(text: str) -> None:
    """Print a result line on stdout."""
    print(text)  # noqa: T201  results are plain text, never wrapped


def print_json(value: object) -> None:
    """Print ``value`` as indented JSON on stdout; dataclasses become objects, paths strings."""
    result(json.dumps(value, indent=2, ensure_ascii=False, default=_plain))


def table(
    title: str | None,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    right: Sequence[int] = (),
    no_wrap: bool = False,
) -> Table:
    """Return a table to draw; ``right`` holds the indices of right-aligned columns.

    ``no_wrap`` keeps every cell on one line; the first column's always are.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(columns):
        made.add_column(
            name,
            justify="right" if index in right else "left",
            overflow="fold",
            no_wrap=no_wrap or index == 0,
        )
    for row in rows:
        made.add_row(*(Text(str(cell)) for cell in row))
    return made


def print_table(
    title: str | None,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    right: Sequence[int] = (),
) -> None:
    """Print a table on stdout; ``right`` holds the indices of right-aligned columns."""
    out().print(table(title, columns, rows, right=right))


def say(text: str) -> None:
    """Print a note on stderr; hidden by --quiet."""
    if not _Verbosity.quiet:
        err().print(text, soft_wrap=True)


def next_step(text: str) -> None:
    """Print what to do next on stderr; hidden by --quiet."""
    if not _Verbosity.quiet:
        err().print(f"Next: {text}", style="cyan", soft_wrap=True)


def warn(text: str) -> None:
    """Print a warning on stderr."""
    err().print(f"Warning: {text}", style="yellow", soft_wrap=True)


def render_error(error: FurnclipError) -> None:
    """Print the error and its hint on stderr."""
    err().print(f"Error: {error.message}", style="bold red", soft_wrap=True)
    if error.hint:
        err().print(f"  {error.hint}", soft_wrap=True)


def progress() -> Progress:
    """Return progress bars on stderr, or a silent one when nobody can see them."""
    if not watched():
        from furnclip.progress import SILENT

        return SILENT
    from furnclip.live import LiveProgress

    return LiveProgress(err())


@contextmanager
def live(console: Console, *, keep: bool) -> Iterator[Callable[[RenderableType], None]]:
    """Yield a function that draws something in place of what it drew before.

    ``keep`` leaves the last drawing on the screen.
    """
    from rich.live import Live

    with Live(console=console, auto_refresh=False, transient=not keep) as display:
        yield lambda drawn: display.update(drawn, refresh=True)


def watched() -> bool:
    """Say whether somebody sees stderr and wants notes there."""
    return sys.stderr.isatty() and not _Verbosity.quiet


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    for convert in ("model_dump", "tolist", "isoformat"):
        if hasattr(value, convert):
            return getattr(value, convert)()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return str(value)
