"""Other tools read what furnclip writes, and furnclip reads img2dataset's shards.

``python -m tests.bench.clients FOLDER --peers PYTHON``: FOLDER holds ``products.csv`` and its
images; PYTHON has datasets, open_clip_torch, torchvision, pandas, polars, pyarrow, duckdb-cli,
img2dataset and webdataset 0.2.86, the newest that open_clip's training reads with. Exit status 1
when a client fails or counts otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from furnclip.vectors import read_master
from tests.tiny import build_tiny_clip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("catalogue", type=Path)
    parser.add_argument("--peers", default=os.environ.get("FURNCLIP_BENCH_PEERS"), required=False)
    options = parser.parse_args()
    if not options.peers:
        parser.error("give --peers PYTHON")
    catalogue = options.catalogue.resolve()
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        for seed, label in enumerate(("base", "tuned")):
            build_tiny_clip(home / label, image_size=224, seed=seed)
        counts = _made(home, catalogue)
        sound = _read(home, options.peers, counts)
        sound &= _img2dataset(home, options.peers, catalogue)
    sys.exit(not sound)


def _made(home: Path, catalogue: Path) -> dict[str, int]:
    shard = ["shard", str(catalogue / "products.csv"), "--images", str(catalogue), "--json"]
    environment = {"FURNCLIP_PREP__SAMPLES_PER_SHARD": "100"}
    found = json.loads(_furnclip(home, [*shard, "--out", "shards"], environment))
    _furnclip(home, ["embed", "--shards", "shards", "--out", "vectors", *_MODELS])
    return {split: int(count["samples"]) for split, count in found["splits"].items()}


_MODELS = ("--model", "./tuned", "--base", "./base")


def _read(home: Path, python: str, counts: dict[str, int]) -> bool:
    master = str(home / "vectors" / "master.parquet")
    done = _run([python, "-m", "tests.bench.readers", str(home / "shards"), master], home=None)
    everything = counts["train"] + counts["val"] + counts["test"]
    sound = done.returncode == 0
    for line in done.stdout.splitlines():
        if not line.startswith('{"client"'):
            continue
        found: dict[str, Any] = json.loads(line)
        expected = {
            "samples": counts["train"], "sizes.json": counts["train"], "rows": everything,
            "val samples": counts["val"],
        }  # fmt: skip
        right = all(found[key] == expected[key] for key in expected.keys() & found.keys())
        sound &= right
        print("ok  " if right else "FAIL", line)
    if done.returncode:
        print(done.stderr)
    return sound


def _img2dataset(home: Path, python: str, catalogue: Path) -> bool:
    """Let img2dataset make shards of the images, and embed those."""
    files = sorted((catalogue / "images").iterdir())[:60]
    urls = home / "urls.csv"
    urls.write_text("url,caption\n" + "".join(f"{p.as_uri()},{p.stem}\n" for p in files))
    code = (
        "from img2dataset import download; download(processes_count=1, thread_count=4,"
        f"url_list={str(urls)!r}, image_size=224, resize_mode='border', input_format='csv',"
        f"url_col='url', caption_col='caption', output_format='webdataset',"
        f"output_folder={str(home / 'theirs')!r}, number_sample_per_shard=25)"
    )
    done = _run([python, "-c", code], home=None)
    shards = sorted((home / "theirs").glob("*.tar"))
    if not shards:
        print("FAIL img2dataset wrote nothing:", done.stderr[-500:])
        return False
    _furnclip(home, ["embed", "--shards", "theirs", "--out", "theirs-vectors", *_MODELS])
    master = read_master(home / "theirs-vectors" / "master.parquet")
    captions = set(master.column("caption"))
    sound = len(master) == len(files) and captions == {path.stem for path in files}
    verdict = "ok  " if sound else "FAIL"
    print(f"{verdict} furnclip embeds {len(master)} of {len(files)} images of img2dataset")
    return sound


def _furnclip(home: Path, arguments: list[str], environment: dict[str, str] | None = None) -> str:
    done = _run([sys.executable, "-m", "furnclip", *arguments], home=home, extra=environment)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout


def _run(
    command: list[str], *, home: Path | None, extra: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "NO_ALBUMENTATIONS_UPDATE": "1"}
    environment |= {"PYTHONPATH": str(Path.cwd())} | (extra or {})
    return subprocess.run(
        command, cwd=home, env=environment, capture_output=True, text=True, check=False
    )


if __name__ == "__main__":
    main()
