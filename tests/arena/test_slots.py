"""The whole command on a pty: each slot has its own product, in the mode and size at hand."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from pyte.graphics import FG_BG_256

from furnclip.arena.options import ArenaOptions
from furnclip.arena.session import ArenaSession
from furnclip.terminal.kitty import PLACEHOLDER
from tests.arena.fake_terminal import FakeTerminal
from tests.arena.project import make_project
from tests.arena.test_terminal import (
    BASIC,
    SKELETON,
    cell_pictures,
    leave,
    nearest,
    screen_text,
    thumbnails,
)
from tests.terminal.decode import decode_sixel, difference, kitty_images
from tests.terminal.test_probe import KITTY, XTERM


def _first_rows(options: ArenaOptions) -> list[int]:
    """Return the products of seed 1's first comparison at 80x24: query, row A, row B."""
    session = ArenaSession.open(replace(options, seed=1), k=4)
    session.grader.close()
    first = session.deck[0]
    assert first.query.row is not None
    return [first.query.row, *first.row_a, *first.row_b]


def _in_order(place: tuple[int, int]) -> tuple[bool, int, int]:
    """Sort places (x, y): the query's panel of 14 columns, then row A, then row B."""
    x, y = place
    return x >= 14, y, x


def test_every_slot_of_sixels_shows_its_own_product(tmp_path: Path) -> None:
    options = make_project(tmp_path)
    wanted, sources = _first_rows(options), thumbnails(options)
    with FakeTerminal.arena(tmp_path, "--seed", "1", reply=XTERM) as terminal:
        terminal.wait_for(lambda: len(terminal.sixels()) >= 9)
        terminal.settle()
        places = {(x, y): decode_sixel(data) for x, y, data in terminal.sixels()}
    seen = [nearest(places[place], sources)[1] for place in sorted(places, key=_in_order)]
    assert seen == wanted


def _palette(number: int) -> tuple[int, ...]:
    """Return what pyte makes of colour ``number``: the name of a picture, as a colour."""
    return tuple(bytes.fromhex(FG_BG_256[number]))


def test_every_slot_of_kitty_pictures_shows_its_own_product(tmp_path: Path) -> None:
    options = make_project(tmp_path)
    wanted, sources = _first_rows(options), thumbnails(options)
    with FakeTerminal.arena(tmp_path, "--seed", "1", reply=KITTY) as terminal:
        terminal.wait_for(lambda: terminal.data.count(PLACEHOLDER.encode()) > 500)
        terminal.settle()
        screen, data = terminal.cells(), terminal.data
    pictures = kitty_images(data)
    ids = {_palette(number): number for number in pictures}
    first = PLACEHOLDER + "\u0305\u0305"  # row 0, column 0 of a picture
    placed = {
        (x, y): ids[ink]
        for y, line in enumerate(screen)
        for x, (symbol, ink, _) in enumerate(line)
        if symbol == first
    }
    seen = [nearest(pictures[placed[p]], sources)[1] for p in sorted(placed, key=_in_order)]
    assert seen == wanted


def test_every_slot_of_cells_shows_its_own_product(tmp_path: Path) -> None:
    options = make_project(tmp_path)
    wanted, sources = _first_rows(options), thumbnails(options)
    with FakeTerminal.arena(tmp_path, "--seed", "1", reply=BASIC) as terminal:
        terminal.wait_for(lambda: len(cell_pictures(terminal)) == 9)
        terminal.settle()
        pictures = cell_pictures(terminal)
    seen = [
        min(range(len(sources)), key=lambda i: difference(p, sources[i].resize(p.size)))
        for p in pictures
    ]
    # found column by column: the query, then A above B
    pairs = zip(wanted[1:5], wanted[5:], strict=True)
    assert seen == [wanted[0], *(row for pair in pairs for row in pair)]


@pytest.mark.parametrize("how", ["--graphics", "TERM"])
def test_text_mode_writes_titles_and_no_picture(tmp_path: Path, how: str) -> None:
    make_project(tmp_path)
    chosen = ("--graphics", "text") if how == "--graphics" else ()
    environment = {"TERM": "dumb"} if how == "TERM" else {}
    with FakeTerminal.arena(
        tmp_path, "--seed", "1", *chosen, reply=KITTY, environment=environment
    ) as terminal:
        terminal.wait_for(lambda: screen_text(terminal).count("Product ") == 9)
        terminal.settle()
        assert "text" in terminal.screen()[0]
        assert not re.search("[\u2580-\u259f\U0010eeee]", screen_text(terminal))
        assert b"\x1bP0" not in terminal.data
        assert b"\x1b_G" not in terminal.data
        terminal.type("a")
        terminal.wait_for(lambda: "arena 2/" in terminal.screen()[0])


def test_without_colorterm_cells_are_drawn_in_256_colours(tmp_path: Path) -> None:
    make_project(tmp_path)
    plain = {"COLORTERM": "", "TERM": "xterm-256color"}
    with FakeTerminal.arena(tmp_path, "--seed", "1", reply=BASIC, environment=plain) as terminal:
        terminal.wait_for(lambda: len(re.findall("[\u2580-\u259f]", screen_text(terminal))) > 100)
        terminal.settle()
        assert re.search(rb"48;5;\d+m", terminal.data)
        assert not re.search(rb"[34]8;2;\d+;\d+;\d+m[^\x1b]*[\xe2]\x96[\x80-\x9f]", terminal.data)


def test_a_new_cell_size_redraws_the_pictures_to_fit(tmp_path: Path) -> None:
    make_project(tmp_path)
    with FakeTerminal.arena(tmp_path, "--seed", "1", reply=XTERM) as terminal:
        terminal.wait_for(lambda: len(terminal.sixels()) >= 9)
        terminal.settle()
        before = len(terminal.data)
        terminal._cell = (16, 32)  # the font was enlarged; the window has as many cells
        terminal.resize(90, 26)
        terminal.wait_for(lambda: len(terminal.sixels(terminal.data[before:])) >= 9)
        terminal.settle(1.0)
        last = terminal.sixels(terminal.data[before:])[-9:]
        for x, y, data in last:
            picture = decode_sixel(data)
            assert picture.width % 16 == 0
            assert x + picture.width // 16 <= 90
            assert y + -(-picture.height // 32) <= 25


def test_no_score_is_in_any_byte_before_the_end(tmp_path: Path) -> None:
    make_project(tmp_path)
    scores = re.compile(rb"win rate|e-value|prefer|decisive|ahead of", re.IGNORECASE)
    with FakeTerminal.arena(tmp_path, "--seed", "1", reply=BASIC) as terminal:
        for number, key in enumerate("abtx?"):
            expected = f"arena {number + 1}/"
            terminal.wait_for(lambda e=expected: e in terminal.screen()[0])  # type: ignore[misc]
            terminal.wait_for(lambda: SKELETON not in screen_text(terminal))
            terminal.settle()
            terminal.type(key)
        terminal.settle()
        assert not scores.search(terminal.data)
        terminal.type("\r")
        terminal.settle()
        assert scores.search(leave(terminal).encode())
