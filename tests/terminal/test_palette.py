"""A picture's palette is its own, every colour of it is used, and it comes close."""

import numpy as np
import pytest
from PIL import Image

from furnclip.terminal.palette import reduce
from tests.terminal.decode import photo


def _restored(image: Image.Image, colors: int) -> np.ndarray:
    indices, palette = reduce(image, colors)
    assert len(palette) <= colors
    assert set(np.unique(indices).tolist()) == set(range(len(palette)))
    return np.array(palette, dtype=np.uint8)[indices]


def _error(left: np.ndarray, image: Image.Image) -> float:
    return float(((left.astype(float) - np.asarray(image, dtype=float)) ** 2).mean())


@pytest.mark.parametrize("colors", [2, 32, 64, 256])
def test_palette_comes_closer_than_median_cut_alone(colors: int) -> None:
    source = photo(150, 156)
    cut = source.quantize(colors, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    assert _error(_restored(source, colors), source) < _error(
        np.asarray(cut.convert("RGB")), source
    )


def test_few_colours_are_kept_exactly() -> None:
    pixels = np.zeros((8, 9, 3), dtype=np.uint8)
    pixels[2:, 3:] = (250, 128, 3)
    pixels[5:, 5:] = (255, 255, 255)
    assert np.array_equal(_restored(Image.fromarray(pixels), 32), pixels)


def test_one_pixel_and_one_colour_are_pictures_too() -> None:
    assert reduce(Image.new("RGB", (1, 1), (9, 8, 7)), 1)[1] == [(9, 8, 7)]


@pytest.mark.parametrize("colors", [0, 257])
def test_palette_size_must_fit_a_byte(colors: int) -> None:
    with pytest.raises(ValueError, match=str(colors)):
        reduce(photo(8, 8), colors)
