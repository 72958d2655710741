"""Cleaning, shards and vectors see the same pixels of every kind of photo a catalogue holds."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from furnclip.cleaning.prepare import prepare
from furnclip.cleaning.prompts import read_question
from furnclip.config import CleaningSettings, PrepSettings
from furnclip.embeddings.batches import image_vectors
from furnclip.preparing.sharding import shard_catalogue
from furnclip.progress import SILENT
from furnclip.shards import ShardReader, list_shards
from furnclip.state import StateStore

SIZE, QUALITY = 96, 92
UInt8 = npt.NDArray[np.uint8]


def photo(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def clear(image: Image.Image) -> Image.Image:
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def grey16() -> Image.Image:
    return Image.fromarray(np.linspace(0, 65535, 120 * 90).reshape(90, 120).astype(np.uint16))


def save(folder: Path) -> list[str]:
    """Save one photo of each kind, each another picture; returns their names."""
    photo(1000, 800).save(folder / "large.jpg", quality=90)
    photo(40, 31).save(folder / "small.jpg")
    photo(330, 120).save(folder / "turned.jpg", exif=turned())
    photo(300, 200).convert("CMYK").save(folder / "cmyk.jpg")
    photo(150, 170).convert("L").save(folder / "grey.jpg")
    clear(photo(128, 96)).save(folder / "clear.png")
    photo(97, 203).quantize(32).save(folder / "palette.gif")
    photo(SIZE, SIZE).save(folder / "exact.png")
    grey16().save(folder / "grey16.png")
    return sorted(path.name for path in folder.iterdir())


class Watcher:
    """An encoder that keeps the pixels it is given; the vectors mean nothing."""

    dim, image_size, device, precision = 4, SIZE, "cpu", "fp32"

    def __init__(self) -> None:
        self.seen: list[UInt8] = []

    def pixels(self, pixels: UInt8) -> npt.NDArray[np.float32]:
        self.seen += list(pixels)
        return np.zeros((len(pixels), self.dim), np.float32)

    def texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        return np.zeros((len(texts), self.dim), np.float32)


@pytest.fixture
def names(tmp_path: Path) -> list[str]:
    (tmp_path / "images").mkdir()
    names = save(tmp_path / "images")
    with (tmp_path / "products.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("product_id", "name", "local_path"))
        writer.writerows((name, f"A chair called {name}", name) for name in names)
    return names


def in_requests(root: Path, store: StateStore) -> dict[str, bytes]:
    settings = CleaningSettings(image_size=SIZE, jpeg_quality=QUALITY)
    prepare(
        store, root / "products.csv", root / "images", settings=settings,
        batches_dir=root / "batches",
    )  # fmt: skip
    (requests,) = (root / "batches").rglob("*.jsonl")
    asked = (read_question(json.loads(line)["body"]) for line in requests.read_bytes().splitlines())
    return {title.removeprefix("A chair called "): jpeg for title, jpeg in asked}


def in_shards(root: Path, store: StateStore) -> ShardReader:
    settings = PrepSettings(
        image_size=SIZE, jpeg_quality=QUALITY, val_fraction=0, test_fraction=0, mini_fraction=0
    )
    shard_catalogue(
        root / "products.csv", image_root=root / "images", out=root / "shards",
        settings=settings, state=store,
    )  # fmt: skip
    return ShardReader(list_shards(root / "shards" / "train"))


def decoded(jpeg: bytes) -> UInt8:
    return np.asarray(Image.open(io.BytesIO(jpeg)))


def test_cleaning_shards_and_vectors_see_the_same_pixels(tmp_path: Path, names: list[str]) -> None:
    store = StateStore(tmp_path / "state.duckdb")
    asked = in_requests(tmp_path, store)
    reader = in_shards(tmp_path, store)
    watcher = Watcher()
    with SILENT.task("") as task:
        image_vectors(reader, {"base": watcher}, batch_size=4, threads=2, task=task)
    assert len(reader) == len(watcher.seen) == len(names) == len(asked)
    for place, seen in enumerate(watcher.seen):
        name = reader.meta(place)["product_id"]
        assert reader.jpg(place) == asked[name], name
        assert np.array_equal(seen, decoded(asked[name])), name
