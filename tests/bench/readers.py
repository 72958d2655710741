"""What other tools read of furnclip's files; run by the Python that has them, see ``clients.py``.

Imports nothing of furnclip. Prints a JSON object a line: client, and what it counted.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch


def webdataset_(shards: Path, _: Path) -> dict[str, Any]:
    import webdataset as wds

    urls = [str(path) for path in sorted(shards.glob("train/*.tar"))]
    dataset = wds.WebDataset(urls, shardshuffle=False).decode("pil").to_tuple("jpg", "txt", "json")
    samples = [(image.size, text, meta["key"]) for image, text, meta in dataset]
    return {"samples": len(samples), "keys": len({key for *_, key in samples})}


def datasets_(shards: Path, _: Path) -> dict[str, Any]:
    import datasets

    files = [str(path) for path in sorted(shards.glob("train/*.tar"))]
    cache = shards.parent / "cache"
    found = datasets.load_dataset(
        "webdataset", data_files={"train": files}, split="train", cache_dir=str(cache)
    )
    return {"samples": len(found), "size": found[0]["jpg"].size, "title": found[0]["json"]["title"]}


def open_clip_(shards: Path, _: Path) -> dict[str, Any]:
    """``--train-data`` with the size from sizes.json, then ``--val-data``."""
    import open_clip
    from open_clip_train.data import get_dataset_size, get_wds_dataset

    def paths(split: str) -> str:
        return "::".join(str(path) for path in sorted((shards / split).glob("*.tar")))

    _, train, val = open_clip.create_model_and_transforms("RN50", pretrained=None)
    tokenizer = open_clip.get_tokenizer("RN50")
    count, number = get_dataset_size(paths("train"))
    args = SimpleNamespace(
        train_data=paths("train"), val_data=paths("val"), train_num_samples=None,
        val_num_samples=None, train_data_upsampling_factors=None, dataset_resampled=False,
        seed=0, workers=1, world_size=1, batch_size=16,
    )  # fmt: skip
    loader = get_wds_dataset(args, train, is_train=True, tokenizer=tokenizer).dataloader
    batches = [(images.shape, texts.shape) for images, texts in loader]
    exact = get_wds_dataset(args, val, is_train=False, tokenizer=tokenizer).dataloader
    seen = sum(len(texts) for _, texts in exact)
    return {
        "sizes.json": count, "shards": number, "train batches": len(batches),
        "batch": [list(shape) for shape in batches[0]], "val samples": seen,
    }  # fmt: skip


def pandas_(_: Path, master: Path) -> dict[str, Any]:
    import numpy as np
    import pandas as pd

    table = pd.read_parquet(master)
    vectors = np.array(table["tuned_image"].to_list(), dtype=np.float32)
    return {"rows": len(table), "dim": vectors.shape[1], "norm": float(_norm(vectors))}


def polars_(_: Path, master: Path) -> dict[str, Any]:
    import numpy as np
    import polars as pl

    table = pl.read_parquet(master)
    vectors = np.asarray(table["tuned_image"].to_list(), dtype=np.float32)
    kind = str(table.schema["tuned_image"])
    return {"rows": table.height, "type": kind, "norm": float(_norm(vectors))}


def pyarrow_(_: Path, master: Path) -> dict[str, Any]:
    import pyarrow.parquet as pq

    table = pq.read_table(master)
    return {"rows": table.num_rows, "type": str(table.schema.field("tuned_image").type)}


def duckdb_cli(_: Path, master: Path) -> dict[str, Any]:
    sql = f"""SELECT count(*) AS rows, any_value(typeof(tuned_image)) AS type,
        round(max(abs(list_inner_product(tuned_image::FLOAT[], tuned_image::FLOAT[]) - 1)), 4)
        AS off FROM '{master}'"""
    program = shutil.which("duckdb") or str(Path(sys.executable).with_name("duckdb"))
    done = subprocess.run([program, "-json", "-c", sql], check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)[0]
    return found


def _norm(vectors: Any) -> Any:
    return torch.linalg.vector_norm(torch.from_numpy(vectors), dim=1).mean()


READERS: tuple[Callable[[Path, Path], dict[str, Any]], ...] = (
    webdataset_, datasets_, open_clip_, pandas_, polars_, pyarrow_, duckdb_cli,
)  # fmt: skip

if __name__ == "__main__":
    where, table = map(Path, sys.argv[1:])
    for reader in READERS:
        name = reader.__name__.rstrip("_")
        print(json.dumps({"client": name, **reader(where, table)}), flush=True)
