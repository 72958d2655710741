"""Embedding against its peers, side by side in one run, one core unless --threads says more.

``python -m tests.bench.bench_embed [--images 64] [--threads 1] [--model FOLDER]``

Without ``--model`` a ViT-B/32 with random weights is made, which costs the same as a trained one.
"""

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageFilter

from furnclip.encoder import Encoder, image_tensor
from furnclip.vectors import fixed_size_list, write_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--vector-rows", type=int, default=20_000)
    options = parser.parse_args()

    import torch

    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or random_model(Path(folder) / "vit-b-32")
        photos = _photos(options.images)
        _preprocessing(model, photos)
        _model(model, photos)
        _files(Path(folder), options.vector_rows)


def random_model(folder: Path) -> Path:
    """Write a ViT-B/32 with random weights and a small tokenizer."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    from tests.tiny import build_tiny_clip

    build_tiny_clip(folder, image_size=224)
    torch.manual_seed(0)
    CLIPModel(CLIPConfig()).save_pretrained(folder)
    return folder


def _photos(count: int) -> list[bytes]:
    """Encode smooth noise at the size of a shard's images."""
    generator = np.random.default_rng(0)
    photos = []
    for _ in range(count):
        noise = generator.integers(0, 256, (224, 224, 3)).astype(np.uint8)
        buffer = io.BytesIO()
        image = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(2))
        image.save(buffer, "JPEG", quality=95, subsampling=0)
        photos.append(buffer.getvalue())
    return photos


def _decoded(photos: list[bytes]) -> list[Image.Image]:
    return [Image.open(io.BytesIO(photo)).convert("RGB") for photo in photos]


def _preprocessing(model: Path, photos: list[bytes]) -> None:
    from transformers import CLIPProcessor

    processor: Any = CLIPProcessor.from_pretrained(model).image_processor
    images = _decoded(photos)
    mean, std = processor.image_mean, processor.image_std
    theirs = _seconds(lambda: processor(images=images, return_tensors="pt")["pixel_values"])
    ours = _seconds(lambda: image_tensor(images, size=224, mean=mean, std=std))
    difference = float(
        (
            image_tensor(images, size=224, mean=mean, std=std)
            - processor(images=images, return_tensors="pt")["pixel_values"]
        )
        .abs()
        .max()
    )
    count = len(images)
    print(f"preprocessing, ms an image (largest difference {difference:.1e})")
    print(f"  CLIPImageProcessor      {theirs / count * 1e3:8.2f}")
    print(f"  furnclip                {ours / count * 1e3:8.2f}   {ours / theirs:.2f} of it")


def _model(model: Path, photos: list[bytes]) -> None:
    import torch
    from transformers import CLIPModel, CLIPProcessor

    peer: Any = CLIPModel.from_pretrained(model)
    peer.eval()
    processor: Any = CLIPProcessor.from_pretrained(model)

    def transformers_fp32() -> np.ndarray[Any, Any]:
        rows = []
        with torch.no_grad():
            for start in range(0, len(photos), 32):
                inputs = processor(images=_decoded(photos[start : start + 32]), return_tensors="pt")
                features = peer.get_image_features(**inputs).pooler_output
                rows.append(torch.nn.functional.normalize(features, dim=-1).numpy())
        return np.concatenate(rows)

    full = Encoder.load(model, device="cpu", precision="fp32")
    auto = Encoder.load(model, device="cpu", precision="auto")
    theirs = transformers_fp32()
    rates = {
        "transformers fp32": _seconds(transformers_fp32, repeats=3),
        "furnclip fp32": _seconds(lambda: full.images(photos), repeats=3),
        f"furnclip auto ({auto.precision})": _seconds(lambda: auto.images(photos), repeats=3),
    }
    cosine = float((theirs * auto.images(photos)).sum(axis=1).min())
    base = rates["transformers fp32"]
    print(f"image bytes to vector, ms an image (smallest cosine {cosine:.6f})")
    for name, seconds in rates.items():
        print(f"  {name:<24}{seconds / len(photos) * 1e3:8.2f}   {base / seconds:.2f}x")


def _files(folder: Path, rows: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(rows, 512)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    list_file, ours_file = folder / "list.parquet", folder / "ours.parquet"

    def as_lists() -> None:
        pq.write_table(pa.table({"embedding": vectors.tolist()}), list_file)

    def as_halves() -> None:
        write_table(ours_file, [pa.table({"embedding": fixed_size_list(vectors)})], {})

    theirs, ours = _seconds(as_lists, repeats=2), _seconds(as_halves, repeats=2)
    size = ours_file.stat().st_size / list_file.stat().st_size
    print(f"parquet of {rows} vectors")
    print(f"  .tolist()               {theirs:8.2f} s  {list_file.stat().st_size / 2**20:7.1f} MiB")
    print(f"  furnclip                {ours:8.2f} s  {ours_file.stat().st_size / 2**20:7.1f} MiB")
    print(f"  {theirs / ours:.1f}x as fast to write, {size:.2f} of the size")


def _seconds(function: Callable[[], object], *, repeats: int = 5) -> float:
    """Return the median time of ``repeats`` calls after one that warms up."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    main()
