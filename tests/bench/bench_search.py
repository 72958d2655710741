"""Search against its peers, side by side in one run.

``python -m tests.bench.bench_search [--rows 1000000] [--dim 512] [--threads 1] [--no-cold]``

Warm: one query against vectors in memory, p50. Cold: a whole process from nothing to the results,
at 200,000 products. faiss comes with the extra ``bench``.
"""

import argparse
import io
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from furnclip.codes import Codes, CodesFile
from furnclip.vectors import TEXT_COLUMNS, ModelInfo, master_part, top_k, write_master
from tests.bench.report import Line, show

Float16 = npt.NDArray[np.float16]
Query = npt.NDArray[np.float32]
COLD_ROWS = 200_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-cold", action="store_true", help="leave out whole processes")
    options = parser.parse_args()
    found = warm(options.rows, options.dim, options.threads)
    show(found if options.no_cold else [*found, *cold(COLD_ROWS, options.dim)])
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


def warm(rows: int, dim: int = 512, threads: int = 1) -> list[Line]:
    """One query among ``rows`` vectors: furnclip, faiss, and DuckDB on the first 200,000."""
    gallery = _gallery(rows, dim)
    queries = gallery[:: max(1, rows // 20)][:20].astype(np.float32)
    codes = _codes(gallery)
    plain = [top_k(query[None], gallery, 10)[0].tolist() for query in queries]
    assert plain == [top_k(query[None], gallery, 10, codes=codes)[0].tolist() for query in queries]
    works: list[Callable[[Query], object]] = [
        lambda q: top_k(q[None], gallery, 10, codes=codes),
        lambda q: top_k(q[None], gallery, 10),
        _faiss(gallery, threads),
    ]
    ours, uncoded, faiss = _medians(works, queries)
    few = gallery[:COLD_ROWS]
    codes_of_few = _codes(few)
    small, duckdb = _medians(
        [lambda q: top_k(q[None], few, 10, codes=codes_of_few), _duckdb(few, threads)], queries[:5]
    )
    name = f"warm search, {rows:,}"
    return [
        Line(f"{name}, faiss Flat f32", _ms(ours), _ms(faiss), faiss / ours, 3),
        Line(f"{name}, without codes", _ms(ours), _ms(uncoded), uncoded / ours, None),
        Line(f"warm search, {len(few):,}, DuckDB", _ms(small), _ms(duckdb), duckdb / small, None),
    ]


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"


def _codes(gallery: Float16) -> Codes:
    buffer = io.BytesIO()
    file = CodesFile(buffer)
    for start in range(0, len(gallery), 10_000):
        file.add(gallery[start : start + 10_000])
    file.finish()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "codes.i8"
        path.write_bytes(buffer.getvalue())
        found = Codes.open(path, (gallery.shape[0], gallery.shape[1]))
    assert found is not None
    return found


def _gallery(rows: int, dim: int) -> Float16:
    generator = np.random.default_rng(0)
    gallery = np.empty((rows, dim), dtype=np.float16)
    for start in range(0, rows, 50_000):
        block = generator.standard_normal((min(50_000, rows - start), dim), dtype=np.float32)
        gallery[start : start + len(block)] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return gallery


def _faiss(gallery: Float16, threads: int) -> Callable[[Query], object]:
    import faiss

    faiss.omp_set_num_threads(threads)
    index = faiss.IndexFlatIP(gallery.shape[1])
    for start in range(0, len(gallery), 50_000):
        index.add(gallery[start : start + 50_000].astype(np.float32))
    return lambda q: index.search(q[None], 10)


def _duckdb(gallery: Float16, threads: int) -> Callable[[Query], object]:
    import duckdb
    import pyarrow as pa

    flat = pa.array(gallery.astype(np.float32).reshape(-1))
    dim = gallery.shape[1]
    connection = duckdb.connect(config={"threads": threads})
    connection.register("arrow", pa.table({"v": pa.FixedSizeListArray.from_arrays(flat, dim)}))
    connection.execute("CREATE TABLE t AS SELECT row_number() OVER () AS id, v FROM arrow")
    sql = f"""SELECT id FROM t
        ORDER BY array_cosine_similarity(v, ?::FLOAT[{dim}]) DESC LIMIT 10"""
    return lambda q: connection.execute(sql, [q.tolist()]).fetchall()


def cold(rows: int, dim: int = 512) -> list[Line]:
    """Whole processes: ``furnclip search`` against transformers and a product with the gallery."""
    from tests.bench.bench_embed import random_model

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = random_model(folder / "model")
        write_gallery(folder, _gallery(rows, dim), model)
        ours = [sys.executable, "-m", "furnclip", "search", "black chair", "--vectors", str(folder)]
        theirs = [sys.executable, "-c", _TRANSFORMERS, str(model), str(folder / "master.parquet")]
        a, b = _processes(ours, theirs)
    return [Line(f"cold search, {rows:,}, transformers", f"{a:.2f} s", f"{b:.2f} s", b / a, 8)]


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


def write_gallery(folder: Path, gallery: Float16, model: Path) -> None:
    """Write a master table of ``gallery`` under both labels."""
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

    write_master(folder / "master.parquet", parts(), {"base": info, "tuned": info})


def _processes(*commands: list[str]) -> list[float]:
    """Best of 3 of each command, in turn."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FURNCLIP_")}

    def run(command: list[str]) -> float:
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env=environment)
        return time.perf_counter() - start

    times = [[run(command) for command in commands] for _ in range(3)]
    return [min(column) for column in zip(*times, strict=True)]


def _medians(
    works: list[Callable[[Query], object]], queries: npt.NDArray[np.float32]
) -> list[float]:
    """Median time of each of ``works`` over the queries, taken in turn."""

    def timed(work: Callable[[Query], object], query: Query) -> float:
        start = time.perf_counter()
        work(query)
        return time.perf_counter() - start

    for work in works:
        work(queries[0])
    times = [[timed(work, query) for work in works] for query in queries]
    return [float(np.median(column)) for column in zip(*times, strict=True)]


if __name__ == "__main__":
    main()
