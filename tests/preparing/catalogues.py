"""Small real catalogues: JPEG files that differ from each other, and a CSV that names them."""

import csv
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from furnclip.config import PrepSettings
from furnclip.preparing.sharding import ShardResult, shard_catalogue
from furnclip.state import StateStore

SMALL = PrepSettings(image_size=32, samples_per_shard=16, workers=2)
HEADER = ("product_id", "name", "local_path")


def picture(seed: int, *, size: tuple[int, int] = (60, 45)) -> Image.Image:
    """Blocks of random colour: no two seeds look alike."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST)


def save_pictures(root: Path, numbers: Sequence[int]) -> None:
    (root / "images").mkdir(parents=True, exist_ok=True)
    for number in numbers:
        picture(number).save(root / "images" / f"{number}.jpg", quality=92)


def row(number: int, **changes: str) -> dict[str, str]:
    plain = {
        "product_id": f"P{number}",
        "name": f"Chair No. {number}",
        "local_path": f"images/{number}.jpg",
    }
    return {**plain, **changes}


def write_csv(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    header = list(dict.fromkeys(name for found in rows for name in found))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, header, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


class Project:
    """A folder with images, a CSV, shards and a state file."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self.rows = [row(number) for number in range(count)]
        save_pictures(folder, range(count))
        self.out = folder / "shards"
        self.state = StateStore(folder / "state.duckdb")

    @property
    def csv(self) -> Path:
        return self.folder / "products.csv"

    def shard(self, settings: PrepSettings = SMALL, *, retry_rejects: bool = False) -> ShardResult:
        write_csv(self.csv, self.rows)
        return self.shard_csv(settings, retry_rejects=retry_rejects)

    def shard_csv(
        self, settings: PrepSettings = SMALL, *, retry_rejects: bool = False
    ) -> ShardResult:
        """Shard the CSV as it lies there."""
        return shard_catalogue(
            self.csv,
            image_root=self.folder,
            out=self.out,
            settings=settings,
            state=self.state,
            retry_rejects=retry_rejects,
        )

    def spoil_images(self) -> None:
        """Leave files of the same size and time that no decoder reads: only copies can serve."""
        for path in (self.folder / "images").iterdir():
            status = path.stat()
            path.write_bytes(bytes(status.st_size))
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    def files(self) -> dict[str, str]:
        """Every file of the shards folder with a hash of its bytes."""
        return {
            path.relative_to(self.out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.out.rglob("*"))
            if path.is_file()
        }
