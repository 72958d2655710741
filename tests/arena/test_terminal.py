"""The whole command on a pty: pictures decoded out of the byte stream, in every mode."""

import io
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from furnclip.arena.options import ArenaOptions
from furnclip.terminal.cells import SYMBOLS
from furnclip.terminal.fit import fit
from furnclip.terminal.kitty import PLACEHOLDER
from furnclip.vectors import MASTER, read_master
from tests.arena.fake_terminal import FakeTerminal
from tests.arena.project import SECRET, make_project
from tests.terminal.decode import decode_sixel, difference, kitty_images
from tests.terminal.test_probe import KITTY, XTERM

_SILENT = b""
BASIC = b"\x1b[?62c"
SKELETON = "\N{LIGHT SHADE}"  # where a picture is still awaited, and keys wait too


def thumbnails(options: ArenaOptions) -> list[Image.Image]:
    master = read_master(options.embeddings_dir / MASTER)
    return [Image.open(io.BytesIO(master.thumbnail(i))).convert("RGB") for i in range(len(master))]


def nearest(picture: Image.Image, sources: list[Image.Image]) -> tuple[float, int]:
    """Return the smallest difference to any source fitted into the picture's box, and which."""
    fitted = [fit(source, *picture.size, background=(0, 0, 0)) for source in sources]
    return min((difference(picture, source), i) for i, source in enumerate(fitted))


def screen_text(terminal: FakeTerminal) -> str:
    return "\n".join(terminal.screen())


def leave(terminal: FakeTerminal) -> str:
    terminal.type("q")
    terminal.wait_for(lambda: "Leave" in terminal.screen()[-1])
    terminal.wait_for(lambda: "Counting" not in "".join(terminal.screen()))
    terminal.type("q")
    assert terminal.process.wait(60) == 0
    return screen_text(terminal)


