"""The arena in the real terminals that are installed, looked at through screenshots."""

import io
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from furnclip.arena.options import ArenaOptions
from furnclip.arena.session import ArenaSession
from furnclip.terminal.fit import fit
from tests.arena.project import make_project
from tests.arena.real_terminal import TERMINALS, RealTerminal, installed
from tests.terminal.decode import difference


def _shown(options: ArenaOptions, position: int) -> list[Image.Image]:
    """Return the thumbnails of one comparison of the deck that the seed lays out."""
    session = ArenaSession.open(options)
    session.grader.close()
    comparison = session.deck[position]
    rows = [*comparison.row_a, *comparison.row_b]
    return [Image.open(io.BytesIO(session.master.thumbnail(row))).convert("RGB") for row in rows]


def _boxes(screen: Image.Image) -> list[tuple[int, int, int, int]]:
    """Find the thumbnails: light rectangles of one size in two rows, right of the query."""
    light = np.asarray(screen).max(axis=2) > 120
    boxes = []
    down = light[:, 420:].sum(axis=1) > 300
    for top, bottom in _runs(down, 60):
        for left, right in _runs(light[top:bottom, 260:].mean(axis=0) > 0.5, 60):
            boxes.append((260 + left, top, 260 + right, bottom))
    return boxes


def _runs(flags: np.ndarray, shortest: int) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= shortest]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TERMINALS))
def test_every_thumbnail_is_on_the_screen_before_and_after_a_vote(
    tmp_path: Path, name: str
) -> None:
    if not installed(name):
        pytest.skip(f"{name}, Xvfb, ImageMagick or xdotool is not installed")
    options = make_project(tmp_path)
    command = [sys.executable, "-m", "furnclip", "arena", "--seed", "7", "--user", "ann"]
    with RealTerminal(TERMINALS[name], command, folder=tmp_path) as terminal:
        for position in range(2):
            sources = _shown(options, position)
            screen = terminal.wait_for(lambda image: len(_boxes(image)) == 10)
            for box, source in zip(_boxes(screen), sources, strict=True):
                seen = screen.crop(box)
                assert difference(seen, fit(source, *seen.size)) < 30
            if position == 0:
                terminal.type("a")
                time.sleep(2)
