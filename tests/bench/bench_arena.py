"""How fast the arena answers and how much it sends, measured on a pty, beside textual-image.

``python -m tests.bench.bench_arena [--project FOLDER] [--peer "PYTHON"] [--keys N]`` prints one
line a protocol and screen size: cold start to first text and to first pictures, key to the last
byte of the new pictures (p50, p95), and bytes per query. FOLDER holds vectors; without it one is
drawn. With ``--peer``, the python of an environment that has textual-image, the same photos in the
same layout on the same pty follow, and the ratios.
"""

import argparse
import io
import shlex
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from furnclip.arena.layout import fit_screen
from furnclip.vectors import MASTER, read_master
from tests.arena.fake_terminal import FakeTerminal
from tests.arena.project import make_project
from tests.terminal.test_probe import KITTY

_CELL = (10, 20)
_SIXEL = b"\x1bP>|XTerm(379)\x1b\\\x1b[6;20;10t\x1b[?63;1;2;4;6;9;15;16;22;28c"
# What the terminal says, and what only a picture contains: our frames, textual-image's frames.
_MODES = {
    "sixel": (_SIXEL, b"\x1bP0", b"\x1bP"),
    "kitty": (KITTY, "\U0010eeee".encode(), "\U0010eeee".encode()),
    "cells": (b"\x1b[?62c", b";48;2;", "\u2580".encode()),
}
_SIZES = ((80, 24), (140, 44))
_PAUSE = 0.6
_PEER = Path(__file__).with_name("textual_image_arena.py")


@dataclass(frozen=True)
class Measured:
    """Seconds and bytes of one run."""

    first_text: float
    first_pictures: float
    key_to_last_byte: list[float]
    bytes_per_query: list[int]

    @property
    def p50(self) -> float:
        return statistics.median(self.key_to_last_byte)

    @property
    def p95(self) -> float:
        ordered = sorted(self.key_to_last_byte)
        return ordered[round(0.95 * (len(ordered) - 1))]


def play(terminal: FakeTerminal, mark: bytes, keys: int, pause: float = _PAUSE) -> Measured:
    """Wait for the first pictures, then press ``keys`` times and time each."""
    terminal.wait_for(lambda: mark in terminal.data)
    terminal.settle(1.5 + pause)
    first_text = _time_of(terminal, b"\x1b[?1049h", 0) - terminal.started
    first_pictures = _last_time_of(terminal, mark, 0) - terminal.started
    delays, sizes = [], []
    for _ in range(keys):
        before = len(terminal.data)
        pressed = time.monotonic()
        terminal.type("a")
        terminal.wait_for(lambda n=before: mark in terminal.data[n:])  # type: ignore[misc]
        terminal.settle(pause)
        delays.append(_last_time_of(terminal, mark, before) - pressed)
        sizes.append(len(terminal.data) - before)
    return Measured(first_text, first_pictures, delays, sizes)


def ours(project: Path, mode: str, size: tuple[int, int], keys: int) -> Measured:
    """Measure the arena itself."""
    reply, mark, _ = _MODES[mode]
    options = ("--graphics", mode, "--user", f"bench-{mode}-{size[0]}-{time.time_ns()}")
    with FakeTerminal.arena(project, *options, reply=reply, size=size, cell=_CELL) as terminal:
        return play(terminal, mark, keys)


def theirs(peer: list[str], photos: Path, mode: str, size: tuple[int, int], keys: int) -> Measured:
    """Measure the same layout of textual-image's widgets."""
    reply, _, mark = _MODES[mode]
    layout = fit_screen(*size, 5, _CELL)
    assert layout is not None
    numbers = (layout.panel_columns, layout.shown, *layout.thumbnail, layout.query[1])
    command = [*peer, str(_PEER), str(photos), mode, *map(str, numbers)]
    with FakeTerminal(
        command, folder=photos, reply=reply, size=size, cell=_CELL, answer_all=True
    ) as terminal:
        return play(terminal, mark, keys, pause=1.2)


def _time_of(terminal: FakeTerminal, mark: bytes, start: int) -> float:
    return _when(terminal, terminal.data.index(mark, start))


def _last_time_of(terminal: FakeTerminal, mark: bytes, start: int) -> float:
    """Return when the frame that holds the last ``mark`` was complete."""
    data = terminal.data
    last = data.rindex(mark, start)
    end = min(
        (at for code in (b"\x1b[?2026l", b"\x1b\\") if (at := data.find(code, last)) >= 0),
        default=last,
    )
    return _when(terminal, end)


def _when(terminal: FakeTerminal, offset: int) -> float:
    for moment, chunk in terminal.chunks():
        offset -= len(chunk)
        if offset < 0:
            return moment
    raise AssertionError("past the end")


def _unpack(project: Path, folder: Path, count: int = 120) -> None:
    """Write the project's thumbnails as files, for the peer."""
    master = read_master(project / "data" / "embeddings" / MASTER)
    for index in range(min(count, len(master))):
        with Image.open(io.BytesIO(master.thumbnail(index))) as image:
            image.convert("RGB").save(folder / f"{index:04d}.jpg", quality=95)


def _line(name: str, run: Measured) -> str:
    return (
        f"{name:36}{run.first_text:>7.2f}s{run.first_pictures:>9.2f}s{1000 * run.p50:>6.0f}ms"
        f"{1000 * run.p95:>6.0f}ms{statistics.mean(run.bytes_per_query):>13,.0f}"
    )


def compare(project: Path, peer: list[str], keys: int, out: Callable[[str], None]) -> None:
    """Run every protocol and size, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder)
        _unpack(project, photos)
        out(f"{'':36}{'text':>8}{'pictures':>10}{'p50':>8}{'p95':>8}{'bytes/query':>13}")
        for size in _SIZES:
            for mode in _MODES:
                name = f"{mode} {size[0]}x{size[1]}"
                mine = ours(project, mode, size, keys)
                out(_line(f"furnclip {name}", mine))
                if not peer:
                    continue
                other = theirs(peer, photos, mode, size, min(keys, 8))
                out(_line(f"textual-image {name}", other))
                size_ratio = statistics.mean(other.bytes_per_query) / statistics.mean(
                    mine.bytes_per_query
                )
                out(f"{'':4}p50 {other.p50 / mine.p50:.1f}x, bytes {size_ratio:.1f}x")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", type=Path)
    parser.add_argument("--peer", default="", help="command of a python that has textual-image")
    parser.add_argument("--keys", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = options.project or Path(folder)
        if options.project is None:
            make_project(project, products=200)
        compare(
            project, shlex.split(options.peer), options.keys, lambda line: print(line, flush=True)
        )


if __name__ == "__main__":
    main()
