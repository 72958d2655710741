"""Every goal of sharding, embedding and search in one run, beside the peers on the same input.

``python -m tests.bench.goals [--quick] [--peers PYTHON]``

Peers in this environment (extra ``bench``): Pillow, OpenCV, webdataset, transformers, faiss,
DuckDB. img2dataset and sentence-transformers want versions of their own: give the Python of a
virtual environment that has them as ``--peers`` or ``FURNCLIP_BENCH_PEERS``, made with
``python -m venv peers && peers/bin/pip install img2dataset sentence-transformers torchvision``.
Ratios are of this machine: bf16 pays only with AVX-512 BF16 or AMX, int8 with VNNI.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from furnclip.encoder import Encoder
from tests.bench import bench_embed, bench_search, bench_shard
from tests.bench.report import Line, interleaved, show


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    parser.add_argument("--peers", default=os.environ.get("FURNCLIP_BENCH_PEERS"))
    options = parser.parse_args()
    scale = 10 if options.quick else 1
    print(_machine())
    show([], head=True)
    show(bench_shard.lines(2_000 // scale, 2 if options.quick else 4), head=False)
    show(bench_embed.lines(16 if options.quick else 32), head=False)
    if options.peers:
        show(_elsewhere(options.peers), head=False)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
        # as users run it: memory that earlier lines freed and kept makes one peer a fifth faster
        show(fresh.submit(bench_search.warm, 1_000_000 // scale).result(), head=False)
    show(bench_search.cold(200_000 // scale), head=False)


def _elsewhere(python: str) -> list[Line]:
    """The peers of another environment, each right after furnclip on the same files."""
    with tempfile.TemporaryDirectory() as name:
        large, small, model = (Path(name) / part for part in ("large", "small", "model"))
        photos = [bench_shard.photo(seed) for seed in range(48)]
        thumbs = bench_embed.photos_of(32)
        for folder, contents in ((large, photos), (small, thumbs)):
            folder.mkdir()
            for number, content in enumerate(contents):
                (folder / f"{number:03}.jpg").write_bytes(content)
        bench_embed.random_model(model)
        (ours,) = interleaved(5, lambda: [bench_shard.ours(photo) for photo in photos])
        theirs = _peer(python, "resize", str(large))
        encoder = Encoder.load(model, device="cpu")
        (mine,) = interleaved(3, lambda: encoder.images(thumbs))
        peer = _peer(python, "embed", str(small), str(model))

    def rate(taken: float) -> str:
        return f"{len(photos) / taken:.0f}/s"

    def each(taken: float) -> str:
        return f"{taken / len(thumbs) * 1e3:.2f} ms"

    name = f"embed auto ({encoder.precision}), sentence-transformers"
    return [
        Line("letterbox, img2dataset's resizer", rate(ours), rate(theirs), theirs / ours, 1.25),
        Line(name, each(mine), each(peer), peer / mine, None),
    ]


def _peer(python: str, *arguments: str) -> float:
    command = [python, "-m", "tests.bench.peers.goals_peers", *arguments]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    taken: float = json.loads(done.stdout.splitlines()[-1])
    return taken


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "")
    flags = {flag for line in lines if line.startswith("flags") for flag in line.split()}
    known = sorted(
        flags & {"avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8"}
    )
    return f"{name}, {os.cpu_count()} cores, {', '.join(known)}"


if __name__ == "__main__":
    main()
