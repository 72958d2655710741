"""Training, measured: ``python -m tests.bench.bench_training``.

Prints the gradient error of chunked steps against the whole batch, the speed of linear_probe with
and without cached features, and the speed of the reader. Weights are random; sizes are real.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from transformers import CLIPConfig, CLIPModel

from furnclip.config import TrainingSettings
from furnclip.shards import ShardReader, list_shards
from furnclip.training.augment import ImageTransform
from furnclip.training.data import epoch_batches
from furnclip.training.distributed import World
from furnclip.training.pixels import Decoding, open_pixels
from furnclip.training.towers import Inputs, Towers
from furnclip.training.trainer import Objective, Trainer
from tests.training.shards import write_split
from tests.training.test_cache import Towers as Small
from tests.training.test_cache import accumulate_naively, cached, relative, whole_batch

MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)


def gradient_errors() -> None:
    print("gradient against the whole batch, relative, float64 (11 pairs in chunks of 4)")
    for kind in ("clip", "siglip"):
        for dropout in (0.0, 0.1):
            model = Small(dropout)
            error = relative(cached(model, kind, 4), whole_batch(model, kind, 4))
            print(f"  {kind:6} dropout {dropout}: furnclip {error:.1e}")
    model = Small()
    expected = whole_batch(model, "clip", 4)
    model.zero_grad()
    accumulate_naively(model, 4)
    print(f"  clip   accumulation over micro-batches: {relative(model.gradient(), expected):.1%}")


def linear_probe(rows: int = 32) -> None:
    model = CLIPModel(CLIPConfig())
    model.requires_grad_(requires_grad=False)
    for name in ("visual_projection", "text_projection"):
        getattr(model, name).requires_grad_(requires_grad=True)
    model.logit_scale.requires_grad = True
    towers = Towers(model, ImageTransform("none", MEAN, STD), device="cpu")
    settings = TrainingSettings(micro_batch_size=rows)
    trainer = Trainer(towers, Objective(towers, "clip"), World(sizes=[rows]), settings)
    pixels = torch.randint(0, 256, (rows, 3, 224, 224), dtype=torch.uint8)
    ids = torch.randint(0, 40_000, (rows, 16))
    raw = Inputs(pixels, ids)
    pooled = towers.pool_frozen(raw, micro_batch_size=rows)
    slow = seconds(lambda: trainer.step(raw, None, lr=1e-4), times=2)
    fast = seconds(lambda: trainer.step(pooled, None, lr=1e-4), times=50)
    print(
        f"linear_probe, ViT-B/32, batch {rows}: {1 / slow:.2f} steps/s uncached, "
        f"{1 / fast:.0f} cached, x{slow / fast:.0f}"
    )


def reader(products: int = 1500) -> None:
    with tempfile.TemporaryDirectory() as folder:
        split = write_split(Path(folder) / "train", products=products, size=224)
        shards = ShardReader(list_shards(split))
        batches = epoch_batches(products, 256, seed=0, epoch=1)
        for workers in (0, 2):
            source = Decoding(shards, size=224, workers=workers)
            took = seconds(lambda source=source: list(source.stream(batches)), times=1)  # type: ignore[misc]
            print(f"decoding 224-pixel JPEGs, {workers} workers: {products / took:,.0f} images/s")
        held = open_pixels(shards, size=224, cache_bytes=2**30)
        took = seconds(lambda: list(held.stream(batches)), times=2)
        print(f"picking them from memory: {products / took:,.0f} images/s")


def seconds(work: Callable[[], object], *, times: int) -> float:
    work()
    start = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - start) / times


if __name__ == "__main__":
    gradient_errors()
    linear_probe()
    reader()
