"""The vector file of one shard by one model, and collecting all of them into the master table.

``<embeddings_dir>/<model sha>/<shard name>.parquet``: key, product_id, split, image_sha256, image,
text. Its footer names the model, the precision and the shard's sha256. A file that says something
else than what is asked for is never mixed in: a changed shard is embedded again, a changed
precision is refused.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from furnclip.errors import DataError
from furnclip.progress import SILENT, Progress
from furnclip.shards import ShardReader, list_shards
from furnclip.vectors import (
    MASTER,
    TEXT_COLUMNS,
    ModelInfo,
    fixed_size_array,
    fixed_size_list,
    master_part,
    read_footer,
    write_master,
    write_table,
)

Float32 = npt.NDArray[np.float32]
SPLITS = ("train", "val", "test")  # mini_train repeats products of train


@dataclass(frozen=True)
class Shard:
    """One tar, the split it belongs to, and its place among all shards."""

    path: Path
    split: str
    number: int


@dataclass(frozen=True)
class Samples:
    """What the vectors of one shard are made from, in the shard's order."""

    keys: list[str]
    metas: list[dict[str, Any]]
    captions: list[str]


def find_shards(shards_dir: Path) -> list[Shard]:
    """List the shards of every split; a folder of bare tars counts as split ``all``.

    Raises ``DataError`` when there are none.
    """
    splits = [name for name in SPLITS if any((shards_dir / name).glob("*.tar"))]
    if splits:
        found = [(path, name) for name in splits for path in list_shards(shards_dir / name)]
    else:
        found = [(path, "all") for path in list_shards(shards_dir)]
    return [Shard(path, split, number) for number, (path, split) in enumerate(found)]


def read_samples(reader: ShardReader) -> Samples:
    """Read the metadata and first caption of every sample; no image is touched."""
    keys = [reader.ref(i).key for i in range(len(reader))]
    metas = [reader.meta(i) for i in range(len(reader))]
    captions = [reader.text(i) or str(metas[i].get("title") or "") for i in range(len(reader))]
    return Samples(keys, metas, captions)


def shard_sha(path: Path) -> str:
    """Hash a shard's bytes (0.1 s for 10,000 samples), once in a process while it is unchanged."""
    try:
        found = path.stat()
        return _file_sha(path, found.st_size, found.st_mtime_ns)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


@functools.lru_cache(maxsize=100_000)
def _file_sha(path: Path, size: int, mtime_ns: int) -> str:
    del size, mtime_ns  # part of the cache key
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def vector_file(out: Path, sha: str, shard: Shard) -> Path:
    """Return where the vectors of ``shard`` by the model ``sha`` are kept."""
    return out / sha / f"{shard.path.stem}.parquet"


def precision_of(out: Path, sha: str) -> str | None:
    """Return the precision of the vectors there are of a model, None when there are none."""
    for path in sorted((out / sha).glob("*.parquet")):
        try:
            footer = read_footer(pq.read_schema(path).metadata, path)
        except (pa.ArrowException, OSError, DataError):
            continue
        return str(footer["model"]["dtype"])
    return None


def is_current(path: Path, info: ModelInfo, sha256: str) -> bool:
    """Tell whether a vector file exists and was made from this shard, by this model.

    Raises ``DataError`` when it was made at another precision or image size: vectors of one
    model must be comparable.
    """
    if not path.is_file():
        return False
    try:
        footer = read_footer(pq.read_schema(path).metadata, path)
    except (pa.ArrowException, OSError, DataError):
        return False  # not ours or damaged: written again
    wanted = _described(info)
    for name, value in footer.get("model", {}).items():
        if value != wanted.get(name):
            raise DataError(
                f"{path} holds vectors with {name} {value}, not {wanted.get(name)}; "
                "they are not mixed",
                hint=f"use `--precision {footer['model'].get('dtype')}`, "
                f"or remove {path.parent} to embed everything again",
            )
    return bool(footer.get("shard") == sha256)


def write_vectors(
    path: Path,
    shard: Shard,
    samples: Samples,
    *,
    image: Float32,
    text: Float32,
    info: ModelInfo,
    sha256: str,
) -> None:
    """Write one shard's vectors atomically, removing what a killed run left beside them."""
    for stale in path.parent.glob(f".{path.name}.*.tmp"):
        stale.unlink(missing_ok=True)
    table = pa.table(
        {
            "key": pa.array(samples.keys, pa.string()),
            "product_id": _texts(samples.metas, "product_id"),
            "split": pa.array([shard.split] * len(samples.keys), pa.string()),
            "image_sha256": _texts(samples.metas, "image_sha256"),
            "image": fixed_size_list(image),
            "text": fixed_size_list(text),
        }
    )
    write_table(path, [table], {"model": _described(info), "shard": sha256})


def collect(
    shards: Sequence[Shard],
    out: Path,
    models: Mapping[str, ModelInfo],
    *,
    progress: Progress = SILENT,
) -> int:
    """Merge the vector files of all shards and models into ``master.parquet``; return its rows.

    Raises ``DataError`` naming the first vectors that are missing or out of date.
    """
    master = out / MASTER
    for stale in out.glob(f".{MASTER}.*.tmp"):
        stale.unlink(missing_ok=True)
    with progress.task("Collecting", total=len(shards), unit="shards") as task:

        def parts() -> Iterator[pa.Table]:
            for shard in shards:
                yield _part(shard, out, models)
                task.advance()

        return write_master(master, parts(), models)


def _part(shard: Shard, out: Path, models: Mapping[str, ModelInfo]) -> pa.Table:
    sha256 = shard_sha(shard.path)
    with closing(ShardReader([shard.path])) as reader:
        samples = read_samples(reader)
        refs = reader.refs
    columns: dict[str, Any] = {name: _texts(samples.metas, name) for name in TEXT_COLUMNS}
    columns["product_id"] = [
        str(meta.get("product_id") or key)
        for key, meta in zip(samples.keys, samples.metas, strict=True)
    ]
    relative = os.path.relpath(shard.path.resolve(), out.resolve())
    columns |= {
        "key": samples.keys,
        "split": [shard.split] * len(refs),
        "caption": samples.captions,
        "shard": [Path(relative).as_posix()] * len(refs),
        "jpg_offset": [ref.jpg[0] for ref in refs],
        "jpg_size": [ref.jpg[1] for ref in refs],
    }
    vectors: dict[str, tuple[Any, Any]] = {}
    for label, info in models.items():
        path = vector_file(out, info.sha, shard)
        if not is_current(path, info, sha256):
            raise DataError(
                f"no vectors of {shard.path} by {label} ({info.spec})",
                hint="run `furnclip embed` again: finished shards are kept",
            )
        table = pq.read_table(path, columns=["key", "image", "text"])
        if table.column("key").to_pylist() != samples.keys:
            raise DataError(f"{path} does not match {shard.path}", hint="remove it and embed again")
        vectors[label] = (
            fixed_size_array(table.column("image")),
            fixed_size_array(table.column("text")),
        )
    return master_part(columns, vectors)


def _described(info: ModelInfo) -> dict[str, Any]:
    """Return what must be equal for vectors to be comparable; the model's folder is not part."""
    return {"sha": info.sha, "dim": info.dim, "dtype": info.dtype, "image_size": info.image_size}


def _texts(metas: Sequence[Mapping[str, Any]], name: str) -> pa.Array:
    return pa.array([str(meta.get(name) or "") for meta in metas], pa.string())
