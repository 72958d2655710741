"""Search against its peers, side by side in one run.

``python -m tests.bench.bench_search [--rows 200000] [--dim 512] [--threads 1] [--cold]``

Warm: one query against vectors in memory. Cold: a whole process from nothing to the results.
faiss comes with the extra ``bench``; without it its line is left out.
"""

import argparse
import importlib.util
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from furnclip.vectors import TEXT_COLUMNS, ModelInfo, master_part, read_master, top_k, write_master

Float16 = npt.NDArray[np.float16]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cold", action="store_true", help="also time whole processes")
    options = parser.parse_args()
    gallery = _gallery(options.rows, options.dim)
    queries = gallery[:: max(1, options.rows // 20)][:20].astype(np.float32)
    _warm(gallery, queries, options.threads)
    if options.cold:
        with tempfile.TemporaryDirectory() as folder:
            _cold(Path(folder), gallery)


def _gallery(rows: int, dim: int) -> Float16:
    generator = np.random.default_rng(0)
    gallery = np.empty((rows, dim), dtype=np.float16)
    for start in range(0, rows, 50_000):
        block = generator.standard_normal((min(50_000, rows - start), dim), dtype=np.float32)
        gallery[start : start + len(block)] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return gallery


def _warm(gallery: Float16, queries: npt.NDArray[np.float32], threads: int) -> None:
    print(f"warm, {len(gallery)} x {gallery.shape[1]}, {threads} thread(s): p50 and p95 in ms")
    plain = _times(lambda q: top_k(q[None], gallery, 10), queries)
    exact = [top_k(q[None], gallery, 10)[0][0].tolist() for q in queries]

    import torch

    torch.set_num_threads(threads)
    rows: list[tuple[str, list[float]]] = [
        ("furnclip, numpy", plain),
        ("furnclip, torch loaded", _times(lambda q: top_k(q[None], gallery, 10), queries)),
    ]
    assert exact == [top_k(q[None], gallery, 10)[0][0].tolist() for q in queries]
    if importlib.util.find_spec("faiss"):
        rows.append(("faiss IndexFlatIP f32", _faiss(gallery, queries, threads)))
    if len(gallery) <= 200_000:
        rows.append(("DuckDB array_cosine", _duckdb(gallery, queries[:5], threads)))
    ours = statistics.median(rows[1][1])
    for name, times in rows:
        p95 = float(np.quantile(times, 0.95))
        p50 = statistics.median(times)
        print(f"  {name:<24}{p50 * 1e3:9.1f}{p95 * 1e3:9.1f}   {p50 / ours:6.2f}x ours")
    print(f"  peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


def _faiss(gallery: Float16, queries: npt.NDArray[np.float32], threads: int) -> list[float]:
    import faiss

    faiss.omp_set_num_threads(threads)
    index = faiss.IndexFlatIP(gallery.shape[1])
    for start in range(0, len(gallery), 50_000):
        index.add(gallery[start : start + 50_000].astype(np.float32))
    return _times(lambda q: index.search(q[None], 10), queries)


def _duckdb(gallery: Float16, queries: npt.NDArray[np.float32], threads: int) -> list[float]:
    import duckdb
    import pyarrow as pa

    flat = pa.array(gallery.astype(np.float32).reshape(-1))
    dim = gallery.shape[1]
    with duckdb.connect(config={"threads": threads}) as connection:
        connection.register("arrow", pa.table({"v": pa.FixedSizeListArray.from_arrays(flat, dim)}))
        connection.execute("CREATE TABLE t AS SELECT row_number() OVER () AS id, v FROM arrow")
        sql = f"""SELECT id FROM t
            ORDER BY array_cosine_similarity(v, ?::FLOAT[{dim}]) DESC LIMIT 10"""
        return _times(lambda q: connection.execute(sql, [q.tolist()]).fetchall(), queries)


def _cold(folder: Path, gallery: Float16) -> None:
    from tests.bench.bench_embed import random_model

    model = random_model(folder / "model")
    _write_master(folder, gallery, model)
    master = read_master(folder / "master.parquet", kinds=["image"])
    print(f"cold, {len(master)} products, whole processes: seconds (best of 3)")
    ours = [sys.executable, "-m", "furnclip", "search", "black chair", "--vectors", str(folder)]
    theirs = [sys.executable, "-c", _TRANSFORMERS, str(model), str(folder / "master.parquet")]
    times = {"furnclip search": _process(ours), "transformers + numpy": _process(theirs)}
    for name, seconds in times.items():
        ratio = times["transformers + numpy"] / seconds
        print(f"  {name:<24}{seconds:9.2f}   1/{ratio:.1f} of the transformers path")
    print(f"  master.parquet {(folder / 'master.parquet').stat().st_size / 2**20:.0f} MiB")


_TRANSFORMERS = """
import sys
import numpy as np, pyarrow.parquet as pq, torch
from transformers import CLIPModel, CLIPProcessor
model = CLIPModel.from_pretrained(sys.argv[1]).eval()
processor = CLIPProcessor.from_pretrained(sys.argv[1])
inputs = processor(text=["black chair"], return_tensors="pt")
with torch.no_grad():
    query = torch.nn.functional.normalize(model.get_text_features(**inputs).pooler_output)[0]
column = pq.read_table(sys.argv[2], columns=["tuned_image"]).column(0).combine_chunks()
gallery = column.flatten().to_numpy().reshape(len(column), -1).astype(np.float32)
print(np.argsort(-(gallery @ query.numpy()))[:10])
"""


def _write_master(folder: Path, gallery: Float16, model: Path) -> None:
    from furnclip.model_files import model_sha

    info = ModelInfo(str(model), model_sha(model), gallery.shape[1], "fp32", 224)

    def parts() -> Any:
        for start in range(0, len(gallery), 10_000):
            block = gallery[start : start + 10_000]
            numbers = range(start, start + len(block))
            columns: dict[str, Any] = {
                name: [f"{name} {number}" for number in numbers] for name in TEXT_COLUMNS
            }
            columns |= {"shard": ["x.tar"] * len(block), "split": ["train"] * len(block)}
            columns |= {"jpg_offset": list(numbers), "jpg_size": [1] * len(block)}
            vectors = {"base": (block, block), "tuned": (block, block)}
            yield master_part(columns, vectors)

    start = time.perf_counter()
    write_master(folder / "master.parquet", parts(), {"base": info, "tuned": info})
    print(f"writing the master table of {len(gallery)} rows: {time.perf_counter() - start:.1f} s")


def _process(command: list[str]) -> float:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FURNCLIP_")}
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env=environment)
        times.append(time.perf_counter() - start)
    return min(times)


def _times(
    function: Callable[[npt.NDArray[np.float32]], object], queries: npt.NDArray[np.float32]
) -> list[float]:
    function(queries[0])
    times = []
    for query in queries:
        start = time.perf_counter()
        function(query)
        times.append(time.perf_counter() - start)
    return times


if __name__ == "__main__":
    main()
