"""A small catalogue as shards: coloured squares whose captions say the colour."""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

COLORS = {
    "red": (200, 30, 30), "blue": (30, 30, 200), "green": (20, 140, 40), "white": (245, 245, 245),
    "black": (15, 15, 15), "yellow": (230, 210, 40), "grey": (128, 128, 128),
    "pink": (240, 150, 180),
}  # fmt: skip
TYPES = ("sofa", "chair", "table", "bed", "lamp")


def write_shop(
    folder: Path, *, splits: Mapping[str, Sequence[int]] | None = None, size: int = 32
) -> Path:
    """Write shards: ``splits`` maps a split to the number of products in each of its shards."""
    number = 0
    for split, counts in (splits or {"train": (7, 6), "val": (4,), "test": (9,)}).items():
        (folder / split).mkdir(parents=True, exist_ok=True)
        for index, count in enumerate(counts):
            write_shard(
                folder / split / f"{split}-{index:06d}.tar",
                [product(number + i) for i in range(count)],
                size=size,
            )
            number += count
    return folder


def product(number: int) -> dict[str, Any]:
    """Return the metadata of a product."""
    color = list(COLORS)[number % len(COLORS)]
    kind = TYPES[number % len(TYPES)]
    return {
        "key": f"{number:024x}",
        "product_id": f"p{number}",
        "group": f"p{number}",
        "title": f"BRAND {color.upper()} {kind} {number}",
        "clean_title": f"{color} {kind} {number}",
        "style": "modern",
        "material": "oak" if number % 2 else "",
        "color": color,
        "object_type": kind,
        "captions": [f"{color} {kind} {number}"],
        "image_sha256": f"{number:064x}",
        "source": f"images/{number}.jpg",
        "width": 64,
        "height": 64,
    }


def write_shard(path: Path, products: Sequence[Mapping[str, Any]], *, size: int = 32) -> None:
    """Write one tar of jpg, json and txt."""
    with tarfile.open(path, "w") as archive:
        for meta in products:
            members = {
                "jpg": _photo(meta, size),
                "json": json.dumps(meta, sort_keys=True).encode(),
                "txt": str(meta["captions"][0]).encode(),
            }
            for extension, content in members.items():
                info = tarfile.TarInfo(f"{meta['key']}.{extension}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def _photo(meta: Mapping[str, Any], size: int) -> bytes:
    image = Image.new("RGB", (size, size), (255, 255, 255))
    seed = hashlib.sha256(str(meta["product_id"]).encode()).digest()
    left, top = seed[0] % (size // 3), seed[1] % (size // 3)
    image.paste(COLORS[str(meta["color"])], (left, top, left + size // 2, top + size // 2))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()
