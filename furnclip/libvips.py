"""Making images smaller and into JPEGs with libvips, while other threads run.

Smaller: four times as fast as Pillow, and nearer to Lanczos.

Measured on a photo of 1000 x 800 to 512, one thread: 2.4 ms where Pillow's bicubic takes 9.4 ms,
and 54.6 dB against Lanczos where Pillow's has 53.3 dB. libvips computes in integers, the same bits
with and without SIMD.
"""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from PIL import Image

from furnclip.machine import keep_freed_memory

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels: TypeAlias = Image.Image | NDArray[np.uint8]


def as_image(pixels: Pixels) -> Image.Image:
    """Return an image, or make one of an RGB array."""
    return pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)


def size_of(pixels: Pixels) -> tuple[int, int]:
    """Return (width, height)."""
    if isinstance(pixels, Image.Image):
        return pixels.size
    height, width = pixels.shape[:2]
    return width, height


def shrink(image: Pixels, size: tuple[int, int]) -> Image.Image:
    """Scale an RGB image, or its uint8 array (h, w, 3), down to (width, height) (bicubic).

    Neither side may grow. Large sources are box-reduced first, to four times the size or more.
    An array is read where it is; Pillow's pixels, of four bytes, are copied. Works in any number
    of threads, but not in a fork of a process that has called it, which libvips' own threads do
    not survive.
    """
    width, height = size_of(image)
    new_width, new_height = size
    spare = min(width // (4 * new_width), height // (4 * new_height))
    if spare > 1:  # of huge images, which libvips would need a copy of
        image = as_image(image).reduce(spare)
        width, height = image.size
    data = image.tobytes() if isinstance(image, Image.Image) else image
    whole = _vips().Image.new_from_memory(data, width, height, 3, "uchar")
    scaled = whole.resize(new_width / width, vscale=new_height / height, kernel="cubic")
    return Image.frombuffer("RGB", size, scaled.write_to_memory(), "raw", "RGB", 0, 1)


def jpeg(image: Image.Image, *, quality: int) -> bytes:
    """Encode an RGB image as baseline JPEG 4:4:4, as good as Pillow's to 0.05 dB.

    Pillow holds the interpreter meanwhile, 2 ms for 512 pixels; simplejpeg has no accurate DCT,
    which costs 1 dB at quality 95. In threads, not in forks, as ``shrink``.
    """
    pixels = _vips().Image.new_from_memory(image.tobytes(), *image.size, 3, "uchar")
    encoded: bytes = pixels.jpegsave_buffer(Q=quality, subsample_mode="off", keep="none")
    return encoded


@cache
def _vips() -> Any:
    keep_freed_memory()  # several megabytes an image, in every thread: a third of the time
    os.environ.setdefault("VIPS_CONCURRENCY", "1")  # the callers are the threads
    import pyvips

    pyvips.cache_set_max(0)  # it would keep the pixels of the last images
    return pyvips
