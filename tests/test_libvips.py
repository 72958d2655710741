"""Smaller images: the size asked for, in the middle, near to Lanczos, the same bits everywhere."""

import hashlib
import io
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from furnclip.images import fitted_size, letterbox
from furnclip.libvips import jpeg
from tests.test_images import photo


@given(st.integers(1, 300), st.floats(0.05, 20), st.integers(1, 64))
def test_any_size_lands_whole_in_the_middle(height: int, ratio: float, size: int) -> None:
    width = max(1, round(height * ratio))
    square = letterbox(Image.new("RGB", (width, height), (200, 10, 60)), size, color=(9, 8, 7))
    fitted_width, fitted_height = fitted_size((width, height), size)
    left, top = (size - fitted_width) // 2, (size - fitted_height) // 2
    expected = np.full((size, size, 3), (9, 8, 7), dtype=np.uint8)
    expected[top : top + fitted_height, left : left + fitted_width] = (200, 10, 60)
    assert np.array_equal(np.asarray(square), expected)


@pytest.mark.parametrize(("width", "size"), [(1000, 512), (500, 224), (3000, 224), (230, 224)])
def test_it_is_as_near_to_lanczos_as_pillows_bicubic(width: int, size: int) -> None:
    source = photo(width, width)
    lanczos, bicubic = (
        source.resize((size, size), kind, reducing_gap=gap)
        for kind, gap in ((Image.Resampling.LANCZOS, None), (Image.Resampling.BICUBIC, 2.0))
    )
    assert _decibels(letterbox(source, size), lanczos) > _decibels(bicubic, lanczos) - 1


def _decibels(a: Image.Image, b: Image.Image) -> float:
    error = (np.asarray(a).astype(float) - np.asarray(b)) ** 2
    return float(10 * np.log10(255**2 / error.mean()))


def test_the_bits_do_not_depend_on_simd() -> None:
    code = (
        "import hashlib\n"
        "from furnclip.images import letterbox\n"
        "from tests.test_images import photo\n"
        "print(hashlib.sha256(letterbox(photo(500, 400), 224).tobytes()).hexdigest())"
    )
    plain = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"VIPS_NOVECTOR": "1"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    here = hashlib.sha256(letterbox(photo(500, 400), 224).tobytes()).hexdigest()
    assert plain.stdout.strip() == here


@pytest.mark.parametrize("quality", [75, 95])
def test_jpegs_are_as_good_as_pillows(quality: int) -> None:
    source = photo(256, 224)
    buffer = io.BytesIO()
    source.save(buffer, "JPEG", quality=quality, subsampling=0)
    ours, theirs = (
        Image.open(io.BytesIO(data)) for data in (jpeg(source, quality=quality), buffer.getvalue())
    )
    assert ours.size == source.size
    assert _decibels(ours, source) > _decibels(theirs, source) - 0.05
