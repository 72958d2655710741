"""Draw a catalogue: ``furniture.csv`` and its photos, and apart from both the answer key.

Product ``i`` depends on the seed and ``i`` alone: a larger catalogue begins with the smaller one,
and the number of processes changes nothing.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from furnclip.catalogue import write_csv_atomic
from furnclip.demo.fittings import STYLES
from furnclip.demo.furniture import OBJECT_TYPES, build
from furnclip.demo.palette import MATERIALS, SHADES, Shade, finishes
from furnclip.demo.photo import take_photo
from furnclip.demo.studio import setting
from furnclip.demo.titles import messy_title
from furnclip.files import write_bytes_atomic
from furnclip.images import encode_jpeg
from furnclip.progress import SILENT, Progress

PHOTO_SIZE = 256
CSV_HEADER = ("product_id", "name", "local_path", "price")
KEY_HEADER = ("product_id", "object_type", "style", "material", "color")
_ROOM_SHARE = 0.28


@dataclass(frozen=True)
class Product:
    """One product of the key, with the title that the catalogue gives it."""

    number: int
    product_id: str
    object_type: str
    style: str
    material: str
    shade: Shade
    title: str
    price: float
    image: str


def products(count: int, seed: int) -> list[Product]:
    """Invent ``count`` products, every kind of furniture equally often."""
    return [_product(number, seed) for number in range(count)]


def write_catalogue(
    count: int,
    seed: int,
    *,
    csv: Path,
    image_root: Path,
    key: Path,
    workers: int,
    progress: Progress = SILENT,
) -> list[Product]:
    """Write the catalogue and its key; photos that are there already are kept."""
    catalogue = products(count, seed)
    missing = [p.number for p in catalogue if not (image_root / p.image).is_file()]
    with progress.task("drawing", total=len(missing), unit="photos") as task:
        if missing:
            batches = [missing[i : i + 16] for i in range(0, len(missing), 16)]
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(workers, mp_context=context) as pool:
                for drawn in pool.map(
                    _draw_batch, batches, [seed] * len(batches), [image_root] * len(batches)
                ):
                    task.advance(drawn)
    write_csv_atomic(
        key,
        KEY_HEADER,
        [(p.product_id, p.object_type, p.style, p.material, _keyed_color(p)) for p in catalogue],
    )
    write_csv_atomic(
        csv,
        CSV_HEADER,
        [(p.product_id, p.title, p.image, f"{p.price:.2f}") for p in catalogue],
    )
    return catalogue


def draw(product: Product, seed: int, *, size: int = PHOTO_SIZE) -> bytes:
    """Build and photograph one product; returns a JPEG."""
    rng = np.random.default_rng((seed, product.number, 1))
    parts = build(product.object_type, product.style, rng)
    finish = finishes(product.object_type, product.style, product.material, product.shade, rng)
    scene = setting(rng, room=bool(rng.random() < _ROOM_SHARE))
    return encode_jpeg(take_photo(parts, finish, scene, size), quality=92)


def _draw_batch(numbers: Sequence[int], seed: int, image_root: Path) -> int:
    for number in numbers:
        product = _product(number, seed)
        write_bytes_atomic(image_root / product.image, draw(product, seed))
    return len(numbers)


def _product(number: int, seed: int) -> Product:
    rng = np.random.default_rng((seed, number, 0))
    object_type = OBJECT_TYPES[number % len(OBJECT_TYPES)]
    style = STYLES[rng.integers(len(STYLES))]
    materials = MATERIALS[object_type]
    material = materials[rng.integers(len(materials))]
    shade = SHADES[material][rng.integers(len(SHADES[material]))]
    product_id = f"FD-{number + 1:05d}"
    return Product(
        number=number,
        product_id=product_id,
        object_type=object_type,
        style=style,
        material=material,
        shade=shade,
        title=messy_title(object_type, style, material, shade, rng),
        price=float(np.round(rng.uniform(39, 1899))) - 0.01,
        image=f"images/{product_id}.jpg",
    )


def _keyed_color(product: Product) -> str:
    """Name the colour; unstained wood and cane also go by what they are made of."""
    if product.shade.family != "Natural":
        return product.shade.family
    return f"Natural, Beige, {product.material}"
