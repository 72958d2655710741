"""Draw a catalogue: ``furniture.csv`` and its photos, and apart from both the answer key.

Product ``i`` depends on the seed and ``i`` alone: a larger catalogue begins with the smaller one,
and the number of processes changes nothing.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from furnclip.catalogue import read_rows, write_csv_atomic
from furnclip.demo.fittings import STYLES
from furnclip.demo.furniture import OBJECT_TYPES, build
from furnclip.demo.palette import MATERIALS, SHADES, Shade, finishes
from furnclip.demo.photo import take_photo
from furnclip.demo.studio import setting
from furnclip.demo.titles import messy_title
from furnclip.errors import UsageError
from furnclip.files import write_bytes_atomic
from furnclip.images import encode_jpeg
from furnclip.progress import SILENT, Progress, Task

PHOTO_SIZE = 256
CSV_HEADER = ("product_id", "name", "local_path", "price")
KEY_HEADER = ("product_id", "object_type", "style", "material", "color")
_ROOM_SHARE = 0.28
_BATCH = 8


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


def check_same_catalogue(csv: Path, count: int, seed: int) -> None:
    """Raise ``UsageError`` when ``csv`` is there and holds other products."""
    if not csv.is_file():
        return
    there = [tuple(row.values.get(name, "") for name in CSV_HEADER) for row in read_rows(csv)]
    if there != _csv_rows(products(count, seed)):
        raise UsageError(
            f"{csv} is not the catalogue of {count:,} products from seed {seed}",
            hint="name another folder with --dir, or the --products and --seed it was made with",
        )


def write_catalogue(
    count: int,
    seed: int,
    *,
    csv: Path,
    image_root: Path,
    key: Path,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> int:
    """Write the catalogue and its key; photos that are there already are kept.

    ``workers`` processes draw (default: one a core). Returns the number of photos drawn.
    """
    catalogue = products(count, seed)
    missing = [p.number for p in catalogue if not (image_root / p.image).is_file()]
    with progress.task("drawing", total=len(missing), unit="photos") as task:
        if missing:
            _draw_missing(missing, seed, image_root, workers, task)
    if not key.is_file():
        write_csv_atomic(
            key,
            KEY_HEADER,
            [
                (p.product_id, p.object_type, keyed_style(p), p.material, keyed_color(p))
                for p in catalogue
            ],
        )
    if not csv.is_file():
        write_csv_atomic(csv, CSV_HEADER, _csv_rows(catalogue))
    return len(missing)


def draw(product: Product, seed: int, *, size: int = PHOTO_SIZE) -> bytes:
    """Build and photograph one product; returns a JPEG."""
    rng = np.random.default_rng((seed, product.number, 1))
    parts = build(product.object_type, product.style, rng)
    finish = finishes(product.object_type, product.style, product.material, product.shade, rng)
    scene = setting(rng, room=bool(rng.random() < _ROOM_SHARE))
    return encode_jpeg(take_photo(parts, finish, scene, size), quality=92)


def _draw_missing(
    missing: Sequence[int], seed: int, image_root: Path, workers: int | None, task: Task
) -> None:
    """Draw in fresh processes: a forked one may inherit locks held by threads of its parent."""
    batches = [missing[i : i + _BATCH] for i in range(0, len(missing), _BATCH)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers or _cores(), mp_context=context) as pool:
        try:
            for drawn in pool.map(partial(_draw_batch, seed=seed, image_root=image_root), batches):
                task.advance(drawn)
        except BaseException:  # Ctrl-C too: the batches not begun are not drawn
            pool.shutdown(wait=False, cancel_futures=True)
            raise


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


def _csv_rows(catalogue: Sequence[Product]) -> list[tuple[str, ...]]:
    return [(p.product_id, p.title, p.image, f"{p.price:.2f}") for p in catalogue]


def keyed_style(product: Product) -> str:
    """Name the style as shops and the answer key do."""
    return "Mid-century modern" if product.style == "Mid-Century" else product.style


def keyed_color(product: Product) -> str:
    """List the right names of the colour; bare wood and cane also go by what they are made of."""
    shade = product.shade
    names = [shade.family, *([shade.words] if shade.words != shade.family else [])]
    if shade.family == "Natural":
        names += ["Beige", product.material]
    return ", ".join(names)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
