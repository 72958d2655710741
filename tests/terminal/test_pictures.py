"""Pictures survive the way into escape codes and back."""

import re

import numpy as np
import pytest
from PIL import Image

from furnclip.terminal import cells, kitty, sixel
from furnclip.terminal.fit import fit
from tests.terminal.decode import decode_sixel, difference, kitty_images, photo


@pytest.mark.parametrize("size", [(1, 6), (7, 12), (150, 156), (222, 222), (640, 6)])
def test_sixel_decodes_to_the_same_size_and_nearly_the_same_pixels(size: tuple[int, int]) -> None:
    source = photo(*size)
    assert difference(decode_sixel(sixel.encode(source, colors=256)), source) < 6


def test_sixel_of_few_colours_is_exact() -> None:
    pixels = np.zeros((12, 20, 3), dtype=np.uint8)
    pixels[3:9, 5:15] = 255
    source = Image.fromarray(pixels)
    assert difference(decode_sixel(sixel.encode(source)), source) == 0


def test_sixel_of_one_colour_is_a_few_runs() -> None:
    source = Image.new("RGB", (200, 60), (255, 0, 0))
    assert len(sixel.encode(source)) < 150
    assert difference(decode_sixel(sixel.encode(source)), source) == 0


def test_sixel_runs_of_every_length_are_exact() -> None:
    lengths = (1, 2, 3, 4, 9, 10, 11, 99, 100, 101, 999, 1000, 1001)
    flags = np.repeat([i % 2 for i in range(len(lengths))], lengths)
    pixels = np.zeros((6, len(flags), 3), dtype=np.uint8)
    pixels[:, flags == 1] = 255
    source = Image.fromarray(pixels)
    assert difference(decode_sixel(sixel.encode(source)), source) == 0


def test_sixel_height_must_be_whole_bands() -> None:
    assert sixel.floor_to_band(160) == 156
    with pytest.raises(ValueError, match="160"):
        sixel.encode(photo(20, 160))


def test_kitty_chunks_join_to_the_picture() -> None:
    source = photo(240, 240)
    commands = kitty.transmit(17, kitty.png(source), columns=24, rows=12)
    assert len(commands) > 1
    assert all(len(command) < 4200 for command in commands)
    assert b"U=1" in commands[0]
    assert b"c=24,r=12" in commands[0]
    assert all(b"q=2" in command for command in commands)
    assert difference(kitty_images(b"".join(commands))[17], source) < 6


def test_placeholder_lines_name_row_and_column_once() -> None:
    lines = kitty.placeholder_lines(5, 3)
    assert [line.count(kitty.PLACEHOLDER) for line in lines] == [5, 5, 5]
    assert [line[1:3] for line in lines] == ["\u0305\u0305", "\u030d\u0305", "\u030e\u0305"]
    with pytest.raises(ValueError, match="rows"):
        kitty.placeholder_lines(5, 1000)


def test_tmux_passthrough_doubles_escapes() -> None:
    assert kitty.through_tmux(b"\x1b_Gx\x1b\\") == b"\x1bPtmux;\x1b\x1b_Gx\x1b\x1b\\\x1b\\"


def test_image_ids_stay_within_eight_bits_and_recycle_the_oldest() -> None:
    ids = kitty.ImageIds()
    taken = [ids.take(n) for n in range(240)]
    assert (min(taken), max(taken), len(set(taken))) == (16, 255, 240)
    assert ids.get(0) == 16
    assert ids.take("new") == 17
    assert ids.get(1) is None
    assert ids.get(0) == 16
    assert ids.used() == list(range(16, 256))


_QUADRANTS = {" ": "    ", "\u2580": "##  ", "\u258c": "# # ", "\u259a": "#  #",
              "\u2598": "#   ", "\u259d": " #  ", "\u2596": "  # ", "\u2597": "   #"}  # fmt: skip


