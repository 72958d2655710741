"""What is asked in a session: evaluation photos, else test products, or texts from a file.

Products bring their vectors along in the master table. Photos and texts are embedded once, by a
separate process that ends before the app starts (the arena itself never imports torch), and kept
beside the master table under a name made of the model and of what was embedded.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from furnclip.errors import DataError
from furnclip.vectors import MasterVectors, ModelInfo

_PHOTOS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"}
Kind = Literal["product", "photo", "text"]


@dataclass(frozen=True)
class Query:
    """One question. ``row`` is set for a product of the master table, ``path`` for a photo."""

    name: str
    kind: Kind
    caption: str = ""
    row: int | None = None
    path: Path | None = None


def product_queries(master: MasterVectors) -> list[Query]:
    """Return the products of the test split, or every product when there is no test split."""
    splits, keys, titles = (master.column(name) for name in ("split", "key", "title"))
    rows = [i for i, split in enumerate(splits) if split == "test"] or list(range(len(keys)))
    return [Query(keys[i], "product", titles[i], row=i) for i in rows]


def photo_queries(folder: Path) -> list[Query]:
    """Return the photos below ``folder`` by name; none when there is no such folder."""
    if not folder.is_dir():
        return []
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _PHOTOS and p.is_file())
    return [Query(str(p.relative_to(folder)), "photo", p.stem, path=p) for p in paths]


def text_queries(path: Path) -> list[Query]:
    """Return one query a line, blank lines and repetitions left out.

    Raises ``DataError`` when the file is missing, is no UTF-8 or holds no text.
    """
    try:
        lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
    except OSError as error:
        raise DataError(f"cannot read the queries {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text", hint="one query a line, plain text") from error
    texts = list(dict.fromkeys(line for line in lines if line))
    if not texts:
        raise DataError(f"{path} holds no queries", hint="write one query a line")
    return [Query(text, "text", text) for text in texts]


def query_vectors(
    queries: Sequence[Query], master: MasterVectors, cache: Path
) -> dict[str, npt.NDArray[np.float32]]:
    """Return each model's vectors of the queries, (q, dim) float32, by label.

    Photos and texts must have been embedded by ``embed_missing``; ``DataError`` otherwise.
    """
    if queries and queries[0].kind == "product":
        rows = np.array([query.row for query in queries], dtype=np.int64)
        return {
            label: master.vectors(label, "image")[rows].astype(np.float32)
            for label in master.models
        }
    vectors = {}
    for label, model in master.models.items():
        path = _cache_path(cache, model, queries)
        if not path.is_file():
            raise DataError(f"the queries are not embedded yet by {label}")
        vectors[label] = np.asarray(np.load(path), dtype=np.float32)
    return vectors


def missing_models(
    queries: Sequence[Query], models: Mapping[str, ModelInfo], cache: Path
) -> list[ModelInfo]:
    """Return the models that have not embedded these photos or texts yet."""
    if not queries or queries[0].kind == "product":
        return []
    return [m for m in models.values() if not _cache_path(cache, m, queries).is_file()]


def embed_missing(queries: Sequence[Query], models: Mapping[str, ModelInfo], cache: Path) -> None:
    """Embed photos or texts with each model that has not done so.

    Runs one process for all and waits for it. Raises ``DataError`` with that process's last words.
    """
    missing = missing_models(queries, models, cache)
    if not missing:
        return
    job = {
        "kind": queries[0].kind,
        "items": [str(query.path or query.name) for query in queries],
        "models": [
            {"spec": m.spec, "sha": m.sha, "out": str(_cache_path(cache, m, queries))}
            for m in missing
        ],
    }
    done = subprocess.run(
        [sys.executable, "-m", "furnclip.arena.embed_queries"],
        input=json.dumps(job), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DataError(f"cannot embed the queries: {last}")


def _cache_path(cache: Path, model: ModelInfo, queries: Sequence[Query]) -> Path:
    """Name the file after the model and the content: a changed photo or line is embedded again."""
    digest = hashlib.sha256()
    for query in queries:
        digest.update(query.name.encode() + b"\0")
        if query.path is not None:
            try:
                status = query.path.stat()
            except OSError as error:
                raise DataError(f"cannot read {query.path}: {error.strerror}") from error
            digest.update(f"{status.st_size}:{status.st_mtime_ns}\0".encode())
    return cache / f"{model.sha}-{queries[0].kind}-{digest.hexdigest()[:16]}.npy"
