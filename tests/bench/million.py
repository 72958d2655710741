"""A synthetic million: collecting the vectors of all shards, then searching them.

``python -m tests.bench.million [--rows 1000000] [--labels 2] [--dir FOLDER]``

Writes shards of 10,000 rows with metadata and one tiny picture, and a vector file a shard and
model, as workers leave them; then times ``embed``'s collect step, the search warm and cold, and
prints memory and file sizes. Needs 15 GB of disk for a million rows and two models.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from furnclip.embeddings.files import Samples, find_shards, shard_sha, vector_file, write_vectors
from furnclip.model_files import model_sha
from furnclip.preparing.tar import sample_members, write_tar
from furnclip.vectors import ModelInfo
from tests.bench.bench_embed import random_model

_PER_SHARD, _DIM = 10_000, 512
_COLORS = ("black", "white", "oak", "blue", "red", "green", "grey")
_TYPES = ("sofa", "chair", "table", "bed", "lamp", "shelf", "desk", "bench", "stool")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--labels", type=int, choices=(1, 2), default=2)
    parser.add_argument("--dir", type=Path)
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="million-", dir=options.dir))
    try:
        labels = ("base", "tuned")[: options.labels]
        start = time.perf_counter()
        prepare(home, options.rows, labels)
        print(f"{options.rows:,} rows prepared in {time.perf_counter() - start:.0f} s", flush=True)
        collect(home, labels)
        sizes(home / "vectors")
        warm(home)
        cold(home)
    finally:
        shutil.rmtree(home)


def prepare(home: Path, rows: int, labels: tuple[str, ...]) -> None:
    """Write shards and the vector files that workers would have made of them."""
    for number, label in enumerate(labels):
        random_model(home / label)
        config = home / label / "config.json"  # another identity for the same weights
        text = json.loads(config.read_text())
        config.write_text(json.dumps(text | {"bench": number}))
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (120, 90, 60)).save(buffer, "JPEG")
    for number, start in enumerate(range(0, rows, _PER_SHARD)):
        count = min(_PER_SHARD, rows - start)
        write_tar(
            home / "shards" / "train" / f"train-{number:06d}.tar",
            sample_members(_samples(start, count, buffer.getvalue())),
        )
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((500, _DIM), dtype=np.float32)
    for label in labels:
        info = ModelInfo(str(home / label), model_sha(home / label), _DIM, "fp32", 224)
        for shard in find_shards(home / "shards"):
            keys = [meta["key"] for meta in _metas(shard.number * _PER_SHARD, rows)]
            vectors = centres[rng.integers(0, 500, len(keys))]
            vectors = vectors + rng.standard_normal(vectors.shape, dtype=np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            metas = list(_metas(shard.number * _PER_SHARD, rows))
            write_vectors(
                vector_file(home / "vectors", info.sha, shard),
                shard,
                Samples(keys, metas, [""] * len(keys)),
                image=vectors,
                text=vectors,
                info=info,
                sha256=shard_sha(shard.path),
            )


def _metas(start: int, rows: int) -> Iterator[dict[str, str]]:
    for number in range(start, min(start + _PER_SHARD, rows)):
        color, kind = _COLORS[number % len(_COLORS)], _TYPES[number % len(_TYPES)]
        yield {
            "key": f"{number:024x}", "product_id": f"P{number:07d}", "color": color,
            "clean_title": f"{color} {kind} {number}", "title": f"BRAND {color} {kind} {number}",
            "object_type": kind, "style": "modern", "material": "wood", "image_sha256": "",
        }  # fmt: skip


def _samples(start: int, count: int, jpg: bytes) -> Iterator[tuple[str, bytes, bytes, bytes]]:
    for meta in _metas(start, start + count):
        text = json.dumps(meta, sort_keys=True).encode()
        yield meta["key"], jpg, text, meta["clean_title"].encode()


def collect(home: Path, labels: tuple[str, ...]) -> None:
    """Run the collect step in a process of its own."""
    models = {label: str(home / label) for label in labels}
    code = (
        "import resource; from pathlib import Path\n"
        "from furnclip.embeddings.catalogue import embed_catalogue\n"
        f"found = embed_catalogue({models!r}, shards_dir=Path({str(home / 'shards')!r}),"
        f" out=Path({str(home / 'vectors')!r}), only_collect=True)\n"
        "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20\n"
        "print(f'collect: {found.rows:,} rows in {found.seconds:.0f} s, peak {peak:.2f} GiB')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def sizes(vectors: Path) -> None:
    found = {
        "master.parquet": [vectors / "master.parquet"],
        ".f16 copies": list(vectors.glob("*.f16")),
        ".i8 codes": list(vectors.glob("*.i8")),
        ".arrow copy": list(vectors.glob("*.arrow")),
        "vector files": list(vectors.glob("*/*.parquet")),
    }
    for name, paths in found.items():
        print(f"  {name:16}{sum(path.stat().st_size for path in paths) / 2**20:9,.0f} MiB")


def warm(home: Path, queries: int = 40) -> None:
    """Search one opened master table again and again; the query's own embedding is left out."""
    from furnclip.embeddings.search import search
    from furnclip.embeddings.session import SearchSession

    start = time.perf_counter()
    session = SearchSession.open(home / "vectors")
    opened = time.perf_counter() - start
    label = next(iter(session.master.models))
    gallery = session.master.vectors(label, "image")
    rng = np.random.default_rng(1)
    times = []
    for row in rng.integers(0, len(gallery), queries + 1).tolist():
        noise = rng.standard_normal(gallery.shape[1], dtype=np.float32)
        query = gallery[row].astype(np.float32) + 0.03 * noise
        start = time.perf_counter()
        hits = search(session.master, query / np.float32(np.linalg.norm(query)), label=label)
        times.append(time.perf_counter() - start)
        assert len(hits) == 10
    p50, p95 = np.quantile(times[1:], [0.5, 0.95]) * 1e3
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"warm: opened in {opened:.2f} s; p50 {p50:.0f} ms, p95 {p95:.0f} ms (peak {peak:.2f} GiB)"
    )


def cold(home: Path, times: int = 10) -> None:
    """Whole processes, with the files in the page cache and without."""
    command = [
        sys.executable, "-m", "furnclip", "search", "oak table", "--json",
        "--vectors", str(home / "vectors"),
    ]  # fmt: skip
    for name, drop in (("files cached", False), ("files not cached", True)):
        taken, peak = [], 0.0
        for _ in range(times):
            if drop:
                _forget(home)
            start = time.perf_counter()
            running = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(running.pid, 0)
            taken.append(time.perf_counter() - start)
            peak = max(peak, usage.ru_maxrss / 2**20)
            assert status == 0
        p50, p95 = np.quantile(taken, [0.5, 0.95])
        print(f"cold, {name}: p50 {p50:.2f} s, p95 {p95:.2f} s (peak {peak:.2f} GiB)", flush=True)


def _forget(folder: Path) -> None:
    """Ask the kernel to drop the files' pages."""
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


if __name__ == "__main__":
    main()
