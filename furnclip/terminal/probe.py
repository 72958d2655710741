"""One batched question to the terminal, and a parser for whatever comes back.

The question asks XTVERSION (name and version), the cell and text area in pixels (``CSI 16t``,
``CSI 14t``) and, last, the primary device attributes (DA1). Every terminal answers DA1 and answers
in order, so its reply ends the wait; a reply that never comes costs the budget and nothing else.
Source: xterm's ctlseqs, and the replies of the terminals named in the tests.
"""

from __future__ import annotations

import os
import re
import select
import termios
import time
import tty
from dataclasses import dataclass

QUERY = b"\x1b[>q\x1b[16t\x1b[14t\x1b[c"
BUDGET_SECONDS = 0.5

_XTVERSION = re.compile(rb"\x1bP>\|([^\x1b\x07\x9c]*)(?:\x1b\\|\x07|\x9c)")
_PIXELS = re.compile(rb"\x1b\[([46]);(\d+);(\d+)t")
_DA1 = re.compile(rb"\x1b\[\?([\d;]*)c")
_OTHER = re.compile(
    rb"\x1b[P_\]][^\x1b\x07\x9c]*(?:\x1b\\|\x07|\x9c)"  # DCS, APC and OSC strings
    rb"|\x1b\[[?>=]?[\d;]*\$?[A-Za-z~]"  # CSI replies and function keys
)


@dataclass(frozen=True)
class Replies:
    """What the terminal said; ``None`` where it said nothing. Sizes are (width, height) pixels."""

    name: str | None = None
    cell: tuple[int, int] | None = None
    text_area: tuple[int, int] | None = None
    attributes: frozenset[int] | None = None
    typed: bytes = b""

    @property
    def complete(self) -> bool:
        """True once DA1, the last reply, is in: no late reply can follow."""
        return self.attributes is not None


def parse_replies(data: bytes) -> Replies:
    """Read the replies out of ``data`` in any order; what is left was typed by the user."""
    name, attributes = _XTVERSION.search(data), _DA1.search(data)
    sizes = {
        kind: (int(width), int(height))
        for kind, height, width in _PIXELS.findall(data)
        if int(width) and int(height)
    }
    rest = data
    for pattern in (_XTVERSION, _PIXELS, _DA1, _OTHER):
        rest = pattern.sub(b"", rest)
    return Replies(
        name=name[1].decode("utf-8", "replace") if name else None,
        cell=sizes.get(b"6"),
        text_area=sizes.get(b"4"),
        attributes=frozenset(int(n) for n in attributes[1].split(b";") if n)
        if attributes
        else None,
        typed=rest,
    )


def probe(input_fd: int, output_fd: int, *, budget_seconds: float = BUDGET_SECONDS) -> Replies:
    """Ask the terminal behind the two descriptors and restore its mode.

    Ctrl-C typed meanwhile raises ``KeyboardInterrupt``.
    """
    before = termios.tcgetattr(input_fd)
    tty.setraw(input_fd, termios.TCSANOW)
    try:
        os.write(output_fd, QUERY)
        data, deadline = b"", time.monotonic() + budget_seconds
        while not _DA1.search(data) and (left := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select([input_fd], [], [], left)
            if not ready:
                break
            received = os.read(input_fd, 4096)
            if not received:
                break
            data += received
    finally:
        termios.tcsetattr(input_fd, termios.TCSADRAIN, before)
    replies = parse_replies(data)
    if b"\x03" in replies.typed:
        raise KeyboardInterrupt
    return replies
