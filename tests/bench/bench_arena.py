"""How fast the arena answers and how much it sends, measured on a pty.

``python -m tests.bench.bench_arena [PROJECT]`` prints one line a protocol and screen size: cold
start to first text and to first pictures, key to the last byte of the new pictures (p50, p95), and
bytes per query. PROJECT is a folder with vectors; without it one is drawn.
"""

import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.arena.fake_terminal import FakeTerminal
from tests.arena.project import make_project
from tests.terminal.test_probe import KITTY, XTERM

_MODES = {
    "sixel": (XTERM, b"\x1bP0"),
    "kitty": (KITTY, "\U0010eeee".encode()),
    "cells": (b"\x1b[?62c", b";48;2;"),
}
_SIZES = ((80, 24), (140, 44))
_PAUSE = 0.6


@dataclass(frozen=True)
class Measured:
    """Seconds and bytes of one run."""

    first_text: float
    first_pictures: float
    key_to_last_byte: list[float]
    bytes_per_query: list[int]


def measure(project: Path, mode: str, size: tuple[int, int], keys: int) -> Measured:
    """Play ``keys`` votes and time each; the cell size is the probe's or 10x20."""
    reply, mark = _MODES[mode]
    options = ("--graphics", mode, "--user", f"bench-{mode}-{size[0]}-{time.time_ns()}")
    with FakeTerminal.arena(project, *options, reply=reply, size=size) as terminal:
        terminal.wait_for(lambda: mark in terminal.data)
        terminal.settle(1.5)
        start = terminal.started
        first_text = _time_of(terminal, b"\x1b[?1049h", 0) - start
        first_pictures = _last_time_of(terminal, mark, 0) - start
        delays, sizes = [], []
        for _ in range(keys):
            before = len(terminal.data)
            pressed = time.monotonic()
            terminal.type("a")
            terminal.wait_for(lambda n=before: mark in terminal.data[n:])  # type: ignore[misc]
            terminal.settle(_PAUSE)
            delays.append(_last_time_of(terminal, mark, before) - pressed)
            sizes.append(len(terminal.data) - before)
    return Measured(first_text, first_pictures, delays, sizes)


def _time_of(terminal: FakeTerminal, mark: bytes, start: int) -> float:
    return _when(terminal, terminal.data.index(mark, start))


def _last_time_of(terminal: FakeTerminal, mark: bytes, start: int) -> float:
    """Return when the frame that holds the last ``mark`` was complete."""
    data = terminal.data
    last = data.rindex(mark, start)
    end = data.find(b"\x1b[?2026l", last)
    return _when(terminal, end if end >= 0 else last)


def _when(terminal: FakeTerminal, offset: int) -> float:
    for moment, chunk in terminal.chunks():
        offset -= len(chunk)
        if offset < 0:
            return moment
    raise AssertionError("past the end")


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(folder)
        if len(sys.argv) <= 1:
            make_project(project, products=200)
        print(f"{'':18}{'text':>8}{'pictures':>10}{'p50':>8}{'p95':>8}{'bytes/query':>13}")
        for size in _SIZES:
            for mode in _MODES:
                run = measure(project, mode, size, keys=20)
                delays = sorted(run.key_to_last_byte)
                print(
                    f"{mode:6}{size[0]:>5}x{size[1]:<6}{run.first_text:>7.2f}s"
                    f"{run.first_pictures:>9.2f}s{1000 * statistics.median(delays):>6.0f}ms"
                    f"{1000 * delays[round(0.95 * (len(delays) - 1))]:>6.0f}ms"
                    f"{statistics.mean(run.bytes_per_query):>13,.0f}"
                )


if __name__ == "__main__":
    main()