def test_sixels_are_the_photos_each_in_its_own_rectangle(tmp_path: Path) -> None:
    options = make_project(tmp_path)
    sources = thumbnails(options)
    with FakeTerminal.arena(tmp_path, "--seed", "1", reply=XTERM) as terminal:
        terminal.wait_for(lambda: len(terminal.sixels()) >= 9)
        terminal.settle()
        places = {(x, y): data for x, y, data in terminal.sixels()}
        boxes = []
        for (x, y), data in places.items():
            picture = decode_sixel(data)
            assert nearest(picture, sources)[0] < 12
            width, height = -(-picture.width // 10), -(-picture.height // 20)
            assert x + width <= 80
            assert y + height <= 23
            assert {line[x : x + width].strip() for line in terminal.screen()[y : y + height]} == {
                ""
            }
            boxes.append((x, y, x + width, y + height))
        assert len(boxes) == 9
        for i, one in enumerate(boxes):
            for other in boxes[i + 1 :]:
                assert not _overlap(one, other)
        before = len(terminal.data)
        terminal.type("a")
        terminal.wait_for(lambda: "arena 2/" in terminal.screen()[0])
        terminal.settle()
        drawn = terminal.sixels(terminal.data[before:])
        assert {(x, y) for x, y, _ in drawn} == set(places)
        leave(terminal)


def test_pictures_come_inside_synchronised_updates(tmp_path: Path) -> None:
    make_project(tmp_path)
    with FakeTerminal.arena(tmp_path, "--seed", "1", reply=XTERM, sync=False) as terminal:
        terminal.wait_for(lambda: len(terminal.sixels()) >= 9)
        terminal.settle()
        outside = re.sub(rb"\x1b\[\?2026h.*?\x1b\[\?2026l", b"", terminal.data, flags=re.DOTALL)
        assert b"\x1bP0" not in outside


@pytest.mark.parametrize(
    ("opens", "text", "closes"),
    [("?", "Which row is better?", "\r"), ("\x10", "Search for commands", "\x1b")],
    ids=["help", "palette"],
)
def test_what_lies_over_sixels_hides_them_and_leaves_them_drawn_again(
    tmp_path: Path, opens: str, text: str, closes: str
) -> None:
    make_project(tmp_path)
    with FakeTerminal.arena(tmp_path, "--seed", "1", reply=XTERM) as terminal:
        terminal.wait_for(lambda: len(terminal.sixels()) >= 9)
        terminal.settle()
        pictures = {(x, y): sixel for x, y, sixel in terminal.sixels()}
        before = len(terminal.data)
        terminal.type(opens)
        terminal.wait_for(lambda: any(text in line for line in terminal.screen()))
        terminal.settle()
        assert terminal.sixels(terminal.data[before:]) == []
        terminal.type(closes)
        terminal.wait_for(lambda: len(terminal.sixels(terminal.data[before:])) >= 9)
        terminal.settle(1.0)
        again = terminal.sixels(terminal.data[before:])
        # Textual paints a screen that comes back twice, and text erases a sixel: two rounds.
        assert len(pictures) == 9
        assert len(again) <= 18
        assert {(x, y): sixel for x, y, sixel in again[-9:]} == pictures


Box = tuple[int, int, int, int]


def _overlap(one: Box, other: Box) -> bool:
    beside = one[2] <= other[0] or other[2] <= one[0]
    return not (beside or one[3] <= other[1] or other[3] <= one[1])


def _unwrapped(data: bytes) -> bytes:
    data = data.replace(b"\x1bPtmux;", b"").replace(b"\x1b\x1b", b"\x1b")
    return data.replace(b"\x1b\\\x1b\\", b"\x1b\\")


def _placed_boxes(terminal: FakeTerminal) -> list[Box]:
    """Return the rectangle of cells of every placeholder colour on screen."""
    cells: dict[tuple[object, int], list[tuple[int, int]]] = {}
    for y, line in enumerate(terminal.cells(_unwrapped(terminal.data))):
        for x, (symbol, ink, _) in enumerate(line):
            if symbol.startswith(PLACEHOLDER):
                upper = (ink, 0) if (ink, 0) not in cells else (ink, _gap(cells[ink, 0], y))
                cells.setdefault(upper, []).append((x, y))
    boxes = []
    for places in cells.values():
        across, down = zip(*places, strict=True)
        box = (min(across), min(down), max(across) + 1, max(down) + 1)
        assert len(places) == (box[2] - box[0]) * (box[3] - box[1])
        boxes.append(box)
    return boxes


def _gap(places: list[tuple[int, int]], y: int) -> int:
    """Tell the same picture in the lower row (1) from another line of it in the upper (0)."""
    return int(y > places[-1][1] + 1)


@pytest.mark.parametrize("tmux", [False, True])
def test_kitty_pictures_are_sent_once_placed_by_id_and_deleted(
    tmp_path: Path, *, tmux: bool
) -> None:
    options = make_project(tmp_path)
    sources = thumbnails(options)
    environment = {}
    if tmux:
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "tmux").write_text("#!/bin/sh\necho 'kitty(0.41.1)|RGB|1|3.5a|10|20'\n")
        (folder / "tmux").chmod(0o755)
        environment = {"TMUX": "/tmp/tmux,1,0", "PATH": f"{folder}:/usr/bin:/bin"}
    with FakeTerminal.arena(
        tmp_path, "--seed", "1", reply=KITTY, environment=environment
    ) as terminal:
        terminal.wait_for(lambda: terminal.data.count(PLACEHOLDER.encode()) > 500)
        terminal.settle()
        boxes = _placed_boxes(terminal)
        leave(terminal)
        data = terminal.data
    if tmux:
        assert b"\x1bPtmux;\x1b\x1b_Ga=T" in data
        assert b"\x1b_G" not in data.replace(b"\x1b\x1b_G", b"")
        data = _unwrapped(data)
    pictures = kitty_images(data)
    assert len(boxes) == len(set(boxes)) >= 8
    for i, one in enumerate(boxes):
        assert one[2] <= 80
        assert one[3] <= 23
        assert not any(_overlap(one, other) for other in boxes[i + 1 :])
    placed = set(re.findall(rb"38;5;(\d+)(?:;48;[\d;]*)?m" + PLACEHOLDER.encode(), data))
    assert len(placed) >= 8
    assert {int(number) for number in placed} <= set(pictures)
    assert all(16 <= number <= 255 for number in pictures)
    assert max(nearest(picture, sources)[0] for picture in pictures.values()) < 12
    assert data.count(b"a=T") == len(pictures)
    assert {int(n) for n in re.findall(rb"a=d,d=I,q=2,i=(\d+)", data)} == set(pictures)


_LIT = dict(zip(SYMBOLS, ("", "01", "02", "03", "0", "1", "2", "3"), strict=True))


