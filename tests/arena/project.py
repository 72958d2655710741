"""A small project on disk: a shard of drawn photos and a master table with two or more models."""

import hashlib
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from furnclip.arena.options import ArenaOptions
from furnclip.shards import index_shard
from furnclip.vectors import MASTER, TEXT_COLUMNS, ModelInfo, master_part, write_master

SECRET = {"base": "zebra-one", "tuned": "zebra-two"}


def drawing(number: int, size: int = 96) -> Image.Image:
    """Return a picture that is told from every other by its colours."""
    rng = np.random.default_rng(number)
    image = Image.new("RGB", (size, size), (255, 255, 255))
    pen = ImageDraw.Draw(image)
    for _ in range(4):
        x, y = rng.integers(0, size // 2, 2).tolist()
        color = tuple(rng.integers(0, 255, 3).tolist())
        pen.rectangle((x, y, x + size // 3, y + size // 3), fill=color)
    return image


def make_project(
    folder: Path,
    *,
    products: int = 30,
    models: Sequence[str] = ("base", "tuned"),
    same: bool = False,
    **chosen: Any,
) -> ArenaOptions:
    """Write the project and return the options of a session on it; ``same``: all models agree."""
    keys = [hashlib.sha256(str(i).encode()).hexdigest()[:24] for i in range(products)]
    shard = folder / "data" / "shards" / "test" / "test-000000.tar"
    jpegs = _write_shard(shard, keys)
    spans = {ref.key: ref.jpg for ref in index_shard(shard)}
    columns: dict[str, list[Any]] = {name: [""] * products for name in TEXT_COLUMNS}
    columns |= {
        "key": keys,
        "product_id": [f"p{i}" for i in range(products)],
        "split": ["test" if i % 2 == 0 else "train" for i in range(products)],
        "title": [f"Product {i}" for i in range(products)],
        "image_sha256": [hashlib.sha256(jpeg).hexdigest() for jpeg in jpegs],
        "shard": [str(shard)] * products,
        "jpg_offset": [spans[key][0] for key in keys],
        "jpg_size": [spans[key][1] for key in keys],
    }
    vectors = {}
    for number, label in enumerate(models):
        drawn = np.random.default_rng(0 if same else number).normal(size=(products, 16))
        unit = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float16)
        vectors[label] = (unit, unit)
    infos = {
        label: ModelInfo(f"models/{label}", f"{n:016x}", 16, "float32", 224)
        for n, label in enumerate(models)
    }
    embeddings = folder / "data" / "embeddings"
    write_master(embeddings / MASTER, [master_part(columns, vectors)], infos)
    values: dict[str, Any] = {
        "embeddings_dir": embeddings,
        "evaluation_dir": folder / "data" / "evaluation",
        "state_file": folder / ".furnclip" / "state.duckdb",
        "baseline": models[0],
        "challengers": tuple(models[1:]),
        "seed": 7,
        "user": "ann",
    }
    return ArenaOptions(**(values | chosen))


def _write_shard(path: Path, keys: Sequence[str]) -> list[bytes]:
    path.parent.mkdir(parents=True, exist_ok=True)
    jpegs = []
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, key in enumerate(keys):
            buffer = io.BytesIO()
            drawing(number).save(buffer, "JPEG", quality=95, subsampling=0)
            jpegs.append(buffer.getvalue())
            for name, content in (
                (f"{key}.jpg", jpegs[-1]),
                (f"{key}.json", b"{}"),
                (f"{key}.txt", b"text"),
            ):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return jpegs
