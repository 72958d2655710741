"""Images as every stage sees them: open, check, orient, to RGB, letterbox, encode.

JPEGs are shrunk while they are decoded: libjpeg's own scaling, at twice the fitted size or more,
followed by one bicubic step, is twice as fast as Lanczos on the full image, or more, and as good
(40 dB). The decoder's complaints are heard too: libjpeg conceals corrupt data in silence, so the
strict decoder of simplejpeg goes first, and only what it refuses is left to Pillow, and flagged.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, UnidentifiedImageError

from furnclip.errors import ImageError
from furnclip.libvips import as_image, jpeg, shrink, size_of

if TYPE_CHECKING:
    from furnclip.libvips import Pixels

# Formats a catalogue may hold. EPS is left out because Pillow starts Ghostscript for it.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "TGA", "ICO")
# What Pillow's decoders raise on damaged files, found by fuzzing them; AVIF's, RuntimeError.
_DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError,
    ArithmeticError, RuntimeError, MemoryError, struct.error, zlib.error, Warning,
)  # fmt: skip
_BOMB_ERRORS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_SMALL = 256 * 256  # pixels; Pillow encodes these in a third of the time libvips takes
_JPEG_END = b"\xff\xd9"
_STRICT_COLORS = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}
_ORIENTATION_TAG = 0x0112
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class LoadedImage:
    """A decoded image and what its file was.

    ``image`` is RGB, upright, and for a JPEG loaded with ``fit`` smaller than the original;
    ``pixels`` is the same, or a uint8 array (height, width, 3) where the decoder gave one.
    ``width`` and ``height`` are the original's in pixels, upright; ``mode`` is the original's.
    ``recovered`` says that the decoder had to conceal damage.
    """

    pixels: Pixels
    width: int
    height: int
    mode: str
    frames: int
    recovered: bool

    @cached_property
    def image(self) -> Image.Image:
        """The pixels as Pillow's image."""
        return as_image(self.pixels)