def cell_pictures(terminal: FakeTerminal) -> list[Image.Image]:
    """Cut the pictures out of the text screen, 2x2 pixels a cell; captions and frame are darker."""
    cells = terminal.cells()
    pixels = np.zeros((2 * len(cells), 2 * len(cells[0]), 3), dtype=np.uint8)
    for y, line in enumerate(cells):
        for x, (symbol, ink, paper) in enumerate(line):
            for corner in range(4) if symbol in _LIT else ():
                color = ink if str(corner) in _LIT[symbol] else paper
                pixels[2 * y + corner // 2, 2 * x + corner % 2] = color
    light = pixels.max(axis=2) > 60
    found = []
    for left, right in _runs(light.sum(axis=0) > 8):
        for top, bottom in _runs(light[:, left:right].mean(axis=1) > 0.6):
            picture = Image.fromarray(pixels[top:bottom, left:right])
            found.append(picture.resize((picture.width, 2 * picture.height)))  # square pixels
    return found


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= 6]


def test_cells_are_the_photos_where_nothing_better_is_known(tmp_path: Path) -> None:
    sources = thumbnails(make_project(tmp_path))
    with FakeTerminal.arena(tmp_path, "--seed", "1", reply=BASIC) as terminal:
        terminal.wait_for(lambda: len(cell_pictures(terminal)) == 9)
        terminal.settle()
        pictures = cell_pictures(terminal)
        assert len(pictures) == 9
        for picture in pictures:  # whole cells: the box is filled, stretched by half a cell
            assert min(difference(picture, s.resize(picture.size)) for s in sources) < 8
        assert b"\x1bP0" not in terminal.data
        assert b"\x1b_G" not in terminal.data


def test_ascii_locale_gets_no_block_characters_in_pictures(tmp_path: Path) -> None:
    make_project(tmp_path)
    plain = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "1"}
    with FakeTerminal.arena(tmp_path, "--seed", "1", reply=BASIC, environment=plain) as terminal:
        terminal.wait_for(lambda: screen_text(terminal).count("@") > 200)
        assert not re.search("[\u2580-\u259f]", screen_text(terminal))


def test_late_probe_replies_are_not_taken_for_votes(tmp_path: Path) -> None:
    make_project(tmp_path)
    with FakeTerminal.arena(tmp_path, "--seed", "1", reply=_SILENT) as terminal:
        terminal.wait_for(lambda: b"\x1b[?1049h" in terminal.data)
        terminal.type((b"\x1bP>|Konsole 23.08 batxnq\x1b\\" + XTERM).decode())
        terminal.wait_for(lambda: "arena 1/" in terminal.screen()[0])
        terminal.settle()
        assert "arena 1/" in terminal.screen()[0]


def test_model_names_are_in_no_byte_before_the_end(tmp_path: Path) -> None:
    make_project(tmp_path, models=tuple(SECRET.values()))
    names = ("--baseline", SECRET["base"], "--challenger", SECRET["tuned"])
    with FakeTerminal.arena(tmp_path, *names, reply=XTERM) as terminal:
        terminal.wait_for(lambda: len(terminal.sixels()) >= 9)
        for number, key in enumerate("abtxnu?"):
            terminal.settle(0.2)
            terminal.type(key)
            if key not in "?u":
                expected = f"arena {number + 2}/"
                terminal.wait_for(lambda e=expected: e in terminal.screen()[0])  # type: ignore[misc]
        terminal.settle()
        assert b"zebra" not in terminal.data
        terminal.type("\r")
        terminal.settle()
        assert "zebra-two" in leave(terminal)


def test_votes_before_kill_nine_are_counted(tmp_path: Path) -> None:
    make_project(tmp_path)
    with FakeTerminal.arena(tmp_path, "--seed", "1", reply=BASIC) as terminal:
        for number in range(3):
            expected = f"arena {number + 1}/"
            terminal.wait_for(lambda e=expected: e in terminal.screen()[0])  # type: ignore[misc]
            terminal.wait_for(lambda: SKELETON not in screen_text(terminal))
            terminal.settle()
            terminal.type("b")
        terminal.wait_for(lambda: "arena 4/" in terminal.screen()[0])
        terminal.process.send_signal(signal.SIGKILL)
        terminal.process.wait()
    stats = subprocess.run(
        [sys.executable, "-m", "furnclip", "arena", "stats", "--json"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    (pair,) = json.loads(stats.stdout)["pairs"]
    assert pair["wins"] + pair["losses"] == 3


def test_terminal_is_left_as_it_was(tmp_path: Path) -> None:
    make_project(tmp_path)
    with FakeTerminal.arena(tmp_path, reply=XTERM) as terminal:
        terminal.wait_for(lambda: len(terminal.sixels()) >= 9)
        terminal.settle()
        report = leave(terminal)
        tail = terminal.data[terminal.data.rfind(b"\x1b[?1049l") :]
        assert b"\x1b[?25h" in tail
        assert b"\x1bP0" not in tail
    assert "No votes yet" in report
