"""A pty with a pretended terminal behind it: answers the probe, keeps every byte, has a screen."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pyte

from furnclip.terminal.probe import QUERY
from tests.terminal.decode import KITTY, SIXEL

_SYNC_QUERY = b"\x1b[?2026$p"
_PRIVATE = re.compile(
    rb"\x1b\[[<>=][\d;]*[A-Za-z]|\x1b\[\?[\d;]*\$p|\x1bPtmux;|\x1b\]\d*;[^\x07]*\x07"
)
_POSITION = re.compile(rb"\x1b\[(\d+);(\d+)H$")


class FakeTerminal:
    """Runs a command on a pty of ``size`` (columns, rows) cells of ``cell`` pixels."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        reply: bytes,
        size: tuple[int, int] = (80, 24),
        cell: tuple[int, int] = (10, 20),
        environment: Mapping[str, str] | None = None,
        sync: bool = True,
        answer_all: bool = False,
    ) -> None:
        self.size = size
        self._reply = reply
        self._sync = sync
        self._answer_all = answer_all
        self._cell = cell
        self._master, slave = pty.openpty()
        self.resize(*size, notify=False)
        variables = {
            **{k: v for k, v in os.environ.items() if k not in {"TMUX", "COLUMNS", "LINES"}},
            "TERM": "xterm-256color", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8",
            "COLORTERM": "truecolor", **(environment or {}),
        }  # fmt: skip
        self._chunks: list[tuple[float, bytes]] = []
        self._lock = threading.Lock()
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            command, cwd=folder, env=variables, stdin=slave, stdout=slave, stderr=slave,
            start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @classmethod
    def arena(cls, folder: Path, *options: str, **values: object) -> Self:
        """Run ``furnclip arena`` in a project."""
        command = [sys.executable, "-m", "furnclip", "arena", *options]
        return cls(command, folder=folder, **values)  # type: ignore[arg-type]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._thread.join()
        os.close(self._master)

    @property
    def data(self) -> bytes:
        """Every byte the program wrote so far."""
        with self._lock:
            return b"".join(chunk for _, chunk in self._chunks)

    def chunks(self) -> list[tuple[float, bytes]]:
        """Return (monotonic time, bytes) of every read."""
        with self._lock:
            return list(self._chunks)

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def resize(self, columns: int, rows: int, *, notify: bool = True) -> None:
        self.size = (columns, rows)
        packed = struct.pack("4H", rows, columns, columns * self._cell[0], rows * self._cell[1])
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, packed)
        if notify:
            os.killpg(self.process.pid, signal.SIGWINCH)

    def wait_for(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline or (self.process.poll() is not None and not condition()):
                raise AssertionError("\n".join(self.screen()))
            time.sleep(0.05)

    def settle(self, quiet: float = 0.3) -> None:
        """Wait until nothing was written for a while."""
        while True:
            chunks = self.chunks()
            if chunks and time.monotonic() - chunks[-1][0] > quiet:
                return
            time.sleep(0.02)

    def screen(self, data: bytes | None = None) -> list[str]:
        """Return the text on screen, graphics cut out."""
        return list(self._emulate(self.data if data is None else data).display)

    def _emulate(self, data: bytes) -> pyte.Screen:
        screen = pyte.Screen(*self.size)
        text = KITTY.sub(b"", SIXEL.sub(b"", data))
        pyte.ByteStream(screen).feed(_PRIVATE.sub(b"", text))
        return screen

    def cells(
        self, data: bytes | None = None
    ) -> list[list[tuple[str, tuple[int, ...], tuple[int, ...]]]]:
        """Return (character, ink, paper) of every cell; colours are RGB, black where default."""
        screen = self._emulate(self.data if data is None else data)
        columns, rows = self.size
        return [
            [
                (cell.data, _rgb(cell.fg), _rgb(cell.bg))
                for cell in (screen.buffer[y][x] for x in range(columns))
            ]
            for y in range(rows)
        ]

    def sixels(self, data: bytes | None = None) -> list[tuple[int, int, bytes]]:
        """Return (column, row, sixel) of every picture, in the order drawn; 0-based cells."""
        stream = self.data if data is None else data
        found = []
        for match in SIXEL.finditer(stream):
            place = _POSITION.search(stream[: match.start()][-16:])
            assert place is not None, "a sixel without a position"
            found.append((int(place[2]) - 1, int(place[1]) - 1, match[0]))
        return found

    def _read(self) -> None:
        unanswered = True
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:
                return
            if not data:
                return
            with self._lock:
                self._chunks.append((time.monotonic(), data))
            if unanswered and QUERY in self.data:
                unanswered = False
                os.write(self._master, self._reply)
            if self._answer_all:
                self._answer(data)
            if _SYNC_QUERY in data and self._sync:
                os.write(self._master, b"\x1b[?2026;2$y")

    def _answer(self, data: bytes) -> None:
        """Answer each question for itself, as other programs ask them."""
        width, height = self._cell
        answers = {
            b"\x1b[16t": b"\x1b[6;%d;%dt" % (height, width),
            b"\x1b[14t": b"\x1b[4;%d;%dt" % (height * self.size[1], width * self.size[0]),
            b"\x1b[c": b"\x1b[?63;4c",
            b"a=q": b"\x1b_Gi=31;OK\x1b\\",
        }
        for question, answer in answers.items():
            if question in data:
                os.write(self._master, answer)


def _rgb(color: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(color)) if len(color) == 6 and color != "default" else (0, 0, 0)
