"""Epochs, splits and metrics."""

import csv
import io
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image

from furnclip import metrics
from furnclip.config import PrepSettings
from furnclip.preparing.sharding import shard_catalogue
from furnclip.shards import ShardReader, list_shards
from furnclip.state import StateStore
from furnclip.training import data as data_module
from furnclip.training.pixels import Decoding
from tests.exactness.check import Check
from tests.test_metrics import _oracle, _unit


def uncovered(*, with_replacement: bool = False) -> float:
    """Rows of three epochs that are missing or come twice, over three ranks of two threads."""
    reader = ShardReader([noisy_shard(Path("epoch.tar"), 61)])
    (every,) = Decoding(reader, size=32).stream([np.arange(len(reader))])
    names = {picture.numpy().tobytes(): row for row, picture in enumerate(every)}
    assert len(names) == 61, "the pictures tell the rows apart"
    draw = np.random.default_rng
    wrong = 0

    class Drawing:
        def __init__(self, seed: Any) -> None:
            self.permutation = lambda rows: draw(seed).integers(0, rows, rows)

    with patch.object(np.random, "default_rng", Drawing if with_replacement else draw):
        for epoch in (1, 2, 3):
            seen: Counter[int] = Counter()
            batches = data_module.epoch_batches(61, 16, seed=0, epoch=epoch)
            for rank in range(3):
                own = [
                    batch[sum(sizes[:rank]) :][: sizes[rank]]
                    for batch in batches
                    for sizes in [data_module.rank_sizes(len(batch), 3)]
                ]
                source = Decoding(reader, size=32, workers=2)
                for pixels in source.stream(own):
                    seen.update(names[picture.numpy().tobytes()] for picture in pixels)
            wrong += sum(abs(seen[row] - 1) for row in range(61))
    return float(wrong)


def noisy_shard(path: Path, count: int) -> Path:
    """Write a shard of pictures no two of which are alike."""
    noise = np.random.default_rng(0)
    with tarfile.open(path, "w") as archive:
        for row in range(count):
            buffer = io.BytesIO()
            pixels = noise.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(buffer, "JPEG")
            info = tarfile.TarInfo(f"{row:06d}.jpg")
            info.size = len(buffer.getvalue())
            archive.addfile(info, io.BytesIO(buffer.getvalue()))
    return path


def torn_products(*, group: str | None = None) -> float:
    """Products of three photos each that are in more than one split."""
    folder = Path("shop")
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0)
    with (folder / "cleaned.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["product_id", "name", "clean_title", "local_path", "row"])
        for row in range(180):
            name = f"photos/{row}.jpg"
            pixels = noise.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((64, 64)).save(folder / name)
            table.writerow([f"p{row // 3}", f"chair {row // 3}", f"chair {row // 3}", name, row])
    out = folder / f"shards-{group}"
    shard_catalogue(
        folder / "cleaned.csv",
        image_root=folder,
        out=out,
        settings=PrepSettings(image_size=64, group_column=group, near_duplicate_bits=0),
        state=StateStore(folder / f"{group}.duckdb"),
    )
    splits: dict[str, set[str]] = {}
    for split in ("train", "val", "test"):
        reader = ShardReader(list_shards(out / split))
        for row in range(len(reader)):
            splits.setdefault(str(reader.meta(row)["product_id"]), set()).add(split)
    assert len(splits) == 60
    return float(sum(len(found) > 1 for found in splits.values()))


def metric_error(**broken: Any) -> float:
    """Against the textbook's loops over a sorted list."""
    noise = np.random.default_rng(0)
    gallery, queries = _unit(noise.normal(size=(157, 8))), _unit(noise.normal(size=(41, 8)))
    of_gallery = [str(g) for g in noise.integers(0, 30, 157)]
    of_queries = [str(g) for g in noise.integers(0, 30, 41)]
    expected = _oracle(queries, gallery, of_queries, of_gallery)
    with (
        patch.multiple(metrics, **broken) if broken else patch.object(metrics, "_TIE", metrics._TIE)
    ):
        found = metrics.retrieval_metrics(
            queries, gallery, query_groups=of_queries, gallery_groups=of_gallery
        )
    values = {
        **{f"hit@{k}": value for k, value in found.hit_at.items()},
        **{f"recall@{k}": value for k, value in found.recall_at.items()},
        "mrr": found.mrr,
        "ndcg": found.ndcg_at_10,
        "map": found.map,
        "median_rank": found.median_rank,
    }
    return max(abs(values[name] - expected[name]) for name in values)


def collapsed(**broken: Any) -> float:
    """hit@10 of a model that maps everything to one point, 200 products."""
    same = np.repeat(_unit(np.random.default_rng(0).normal(size=(1, 67))), 200, axis=0)
    groups = [str(i) for i in range(200)]
    with (
        patch.multiple(metrics, **broken) if broken else patch.object(metrics, "_TIE", metrics._TIE)
    ):
        found = metrics.retrieval_metrics(same, same, query_groups=groups, gallery_groups=groups)
    return found.hit_at[10]


def _unnormalised(ranks: Any) -> float:
    return float(np.sum(1.0 / np.log2(ranks[ranks <= 10] + 1)))


def checks() -> Iterator[Check]:
    yield Check(
        "an epoch has every sample once, over ranks and workers",
        "missing or repeated",
        0,
        uncovered,
        "drawn with replacement",
        lambda: uncovered(with_replacement=True),
    )
    yield Check(
        "no product is in two splits",
        "products",
        0,
        torn_products,
        "rows drawn instead of products",
        lambda: torn_products(group="row"),
    )
    yield Check(
        "metrics are those of a brute-force oracle",
        "largest difference",
        1e-12,
        metric_error,
        "nDCG not divided by the ideal",
        lambda: metric_error(_ndcg_at_10=_unnormalised),
    )
    yield Check(
        "a collapsed model finds nothing (ties are pessimistic)",
        "hit@10",
        0,
        collapsed,
        "ties in our favour",
        lambda: collapsed(_TIE=-1e-5),
    )
