"""Thumbnails with captions, as search prints them, read back by a terminal emulator."""

import re

import pyte
import pytest

from furnclip.terminal import Terminal, draw
from furnclip.terminal.draw import cut
from tests.terminal.decode import KITTY, SIXEL, decode_sixel, difference, kitty_images, photo

IMAGES = [photo(120, 120, seed=n) for n in range(5)]
CAPTIONS = ["oak desk", "an extremely long caption that must be cut", "c", "d", "e"]


def _screen(data: bytes, columns: int = 60) -> list[str]:
    screen = pyte.Screen(columns, 60)
    pyte.ByteStream(screen).feed(data.replace(b"\n", b"\r\n"))
    return [line.rstrip() for line in screen.display]


def test_text_only_prints_captions() -> None:
    out = draw(IMAGES, columns=60, terminal=Terminal("text"), captions=CAPTIONS)
    assert [line.split() for line in _screen(out)[:1]] == [
        ["oak", "desk", "an", "extremely", "long\u2026", "c"]
    ]


def test_cells_lie_in_a_grid_above_their_captions() -> None:
    screen = _screen(draw(IMAGES, columns=60, terminal=Terminal("cells"), captions=CAPTIONS))
    assert screen[9].startswith("oak desk            an extremely long")
    blocks = [sum("\u2580" <= c <= "\u259f" for c in line) for line in screen]
    assert min(blocks[:9]) > 10
    assert blocks[9:11] == [0, 0]
    assert min(blocks[11:20]) > 10


def test_sixels_decode_and_are_placed_side_by_side() -> None:
    out = draw(IMAGES, columns=60, terminal=Terminal("sixel"), captions=CAPTIONS)
    pictures = SIXEL.findall(out)
    assert len(pictures) == 5
    for picture, source in zip(pictures, IMAGES, strict=True):
        assert difference(decode_sixel(picture), source.resize((180, 180))) < 8
    assert re.findall(rb"\x1b7\r(?:\x1b\[(\d+)C)?\x1bP", out) == [b"", b"20", b"40", b"", b"20"]
    assert _screen(SIXEL.sub(b"", out))[9].startswith("oak desk")


@pytest.mark.parametrize("tmux", [False, True])
def test_kitty_pictures_are_named_by_colour(*, tmux: bool) -> None:
    out = draw(IMAGES[:2], columns=60, terminal=Terminal("kitty", tmux=tmux), captions=["a", "b"])
    plain = out.replace(b"\x1bPtmux;", b"").replace(b"\x1b\x1b", b"\x1b")
    plain = plain.replace(b"\x1b\\\x1b\\", b"\x1b\\")
    pictures = kitty_images(plain)
    named = re.findall(rb"\x1b\[38;([\d;]+)m", KITTY.sub(b"", plain))[:2]
    ids = []
    for color in named:
        kind, *rest = (int(n) for n in color.split(b";"))
        ids.append(rest[0] if kind == 5 else (rest[0] << 16) + (rest[1] << 8) + rest[2])
    assert ids == list(pictures)
    assert all((n < 256) is tmux for n in ids)
    assert difference(pictures[ids[0]], IMAGES[0].resize((180, 180))) < 8


def test_captions_must_match_images() -> None:
    with pytest.raises(ValueError, match="captions"):
        draw(IMAGES, columns=60, terminal=Terminal("cells"), captions=["one"])


def test_cut_counts_wide_characters_and_drops_control_codes() -> None:
    assert cut("abc", 5) == "abc  "
    assert cut("abcdef", 5) == "abcd\u2026"
    assert cut("\u5317\u6b27\u6905\u5b50", 5) == "\u5317\u6b27\u2026"
    assert "\x1b" not in cut("a\x1b[31mb", 20)
