"""Embedding against its peers, side by side in one run, one core unless --threads says more.

``python -m tests.bench.bench_embed [--images 64] [--threads 1] [--model FOLDER]``

Without ``--model`` a ViT-B/32 with random weights is made, which costs the same as a trained one.
"""

import argparse
import io
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageFilter

from furnclip.encoder import Encoder, image_tensor, pixel_array
from furnclip.vectors import fixed_size_list, write_table
from tests.bench.report import Line, interleaved, show


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", type=Path)
    options = parser.parse_args()

    show(lines(options.images, threads=options.threads, model=options.model))


def lines(images: int, *, threads: int = 1, model: Path | None = None) -> list[Line]:
    """Measure preprocessing, the models and the files."""
    import torch

    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = model or random_model(folder / "vit-b-32")
        photos = photos_of(images)
        return [_preprocessing(model, photos), *_model(model, photos, folder), *_files(folder)]


def random_model(folder: Path) -> Path:
    """Write a ViT-B/32 with random weights and a small tokenizer."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    from tests.tiny import build_tiny_clip

    build_tiny_clip(folder, image_size=224)
    torch.manual_seed(0)
    CLIPModel(CLIPConfig()).save_pretrained(folder)
    return folder


def photos_of(count: int) -> list[bytes]:
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


def _preprocessing(model: Path, photos: list[bytes]) -> Line:
    from transformers import CLIPProcessor

    processor: Any = CLIPProcessor.from_pretrained(model).image_processor
    images = _decoded(photos)
    mean, std = processor.image_mean, processor.image_std
    ours, theirs = interleaved(
        5,
        lambda: image_tensor(images, size=224, mean=mean, std=std),
        lambda: processor(images=images, return_tensors="pt")["pixel_values"],
    )
    mine = image_tensor(images, size=224, mean=mean, std=std)
    peer = processor(images=images, return_tensors="pt")["pixel_values"]
    difference = float((mine - peer).abs().max())
    what = f"preprocessing, {type(processor).__name__} (differ {difference:.0e})"
    return Line(what, _each(ours, images), _each(theirs, images), theirs / ours, 2.5)


def _model(model: Path, photos: list[bytes], folder: Path) -> list[Line]:
    import torch
    from transformers import CLIPModel, CLIPProcessor

    from furnclip.quantized import Int8Encoder

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
    low = Int8Encoder(full, folder / "int8")

    def eight_bits() -> np.ndarray[Any, Any]:
        parts = [photos[start : start + 32] for start in range(0, len(photos), 32)]
        return np.concatenate([low.pixels(pixel_array(_decoded(part), 224)) for part in parts])

    theirs = transformers_fp32()
    found: dict[str, tuple[Callable[[], Any], float | None]] = {
        f"auto ({auto.precision})": (lambda: auto.images(photos), None),
        "int8": (eight_bits, 3.0),
    }
    if auto.precision == "bf16":  # emulated, it takes seconds an image
        found["bf16"] = (lambda: auto.images(photos), 1.8)
    peer_time, *times = interleaved(3, transformers_fp32, *(work for work, _ in found.values()))
    lines = []
    for (name, (work, goal)), taken in zip(found.items(), times, strict=True):
        cosine = float((theirs * work()).sum(axis=1).min())
        what = f"embed {name}, transformers fp32 (cosine {cosine:.5f})"
        lines.append(
            Line(what, _each(taken, photos), _each(peer_time, photos), peer_time / taken, goal)
        )
    return lines


def _files(folder: Path, rows: int = 20_000) -> list[Line]:
    vectors = np.random.default_rng(0).normal(size=(rows, 512)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    list_file, ours_file = folder / "list.parquet", folder / "ours.parquet"

    def as_lists() -> None:
        pq.write_table(pa.table({"embedding": vectors.tolist()}), list_file)

    def as_halves() -> None:
        write_table(ours_file, [pa.table({"embedding": fixed_size_list(vectors)})], {})

    ours, theirs = interleaved(3, as_halves, as_lists)
    a, b = (path.stat().st_size / 2**20 for path in (ours_file, list_file))
    name = f"parquet of {rows:,} vectors against .tolist()"
    return [
        Line(f"{name}, time", f"{ours:.2f} s", f"{theirs:.2f} s", theirs / ours, 5),
        Line(f"{name}, size", f"{a:.1f} MiB", f"{b:.1f} MiB", b / a, round(1 / 0.35, 2)),
    ]


def _each(seconds: float, items: Sequence[object]) -> str:
    return f"{seconds / len(items) * 1e3:.2f} ms"


if __name__ == "__main__":
    main()