def _decode_truecolor(lines: list[str]) -> Image.Image:
    """Read blocks and colours back into 2x2 pixels a cell."""
    rows: list[list[list[int]]] = []
    for line in lines:
        upper: list[list[int]] = []
        lower: list[list[int]] = []
        ink, paper = [0, 0, 0], [0, 0, 0]
        for codes, symbol in re.findall(r"(?:\x1b\[([\d;]+)m)?([ \u2580-\u259f])", line):
            for plane, rgb in re.findall(r"([34]8);2;(\d+;\d+;\d+)", codes):
                color = [int(v) for v in rgb.split(";")]
                ink, paper = (color, paper) if plane == "38" else (ink, color)
            four = [ink if mark == "#" else paper for mark in _QUADRANTS[symbol]]
            upper += four[:2]
            lower += four[2:]
        rows += [upper, lower]
    return Image.fromarray(np.array(rows, dtype=np.uint8))


def test_blocks_of_two_colours_a_cell_are_exact() -> None:
    rng = np.random.default_rng(0)
    pixels = np.where(rng.random((16, 16, 1)) < 0.5, (250, 20, 20), (20, 20, 250))
    source = Image.fromarray(pixels.astype(np.uint8)).resize((16, 32), Image.Resampling.NEAREST)
    drawn = cells.blocks(source, 8, 8, background=(0, 0, 0))
    decoded = _decode_truecolor(cells.ansi_lines(drawn, "truecolor"))
    assert difference(decoded, Image.fromarray(pixels.astype(np.uint8))) == 0


def test_blocks_come_close_to_a_photo() -> None:
    source = photo(120, 120)
    drawn = cells.blocks(source, 30, 15, background=(0, 0, 0))
    decoded = _decode_truecolor(cells.ansi_lines(drawn, "truecolor"))
    assert difference(decoded.resize((60, 60)), source.resize((60, 60))) < 6


def test_flat_cells_are_spaces() -> None:
    drawn = cells.blocks(Image.new("RGB", (40, 40), (9, 200, 9)), 4, 2, background=(0, 0, 0))
    assert cells.ansi_lines(drawn, "truecolor") == ["\x1b[48;2;9;200;9m    \x1b[0m"] * 2


def test_256_colours_are_the_nearest_of_the_palette() -> None:
    pixels = np.array([[[255, 0, 0], [8, 8, 8], [0, 0, 0], [255, 255, 255]]], dtype=np.uint8)
    assert cells.to_256(pixels).tolist() == [[196, 232, 16, 231]]


def test_ascii_ramp_is_plain_and_ordered() -> None:
    pixels = np.zeros((4, 20, 3), dtype=np.uint8)
    pixels[:] = np.linspace(0, 255, 10, dtype=np.uint8).repeat(2)[None, :, None]
    drawn = cells.blocks(Image.fromarray(pixels), 10, 1, background=(0, 0, 0))
    assert cells.ansi_lines(drawn, "ascii") == [" .:-=+*#%@"]


@pytest.mark.parametrize("size", [(300, 100), (100, 300), (50, 50)])
def test_fit_keeps_the_aspect_and_is_centred(size: tuple[int, int]) -> None:
    fitted = np.asarray(fit(Image.new("RGB", size, (255, 0, 0)), 60, 60, background=(0, 0, 255)))
    assert fitted.shape == (60, 60, 3)
    red = (fitted[..., 0] > 128).nonzero()
    height, width = int(np.ptp(red[0])) + 1, int(np.ptp(red[1])) + 1
    assert width / height == pytest.approx(size[0] / size[1])
    assert (red[0].min(), red[1].min()) == ((60 - height) // 2, (60 - width) // 2)


def test_a_box_of_nearly_the_pictures_shape_is_filled_without_a_strip() -> None:
    fitted = fit(Image.new("RGB", (224, 224), "white"), 144, 150, background=(0, 0, 0))
    assert fitted.size == (144, 150)
    assert fitted.getextrema() == ((255, 255),) * 3
