"""A fake terminal's eyes: pictures cut out of a byte stream and decoded again."""

import base64
import io
import re

import numpy as np
from PIL import Image

SIXEL = re.compile(rb"\x1bP[\d;]*q.*?\x1b\\", re.DOTALL)
KITTY = re.compile(rb"\x1b_G([^;\x1b]*);?([^\x1b]*)\x1b\\")


def decode_sixel(data: bytes) -> Image.Image:
    """Decode one sixel string that begins with raster attributes."""
    head = re.match(rb'\x1bP[\d;]*q"\d+;\d+;(\d+);(\d+)', data)
    assert head is not None, data[:40]
    width, height = int(head[1]), int(head[2])
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    palette: dict[int, tuple[int, int, int]] = {}
    x = y = color = 0
    for token in re.findall(rb"#\d+(?:;\d+){4}|#\d+|!\d+[?-~]|[?-~]|\$|-", data[head.end() : -2]):
        first = token[:1]
        if first == b"#":
            fields = [int(n) for n in token[1:].split(b";")]
            color = fields[0]
            if len(fields) == 5:
                r, g, b = (round(v * 255 / 100) for v in fields[2:])
                palette[color] = (r, g, b)
        elif first == b"$":
            x = 0
        elif first == b"-":
            x, y = 0, y + 6
        else:
            count = int(token[1:-1]) if first == b"!" else 1
            mask = token[-1] - 63
            for row in range(6):
                if mask >> row & 1:
                    pixels[y + row, x : x + count] = palette[color]
            x += count
            assert x <= width
    return Image.fromarray(pixels)


def kitty_images(data: bytes) -> dict[int, Image.Image]:
    """Put the chunks of every transmission together; keys are image ids."""
    images: dict[int, Image.Image] = {}
    current, buffer = 0, b""
    for control, payload in KITTY.findall(data):
        keys = dict(part.split(b"=") for part in control.split(b",") if part)
        if keys.get(b"a") == b"T":
            current, buffer = int(keys[b"i"]), b""
        elif keys.get(b"a") == b"d":
            continue
        buffer += payload
        if keys.get(b"m", b"0") == b"0":
            images[current] = Image.open(io.BytesIO(base64.b64decode(buffer))).convert("RGB")
    return images


def difference(left: Image.Image, right: Image.Image) -> float:
    """Return the mean absolute difference of two images of one size, in levels of 255."""
    assert left.size == right.size
    a = np.asarray(left.convert("RGB"), dtype=np.float64)
    return float(np.abs(a - np.asarray(right.convert("RGB"), dtype=np.float64)).mean())


def photo(width: int = 150, height: int = 156, seed: int = 0) -> Image.Image:
    """Return a picture with gradients, edges and a little noise, as a photo has."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    base = np.stack([x * 255 / width, y * 255 / height, (x + y) * 120 / width], axis=-1)
    base[height // 4 : height // 2, width // 4 : width // 2] = rng.integers(0, 255, 3)
    return Image.fromarray((base + rng.normal(0, 3, base.shape)).clip(0, 255).astype(np.uint8))
