"""The reply parser against the replies of real terminals, whole, split, late and absent."""

import os
import pty
import threading
import time

import pytest

from furnclip.terminal.probe import QUERY, Replies, parse_replies, probe

XTERM = b"\x1bP>|XTerm(379)\x1b\\\x1b[4;316;484t\x1b[?63;1;2;4;6;9;15;16;22;28c"
KITTY = b"\x1bP>|kitty(0.41.1)\x1b\\\x1b[6;20;10t\x1b[4;480;800t\x1b[?62;c"
MLTERM = b"\x1b[6;17;8t\x1b[4;408;640t\x1b[?63;1;2;3;4;7;29c"
FOOT = b"\x1bP>|foot(1.16.2)\x1b\\\x1b[6;19;9t\x1b[4;456;720t\x1b[?62;4;22c"
TMUX = b"\x1bP>|tmux 3.5a\x1b\\\x1b[?1;2;4c"
SCREEN = b"\x1b[?1;2c"


@pytest.mark.parametrize(
    ("data", "name", "cell", "area", "sixel"),
    [
        (XTERM, "XTerm(379)", None, (484, 316), True),
        (KITTY, "kitty(0.41.1)", (10, 20), (800, 480), False),
        (MLTERM, None, (8, 17), (640, 408), True),
        (FOOT, "foot(1.16.2)", (9, 19), (720, 456), True),
        (TMUX, "tmux 3.5a", None, None, True),
        (SCREEN, None, None, None, False),
    ],
)
def test_replies_of_real_terminals(
    *,
    data: bytes,
    name: str | None,
    cell: tuple[int, int] | None,
    area: tuple[int, int] | None,
    sixel: bool,
) -> None:
    replies = parse_replies(data)
    assert (replies.name, replies.cell, replies.text_area) == (name, cell, area)
    assert replies.attributes is not None
    assert (4 in replies.attributes) is sixel
    assert replies.typed == b""
    assert replies.complete


def test_silence_is_no_reply() -> None:
    assert parse_replies(b"") == Replies()
    assert not parse_replies(b"").complete


def test_reply_cut_short_is_incomplete() -> None:
    for end in range(1, len(XTERM)):
        assert not parse_replies(XTERM[:end]).complete


def test_keystrokes_between_replies_are_kept_apart() -> None:
    cut = KITTY.index(b"\x1b[6")
    replies = parse_replies(b"a" + KITTY[:cut] + b"b" + KITTY[cut:] + b"q\x1b[A")
    assert replies.typed == b"abq"
    assert replies.name == "kitty(0.41.1)"
    assert replies.cell == (10, 20)


def test_zero_sizes_count_as_no_reply() -> None:
    assert parse_replies(b"\x1b[6;0;0t\x1b[?62c").cell is None


def _answer(master: int, pieces: list[bytes]) -> threading.Thread:
    def run() -> None:
        asked = b""
        while not asked.endswith(QUERY):
            asked += os.read(master, 64)
        for piece in pieces:
            time.sleep(0.005)  # a read of its own for each piece
            os.write(master, piece)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_probe_waits_for_a_reply_that_comes_in_pieces(size: int) -> None:
    master, slave = pty.openpty()
    pieces = [XTERM[i : i + size] for i in range(0, len(XTERM), size)]
    thread = _answer(master, pieces)
    try:
        replies = probe(slave, slave, budget_seconds=20)
    finally:
        thread.join()
        os.close(master)
        os.close(slave)
    assert replies == parse_replies(XTERM)


def test_reply_after_the_budget_is_late_not_wrong() -> None:
    master, slave = pty.openpty()
    late = threading.Timer(0.3, os.write, (master, XTERM))
    late.start()
    try:
        replies = probe(slave, slave, budget_seconds=0.05)
        assert (replies, replies.complete) == (Replies(), False)
    finally:
        late.join()
        os.close(master)
        os.close(slave)


def test_probe_gives_up_on_a_silent_terminal_and_restores_its_mode() -> None:
    import termios

    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    try:
        assert probe(slave, slave, budget_seconds=0.05) == Replies()
        assert termios.tcgetattr(slave) == before
    finally:
        os.close(master)
        os.close(slave)


def test_control_c_during_the_probe_interrupts() -> None:
    master, slave = pty.openpty()
    thread = _answer(master, [b"\x03" + XTERM])
    try:
        with pytest.raises(KeyboardInterrupt):
            probe(slave, slave, budget_seconds=20)
    finally:
        thread.join()
        os.close(master)
        os.close(slave)
