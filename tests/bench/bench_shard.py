"""Sharding against what others do, side by side in one run: ``python -m tests.bench.bench_shard``.

Peers: Pillow with LANCZOS, img2dataset's resizer (OpenCV, INTER_AREA, its letterbox and encoder),
webdataset's ShardWriter. All read the same 1000 x 800 JPEGs and give 224 x 224 JPEGs at quality
95. Every figure is the best of several rounds, taken in turn so that load hits all alike.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from furnclip.config import PrepSettings
from furnclip.images import encode_jpeg, load_letterboxed
from furnclip.preparing.sharding import ShardResult, shard_catalogue
from furnclip.preparing.tar import sample_members, write_tar
from furnclip.state import StateStore
from tests.bench.report import Line, interleaved, seconds, show
from tests.preparing.catalogues import row, write_csv

_SIDE, _QUALITY = 224, 95


def photo(seed: int, width: int = 1000) -> bytes:
    """A JPEG of 5:4 with the detail of a photograph (about 150 kB when 1000 pixels wide)."""
    rng = np.random.default_rng(seed)
    height = width * 4 // 5
    coarse = rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    grain = rng.normal(0, 4, (height, width, 1))
    buffer = io.BytesIO()
    pixels = (np.asarray(smooth) + grain).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def ours(data: bytes) -> bytes:
    return encode_jpeg(load_letterboxed(data, _SIDE).image, quality=_QUALITY)


def pillow_lanczos(data: bytes) -> bytes:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    scale = _SIDE / max(image.size)
    fitted = (round(image.width * scale), round(image.height * scale))
    square = Image.new("RGB", (_SIDE, _SIDE), (255, 255, 255))
    scaled = image.resize(fitted, Image.Resampling.LANCZOS)
    square.paste(scaled, ((_SIDE - fitted[0]) // 2, (_SIDE - fitted[1]) // 2))
    buffer = io.BytesIO()
    square.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def cv2_area(data: bytes) -> bytes:
    """img2dataset 1.45, ``Resizer`` with resize_mode="border" and INTER_AREA."""
    import cv2

    cv2.setNumThreads(1)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("no image")
    height, width = image.shape[:2]
    scale = _SIDE / max(height, width)
    fitted = (round(width * scale), round(height * scale))
    scaled = cv2.resize(image, fitted, interpolation=cv2.INTER_AREA)
    top, left = (_SIDE - fitted[1]) // 2, (_SIDE - fitted[0]) // 2
    square = cv2.copyMakeBorder(
        scaled, top, _SIDE - fitted[1] - top, left, _SIDE - fitted[0] - left,
        cv2.BORDER_CONSTANT, value=[255, 255, 255],
    )  # fmt: skip
    return bytes(cv2.imencode(".jpg", square, [int(cv2.IMWRITE_JPEG_QUALITY), _QUALITY])[1])


def bench_resize(photos: list[bytes], rounds: int) -> list[Line]:
    def over(one: Callable[[bytes], bytes]) -> Callable[[], object]:
        return lambda: [one(data) for data in photos]

    mine, lanczos, area = interleaved(rounds, over(ours), over(pillow_lanczos), over(cv2_area))
    rate = [f"{len(photos) / found:.0f}/s" for found in (mine, lanczos, area)]
    return [
        Line("letterbox, against Pillow LANCZOS", rate[0], rate[1], lanczos / mine, 2.5),
        Line("letterbox, against OpenCV AREA", rate[0], rate[2], area / mine, 1.25),
    ]


def bench_tar(photos: list[bytes], folder: Path, rounds: int) -> Line:
    import webdataset as wds

    small = [ours(data) for data in photos]
    samples = [
        (f"{n:024x}", small[n % len(small)], b'{"title": "a chair"}', b"a chair")
        for n in range(5_000)
    ]

    def mine() -> None:
        write_tar(folder / "ours.tar", sample_members(samples))

    def theirs() -> None:
        with wds.ShardWriter(f"{folder}/theirs-%06d.tar", maxcount=10**6, verbose=0) as sink:
            for key, jpg, meta, text in samples:
                sink.write({"__key__": key, "jpg": jpg, "json": meta, "txt": text})

    ours_, theirs_ = interleaved(rounds, mine, theirs)
    rates = [f"{len(samples) / found:,.0f}/s" for found in (ours_, theirs_)]
    return Line("tar, synced, against ShardWriter", rates[0], rates[1], theirs_ / ours_, 1.0)


class Catalogue:
    """``count`` products with photos of 1000 x 800, sharded afresh or again."""

    def __init__(self, folder: Path, photos: list[bytes], count: int) -> None:
        self.folder, self.count = folder, count
        (folder / "images").mkdir(parents=True)
        for number in range(count):
            # The number after the image makes each file another one; decoders stop before it.
            content = photos[number % len(photos)] + str(number).encode()
            (folder / "images" / f"{number}.jpg").write_bytes(content)

    def shard(
        self, out: str, *, workers: int, caption: str = "Chair", count: int | None = None
    ) -> ShardResult:
        rows = [row(n, name=f"{caption} {n}") for n in range(count or self.count)]
        csv = write_csv(self.folder / "products.csv", rows)
        return shard_catalogue(
            csv,
            image_root=self.folder,
            out=self.folder / out,
            settings=PrepSettings(workers=workers, near_duplicate_bits=0),
            state=StateStore(self.folder / f"{out}.duckdb"),
        )


def bench_runs(photos: list[bytes], folder: Path, count: int) -> list[Line]:
    catalogue = Catalogue(folder / "catalogue", photos, count)
    one = seconds(lambda: catalogue.shard("one", workers=1))
    two = seconds(lambda: catalogue.shard("two", workers=2))
    catalogue.shard("most", workers=1, count=count - count // 11)
    tenth = seconds(lambda: catalogue.shard("most", workers=1))
    again = seconds(lambda: catalogue.shard("one", workers=1, caption="Sofa"))
    idle = seconds(lambda: catalogue.shard("one", workers=1, caption="Sofa"))
    return [
        Line(
            f"{count} images, 2 workers against 1", f"{two:.1f} s", f"{one:.1f} s", one / two, 1.7
        ),
        Line("new captions against a fresh run", f"{again:.2f} s", f"{one:.1f} s", one / again, 20),
        Line("a tenth appended, a fresh run", f"{tenth:.2f} s", f"{one:.1f} s", one / tenth, None),
        Line("unchanged run against a fresh run", f"{idle:.2f} s", f"{one:.1f} s", one / idle, 20),
    ]


def lines(images: int, rounds: int) -> list[Line]:
    """Measure all of it, with whole runs over ``images`` files."""
    photos = [photo(seed) for seed in range(48)]
    with tempfile.TemporaryDirectory(prefix="bench-shard-") as folder:
        return [
            *bench_resize(photos, rounds),
            bench_tar(photos, Path(folder), rounds),
            *bench_runs(photos, Path(folder), images),
        ]


def main() -> None:
    """Print one line a goal."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=int, default=3_000, help="of the whole runs")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    show(lines(options.images, options.rounds))


if __name__ == "__main__":
    main()
