"""The one place that talks to the terminal and to tmux; everything else is a pure function."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace

from furnclip.errors import UsageError
from furnclip.terminal.choose import Terminal, TmuxClient, choose
from furnclip.terminal.probe import Replies, probe

_TMUX_FORMAT = (
    "#{client_termtype}|#{client_termfeatures}|#{allow-passthrough}|#{version}"
    "|#{client_cell_width}|#{client_cell_height}"
)


def detect(requested: str = "auto") -> Terminal:
    """Find out how to draw on the terminal of this process (at most half a second).

    Raises ``UsageError`` when standard input and output are not a terminal.
    """
    stdin, stdout = sys.__stdin__, sys.__stdout__
    if stdin is None or stdout is None or not (stdin.isatty() and stdout.isatty()):
        raise UsageError(
            "this needs a terminal, and standard input or output is not one",
            hint="run it in a terminal, without pipes; over ssh add -t",
        )
    if os.environ.get("TERM", "dumb") == "dumb":
        found = choose(Replies(), requested=requested, environment=os.environ)
        return replace(found, complete=True)  # it was asked nothing, so no reply can be late
    replies = probe(stdin.fileno(), stdout.fileno())
    return choose(
        replies,
        requested=requested,
        environment=os.environ,
        tmux=ask_tmux() if os.environ.get("TMUX") else None,
        window=window_size(stdout.fileno()),
    )


def window_size(fd: int) -> tuple[int, int, int, int]:
    """Columns, rows, width and height in pixels of the terminal at ``fd``; 0 where unknown."""
    import fcntl
    import struct
    import termios

    try:
        packed = fcntl.ioctl(fd, termios.TIOCGWINSZ, b"\0" * 8)
    except OSError:
        return 0, 0, 0, 0
    rows, columns, width, height = struct.unpack("4H", packed)
    return columns, rows, width, height


def ask_tmux() -> TmuxClient:
    """Ask tmux what its client can draw; an empty answer when it does not reply in a second."""
    if shutil.which("tmux") is None:
        return TmuxClient("", frozenset(), passthrough=False)
    try:
        answer = subprocess.run(
            ["tmux", "display", "-p", _TMUX_FORMAT],
            capture_output=True, text=True, timeout=1.0, check=False,
        ).stdout  # fmt: skip
    except subprocess.TimeoutExpired:
        answer = ""
    return parse_tmux(answer)


def parse_tmux(answer: str) -> TmuxClient:
    """Read tmux's answer to our format string; missing fields are empty."""
    fields = [*answer.strip().split("|"), *[""] * 6][:6]
    termtype, features, passthrough, version, width, height = fields
    number = re.match(r"(\d+)\.(\d+)", version)
    cell = (int(width), int(height)) if width.isdecimal() and height.isdecimal() else None
    return TmuxClient(
        termtype=termtype,
        features=frozenset(features.split(",")) - {""},
        passthrough=passthrough in {"on", "all", "1", "2"},
        version=(int(number[1]), int(number[2])) if number else (0, 0),
        cell=cell if cell and all(cell) else None,
    )
