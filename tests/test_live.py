"""The curves and bars a person sees, drawn into a string."""

import io
import re
import time

import pytest
from rich.console import Console

from furnclip.braille import curve, labelled
from furnclip.live import LiveProgress


def dots(lines: list[str]) -> set[tuple[int, int]]:
    """Return the (column, row) of every dot."""
    bits = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
    return {
        (2 * x + right, 4 * y + down)
        for y, line in enumerate(lines)
        for x, letter in enumerate(line)
        for down in range(4)
        for right in range(2)
        if (ord(letter) - 0x2800) & bits[down][right]
    }


def test_falling_line_goes_from_the_top_left_to_the_bottom_right() -> None:
    found = dots(curve([3, 2, 1, 0], width=2, height=1))
    assert found == {(0, 0), (1, 1), (2, 2), (3, 3)}


def test_steep_step_is_drawn_without_a_gap() -> None:
    found = dots(curve([1, 1, 0, 0], width=2, height=2))
    assert {(0, 0), (1, 0), (3, 7)} <= found
    assert {row for column, row in found if column == 2} == set(range(1, 8))


@pytest.mark.parametrize("values", [[0.5], [2.0, 2.0], list(range(10_000)), [-1e-12, 5e11]])
def test_any_number_of_values_fits_the_width(values: list[float]) -> None:
    lines = labelled("loss", values, width=30, height=4)
    assert [len(line) for line in lines] == [30] * 5
    assert lines[-1].strip().startswith("loss")


def test_many_values_are_averaged() -> None:
    flat = curve([0.0, 1.0] * 500, width=5, height=1)
    assert flat == curve([0.5], width=5, height=1)


def test_display_shows_note_and_curves_side_by_side() -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=100, markup=False)
    progress = LiveProgress(console)
    with progress.task("training", total=4, unit="pairs") as task:
        for step in range(4):
            task.point("loss", 4.0 - step)
            task.point("nDCG", step / 10)
            task.advance()
        task.note("epoch 1/2 · [/loss] 1.0")
    text = written.getvalue()
    assert "epoch 1/2 · [/loss] 1.0" in text
    last = [line for line in text.splitlines() if "loss 1" in line][-1]
    assert "nDCG 0.3" in last
    assert "pairs/s" in text


def test_a_high_rate_is_written_out() -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=100, markup=False)
    with LiveProgress(console).task("reading", total=30_000, unit="rows") as task:
        for _ in range(3):
            time.sleep(0.002)
            task.advance(10_000)
    (*_, rate) = re.findall(r"(\S+) rows/s", written.getvalue())
    assert re.fullmatch(r"\d{1,3}(,\d{3})+", rate)


def test_long_run_keeps_few_points_and_the_whole_curve() -> None:
    progress = LiveProgress(Console(file=io.StringIO(), width=100))
    with progress.task("training", total=1) as task:
        for step in range(20_000):
            task.point("loss", float(20_000 - step))
        values = progress._bars.curves["loss"]
        assert len(values) < 4096
        assert values[0] > 19_000
        assert values[-1] == 1.0
