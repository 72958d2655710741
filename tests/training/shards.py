"""Shards of drawn squares: the caption names the colour and the shape's place."""

import io
import json
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

COLORS = {
    "red": (220, 40, 40),
    "blue": (40, 60, 220),
    "green": (40, 170, 60),
    "yellow": (230, 220, 50),
    "black": (20, 20, 20),
    "grey": (128, 128, 128),
    "pink": (240, 130, 190),
    "brown": (120, 70, 30),
}
PLACES = ("sofa", "chair", "table", "bed")
TEXTS = tuple(f"a {color} {place}" for color in COLORS for place in PLACES)


def write_split(
    folder: Path,
    *,
    products: int,
    photos: int = 1,
    seed: int = 0,
    size: int = 32,
    per_shard: int = 40,
) -> Path:
    """Write ``products`` x ``photos`` samples; product ``i`` has colour and place by its number."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = list(_samples(products, photos, random.Random(seed), size))
    for shard, start in enumerate(range(0, len(samples), per_shard)):
        path = folder / f"{folder.name}-{shard:06d}.tar"
        with tarfile.open(path, "w") as archive:
            for key, members in samples[start : start + per_shard]:
                for extension, content in members.items():
                    info = tarfile.TarInfo(f"{key}.{extension}")
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
    return folder


def _samples(
    products: int, photos: int, chance: random.Random, size: int
) -> Iterator[tuple[str, dict[str, bytes]]]:
    names = list(COLORS)
    for product in range(products):
        color = names[product % len(names)]
        place = (product // len(names)) % len(PLACES)
        for photo in range(photos):
            image = Image.new("RGB", (size, size), (245, 245, 240))
            half = size // 2
            left, top = half * (place % 2), half * (place // 2)
            jitter = chance.randint(0, size // 8)
            image.paste(COLORS[color], (left + jitter, top, left + half, top + half - jitter))
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=95, subsampling=0)
            caption = f"a {color} {PLACES[place]}"
            meta = {"group": f"p{product}", "captions": [caption]}
            yield (
                f"{product:012x}{photo:012x}",
                {
                    "jpg": buffer.getvalue(),
                    "json": json.dumps(meta).encode(),
                    "txt": caption.encode(),
                },
            )


def write_catalogue(folder: Path, *, train: int = 64, held_out: int = 32, photos: int = 1) -> Path:
    """Write train, val and test splits under ``folder``."""
    write_split(folder / "train", products=train, photos=photos, seed=1)
    write_split(folder / "val", products=held_out, seed=2)
    write_split(folder / "test", products=held_out, seed=3)
    return folder