@contextmanager
def quiet_decoders() -> Iterator[None]:
    """Hide what Pillow warns about damaged metadata and large images while ``with`` runs.

    For the thread that starts the workers: warning filters belong to the whole process.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def load_image(
    source: Path | bytes,
    *,
    fit: int | None = None,
    max_pixels: int = 64_000_000,
    max_aspect: float = 20.0,
    pad_color: tuple[int, int, int] = (255, 255, 255),
    allow_truncated: bool = False,
    strict: bool = False,
) -> LoadedImage:
    """Decode the first frame of an image file (or its bytes) to upright RGB.

    ``fit`` is the side in pixels the image will be letterboxed to: a JPEG is then decoded at the
    smallest scale that is at least twice the fitted size. Transparency is composited on
    ``pad_color``; 16-bit grey keeps its high byte. ``allow_truncated`` accepts cut JPEGs (the
    rest is grey), ``strict`` refuses JPEGs with concealed damage; both cases are ``recovered``
    otherwise. The size limits are checked on the header, before anything is decoded.

    Raises ``ImageError`` with reason ``missing``, ``unreadable``, ``not_image``, ``too_large``,
    ``aspect``, ``unsupported_mode``, ``truncated`` or ``corrupt``.
    """
    name = "image" if isinstance(source, bytes) else str(source)
    data = source if isinstance(source, bytes) else _read(source)
    image = _open(data, name)
    mode = image.mode
    _check_size(image, name, max_pixels=max_pixels, max_aspect=max_aspect)
    if mode in {"I", "F"}:
        raise ImageError(
            f"{name} holds {mode} pixels, which have no fixed range",
            reason="unsupported_mode",
            hint="save it as 8-bit RGB or grey",
        )
    width, height = image.size
    frames = _frames(image)
    decoded, recovered = _decode(image, data, name, fit=fit, allow_truncated=allow_truncated)
    if strict and recovered:
        raise ImageError(f"{name} is damaged inside", reason="corrupt")
    try:
        rgb = _to_rgb(decoded, pad_color) if isinstance(decoded, Image.Image) else decoded
    except _DECODER_ERRORS as error:
        raise ImageError(
            f"{name}: {mode} pixels cannot be turned into RGB", reason="unsupported_mode"
        ) from error
    turn = None if image.format == "TIFF" else _TRANSPOSE.get(_orientation(image))
    if turn is not None:
        rgb = as_image(rgb).transpose(turn)
        if turn >= Image.Transpose.ROTATE_90 and turn != Image.Transpose.ROTATE_180:
            width, height = height, width
    return LoadedImage(rgb, width, height, mode, frames, recovered)


def letterbox(
    image: Pixels, size: int, *, color: tuple[int, int, int] = (255, 255, 255)
) -> Image.Image:
    """Scale an RGB image to fit a ``size`` by ``size`` square (bicubic) and centre it on ``color``.

    An array (height, width, 3) does as well. Nothing is cropped; small images are enlarged. An
    image that is such a square is returned unchanged. Sources over four times the fitted size are
    box-reduced first.
    """
    return as_image(_squared(image, size, color))


def _squared(image: Pixels, size: int, color: tuple[int, int, int]) -> Pixels:
    width, height = size_of(image)
    if width == height == size:
        return image
    fitted = fitted_size((width, height), size)
    if fitted[0] <= width and fitted[1] <= height:
        scaled = shrink(image, fitted)
    else:
        scaled = as_image(image).resize(fitted, Image.Resampling.BICUBIC)
    if fitted == (size, size):
        return scaled
    square = Image.new("RGB", (size, size), color)
    square.paste(scaled, ((size - fitted[0]) // 2, (size - fitted[1]) // 2))
    return square


def fitted_size(original: tuple[int, int], size: int) -> tuple[int, int]:
    """Return (width, height) of an image scaled to fit a ``size`` by ``size`` square."""
    scale = size / max(original)
    return max(1, round(original[0] * scale)), max(1, round(original[1] * scale))


def encode_jpeg(image: Image.Image, *, quality: int) -> bytes:
    """Encode as baseline JPEG without chroma subsampling, which costs more than the quality does.

    4:4:4 keeps 39.6 dB of the image where 4:2:0 keeps 29.6 dB.
    """
    rgb = image.convert("RGB")
    if image.width * image.height > _SMALL:
        return jpeg(rgb, quality=quality)
    buffer = io.BytesIO()
    rgb.save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def load_letterboxed(
    source: Path | bytes,
    size: int,
    *,
    max_pixels: int = 64_000_000,
    max_aspect: float = 20.0,
    pad_color: tuple[int, int, int] = (255, 255, 255),
    allow_truncated: bool = False,
    strict: bool = False,
) -> LoadedImage:
    """``load_image`` and ``letterbox`` in one: what shards, requests and vectors are made from."""
    loaded = load_image(
        source,
        fit=size,
        max_pixels=max_pixels,
        max_aspect=max_aspect,
        pad_color=pad_color,
        allow_truncated=allow_truncated,
        strict=strict,
    )
    square = _squared(loaded.pixels, size, pad_color)
    return LoadedImage(
        square, loaded.width, loaded.height, loaded.mode, loaded.frames, loaded.recovered
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ImageError(f"no such image: {path}", reason="missing") from error
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror}", reason="unreadable") from error


def _open(data: bytes, name: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=_FORMATS)
    except _BOMB_ERRORS as error:
        raise ImageError(f"{name} has far too many pixels", reason="too_large") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is not an image we can read", reason="not_image") from error
    except _DECODER_ERRORS as error:
        raise ImageError(f"{name} has a damaged header: {error}", reason="not_image") from error


def _check_size(image: Image.Image, name: str, *, max_pixels: int, max_aspect: float) -> None:
    width, height = image.size
    if min(width, height) < 1:
        raise ImageError(f"{name} has no pixels", reason="not_image")
    if width * height > max_pixels:
        raise ImageError(
            f"{name} has {width} x {height} pixels, more than {max_pixels:,}", reason="too_large"
        )
    if max(width, height) > max_aspect * min(width, height):
        raise ImageError(
            f"{name} is {width} x {height}, longer than {max_aspect:g} to 1", reason="aspect"
        )


def _frames(image: Image.Image) -> int:
    try:
        frames = int(getattr(image, "n_frames", 1))
        image.seek(0)
    except _DECODER_ERRORS:
        return 1  # a damaged later frame does not harm the first
    return frames


def _decode(
    image: Image.Image, data: bytes, name: str, *, fit: int | None, allow_truncated: bool
) -> tuple[Pixels, bool]:
    is_jpeg, sound = image.format in {"JPEG", "MPO"}, None
    if is_jpeg:
        if fit is not None:
            width, height = fitted_size(image.size, fit)
            image.draft(None, (2 * width, 2 * height))
        sound = _decode_strictly(data, image)
        if sound is not None and image.mode != "CMYK":
            return sound, False
    try:
        image.load()
    except _DECODER_ERRORS as error:
        is_cut = "truncated" in str(error) or isinstance(error, EOFError)
        if is_jpeg and is_cut and allow_truncated and not data.endswith(_JPEG_END):
            whole = _open(data + _JPEG_END, name)
            return _decode(whole, data + _JPEG_END, name, fit=fit, allow_truncated=False)[0], True
        raise ImageError(
            f"{name} is {'cut short' if is_cut else 'damaged'}: {error}",
            reason="truncated" if is_cut else "corrupt",
        ) from error
    return image, is_jpeg and sound is None and image.mode in _STRICT_COLORS


def _decode_strictly(data: bytes, opened: Image.Image) -> Pixels | None:
    """Decode a JPEG at the size it was opened for; None when the decoder complains.

    simplejpeg and Pillow both carry libjpeg-turbo: the pixels are the same, bit for bit, but for
    CMYK, which Adobe's files hold inverted and Pillow knows.
    """
    import simplejpeg

    color = _STRICT_COLORS.get(opened.mode)
    if color is None:
        return None
    width, height = opened.size
    try:
        pixels = simplejpeg.decode_jpeg(
            data, color, min_width=width, min_height=height, min_factor=1, strict=True
        )
    except ValueError:
        return None
    if pixels.shape[:2] != (height, width):
        return None
    return Image.fromarray(pixels[:, :, 0]) if color == "GRAY" else pixels


def _to_rgb(image: Image.Image, pad_color: tuple[int, int, int]) -> Image.Image:
    if image.mode.startswith("I;16"):
        import numpy as np

        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        front = image.convert("RGBA")
        back = Image.new("RGBA", front.size, (*pad_color, 255))
        return Image.alpha_composite(back, front).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    """Read the orientation tag of the first EXIF directory; 1 when there is none or it is damaged.

    Pillow's own reader warns and raises on damaged EXIF, which photos in the wild often have.
    Source: EXIF 2.32, section 4.6 (a TIFF header and a list of 12-byte entries).
    """
    exif = image.info.get("exif")
    if not isinstance(exif, bytes):
        return 1
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}L", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, start)
        for index in range(entries):
            tag, kind, _, value = struct.unpack_from(f"{order}HHLH", tiff, start + 2 + 12 * index)
            if tag == _ORIENTATION_TAG:
                return int(value) if kind == 3 else 1
    except struct.error:
        return 1
    return 1
