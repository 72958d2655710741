"""The failure table of images: what is accepted, what is mended, and the reason of each refusal."""

import io
import random
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from furnclip.errors import ImageError
from furnclip.images import (
    encode_jpeg,
    fitted_size,
    letterbox,
    load_image,
    load_letterboxed,
    quiet_decoders,
)


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """A smooth random picture with some grain, so that JPEG has work to do."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (max(1, height // 16), max(1, width // 16), 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    noisy = np.asarray(smooth).astype(int) + rng.integers(-6, 7, (height, width, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def difference(a: Image.Image, b: Image.Image) -> float:
    return float(np.abs(np.asarray(a).astype(int) - np.asarray(b).astype(int)).mean())


def reason_of(data: bytes, **options: Any) -> str:
    with pytest.raises(ImageError) as caught:
        load_image(data, **options)
    return caught.value.reason


@pytest.mark.parametrize("data", [b"", b"hello", b"<html>404</html>", b"\xff\xd8\xff", b"GIF89a"])
def test_what_is_no_image_is_refused(data: bytes) -> None:
    assert reason_of(data) == "not_image"


def test_postscript_is_refused_because_decoding_it_runs_a_program() -> None:
    assert reason_of(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n") == "not_image"


def test_truncated_jpeg_is_refused_and_accepted_when_asked() -> None:
    whole = encoded(photo(400, 300), quality=90)
    cut = whole[: len(whole) // 2]
    assert reason_of(cut) == "truncated"
    loaded = load_image(cut, allow_truncated=True)
    assert loaded.recovered
    assert (loaded.width, loaded.height) == (400, 300)
    top = (0, 0, 400, 100)
    assert difference(loaded.image.crop(top), load_image(whole).image.crop(top)) == 0


def test_truncated_png_is_refused_even_when_cut_jpegs_are_accepted() -> None:
    whole = encoded(photo(200, 200), "PNG")
    assert reason_of(whole[: len(whole) // 2], allow_truncated=True) == "truncated"


def test_accepting_cut_jpegs_does_not_leak_into_other_threads() -> None:
    whole = encoded(photo(400, 300), quality=90)
    cut = whole[: len(whole) // 2]

    def attempt(index: int) -> bool:
        try:
            load_image(cut, allow_truncated=index % 2 == 0)
        except ImageError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        accepted = list(pool.map(attempt, range(64)))
    assert accepted == [index % 2 == 0 for index in range(64)]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_concealed_damage_is_flagged_and_refused_when_strict(mode: str) -> None:
    data = bytearray(encoded(photo(400, 300).convert(mode), quality=90))
    middle = len(data) // 2
    for index in range(middle, middle + 200):
        data[index] = 0x55
    damaged = bytes(data)
    assert load_image(damaged).recovered
    assert reason_of(damaged, strict=True) == "corrupt"
    assert not load_image(encoded(photo(400, 300).convert(mode)), strict=True).recovered


def test_cmyk_becomes_rgb_and_the_mode_is_recorded() -> None:
    source = photo(64, 48)
    loaded = load_image(encoded(source.convert("CMYK"), quality=95))
    assert loaded.mode == "CMYK"
    assert loaded.image.mode == "RGB"
    assert difference(loaded.image, source) < 12


def test_sixteen_bit_grey_keeps_its_high_byte() -> None:
    ramp = (np.arange(256, dtype=np.uint16) * 256 + 255).reshape(16, 16)
    loaded = load_image(encoded(Image.fromarray(ramp), "PNG"))
    assert loaded.mode == "I;16"
    assert np.asarray(loaded.image)[..., 0].reshape(-1).tolist() == list(range(256))


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pixels_without_a_range_are_refused(mode: str) -> None:
    assert reason_of(encoded(Image.new(mode, (8, 8)), "TIFF")) == "unsupported_mode"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_and_size_is_the_upright_one(orientation: int) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photo(320, 160), quality=95, exif=exif.tobytes())
    loaded = load_image(data)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert loaded.image.size == expected.size == (loaded.width, loaded.height)
    assert difference(loaded.image, expected) == 0


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_orientation_is_applied_once_in_every_format(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    source = photo(64, 32)
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(source, kind, exif=exif.tobytes(), **options)
    loaded = load_image(data)
    assert (loaded.width, loaded.height) == loaded.image.size == (32, 64)
    assert difference(loaded.image, source.transpose(Image.Transpose.ROTATE_270)) == 0


@pytest.mark.parametrize("exif", [b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM", b"Exif\0\0" * 9])
def test_damaged_exif_is_passed_over(exif: bytes) -> None:
    with quiet_decoders():
        assert load_image(encoded(photo(40, 30), exif=exif)).image.size == (40, 30)


def _transparent() -> list[Image.Image]:
    rgba = Image.new("RGBA", (8, 8), (200, 0, 0, 0))
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([200, 0, 0])
    palette.info["transparency"] = 0
    return [rgba, rgba.convert("LA"), palette]


@pytest.mark.parametrize("image", _transparent(), ids=lambda image: str(image.mode))
def test_transparency_shows_the_padding_colour(image: Image.Image) -> None:
    loaded = load_image(encoded(image, "PNG"), pad_color=(10, 20, 30))
    assert loaded.image.getpixel((4, 4)) == (10, 20, 30)


def test_colour_key_transparency_shows_the_padding_colour() -> None:
    data = encoded(Image.new("RGB", (4, 4), (1, 2, 3)), "PNG", transparency=(1, 2, 3))
    assert load_image(data).image.getpixel((0, 0)) == (255, 255, 255)


def test_animation_gives_its_first_frame_and_the_number_of_frames() -> None:
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    loaded = load_image(encoded(first, "GIF", save_all=True, append_images=[second]))
    assert loaded.frames == 2
    assert loaded.image.getpixel((3, 3)) == (255, 0, 0)


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">LLBBBBB", width, height, 8, 2, 0, 0, 0)
    checked = struct.pack(">L", 13) + body + struct.pack(">L", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + checked + struct.pack(">L", 9**7) + b"IDAT"


@pytest.mark.parametrize("side", [8_001, 12_000, 60_000])
def test_bomb_is_refused_from_its_header(side: int) -> None:
    assert reason_of(png_header(side, side)) == "too_large"


def test_limits_are_the_callers() -> None:
    assert reason_of(encoded(photo(50, 50)), max_pixels=2_499) == "too_large"
    assert load_image(encoded(photo(50, 50)), max_pixels=2_500).width == 50


def test_long_strips_are_refused() -> None:
    assert reason_of(encoded(Image.new("RGB", (5000, 1)), "PNG")) == "aspect"
    assert load_image(encoded(Image.new("RGB", (40, 2)), "PNG")).height == 2


def test_missing_and_unreadable_files_are_told_apart(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "no.jpg", "missing"), (tmp_path, "unreadable")):
        with pytest.raises(ImageError) as caught:
            load_image(path)
        assert caught.value.reason == reason


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("size", [(1000, 800), (449, 450), (2000, 150), (1, 1)])
def test_strict_decoder_and_pillow_give_the_same_pixels(
    size: tuple[int, int], subsampling: int, mode: str
) -> None:
    from furnclip.images import _decode_strictly
    from furnclip.libvips import as_image

    data = encoded(photo(*size).convert(mode), quality=85, subsampling=subsampling)
    for fit in (None, 224, 64):
        opened = Image.open(io.BytesIO(data))
        if fit:
            width, height = fitted_size(size, fit)
            opened.draft(None, (2 * width, 2 * height))
        sound = _decode_strictly(data, opened)
        assert sound is not None
        opened.load()
        assert difference(as_image(sound), opened) == 0


def test_shrinking_on_load_costs_little_quality() -> None:
    source = photo(1000, 800)
    data = encoded(source, quality=95, subsampling=0)
    quick = load_letterboxed(data, 224).image
    exact = letterbox(load_image(data).image, 224)
    error = (np.asarray(quick).astype(float) - np.asarray(exact)) ** 2
    assert 10 * np.log10(255**2 / error.mean()) > 38


def test_draft_never_goes_below_twice_the_fitted_size() -> None:
    data = encoded(photo(1600, 400), quality=90)
    assert load_image(data, fit=224).image.size == (800, 200)


def test_letterbox_centres_on_the_colour_and_crops_nothing() -> None:
    square = letterbox(Image.new("RGB", (100, 50), "red"), 40, color=(1, 2, 3))
    pixels = np.asarray(square)
    assert square.size == (40, 40)
    assert (pixels[:10] == (1, 2, 3)).all()
    assert (pixels[30:] == (1, 2, 3)).all()
    assert (pixels[10:30] == (255, 0, 0)).all()


def test_a_square_of_the_right_size_is_left_alone() -> None:
    image = photo(224, 224)
    assert letterbox(image, 224) is image


def test_jpeg_keeps_full_chroma() -> None:
    data = encode_jpeg(photo(64, 64), quality=95)
    frame = data.index(b"\xff\xc0")  # SOF0: 10 bytes, then id, sampling, table a component
    assert [data[frame + 11 + 3 * component] for component in range(3)] == [0x11] * 3


def test_mutated_files_are_loaded_or_refused_and_never_crash() -> None:
    rng = random.Random(5)
    source = photo(60, 40)
    exif = Image.Exif()
    exif[0x0112] = 6
    seeds = [
        encoded(source, exif=exif.tobytes()),
        encoded(source, progressive=True),
        encoded(source, "PNG"),
        encoded(source.convert("P"), "GIF", save_all=True, append_images=[source.convert("P")]),
        encoded(source, "WEBP"),
        encoded(source, "TIFF", compression="tiff_lzw"),
        encoded(source, "BMP"),
        encoded(source, "TGA"),
        encoded(source, "ICO"),
        encoded(source, "PPM"),
        encoded(source, "AVIF"),
    ]
    outcomes = set()
    for _ in range(2_000):
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.choice((1, 2, 8, 40))):
            data[rng.randrange(min(len(data), rng.choice((64, 10**9))))] = rng.randrange(256)
        if rng.random() < 0.2:
            del data[rng.randrange(len(data)) :]
        with quiet_decoders():
            try:
                loaded = load_letterboxed(bytes(data), 32, allow_truncated=rng.random() < 0.5)
                assert loaded.image.size == (32, 32)
                assert loaded.image.mode == "RGB"
                outcomes.add("loaded")
            except ImageError as error:
                outcomes.add(error.reason)
    assert {"loaded", "not_image", "truncated", "corrupt"} <= outcomes
