"""The two streams: results on stdout, everything else on stderr.

User text is never read as rich markup: a path such as ``[/foo]`` would break it.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from furnclip.errors import FurnclipError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from furnclip.progress import Progress


class _Verbosity:
    quiet = False


def set_verbosity(*, quiet: bool, verbose: bool) -> None:
    """Hide notes and progress bars, or show library logs of level INFO (else WARNING)."""
    _Verbosity.quiet = quiet
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("furnclip")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO if verbose else logging.WARNING)


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
) -> Table:
    """Return a table to draw; ``right`` holds the indices of right-aligned columns."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(columns):
        made.add_column(
            name,
            justify="right" if index in right else "left",
            overflow="fold",
            no_wrap=index == 0,
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
    if _Verbosity.quiet or not sys.stderr.isatty():
        from furnclip.progress import SILENT

        return SILENT
    from furnclip.live import LiveProgress

    return LiveProgress(err())


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    for convert in ("model_dump", "tolist", "isoformat"):
        if hasattr(value, convert):
            return getattr(value, convert)()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return str(value)
