"""Vector files: one parquet a shard and model, one master table, exact search over it.

``<embeddings_dir>/<model sha>/<split>-<number>.parquet`` holds the vectors of one shard by one
model; ``<embeddings_dir>/master.parquet`` holds every product once with the vectors of each model
side by side. Vectors are L2-normalised and stored as ``FixedSizeList<float16>``: a third of the
size of lists of doubles, recall@10 unchanged, readable by DuckDB, pandas, polars and pyarrow.
Needs numpy and pyarrow only, so that the arena starts without torch.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from furnclip.errors import DataError
from furnclip.files import atomic_path

Float16 = npt.NDArray[np.float16]
Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

FOOTER = b"furnclip"
MASTER = "master.parquet"
TEXT_COLUMNS = (
    "key", "product_id", "split", "title", "clean_title", "object_type", "style", "color",
    "material", "caption", "image_sha256", "shard",
)  # fmt: skip
_DICTIONARY = ["product_id", "split", "object_type", "style", "color", "material", "shard"]
_SIGN_EXPONENT_MANTISSA = np.int32(-0x70000001)  # 0x8FFFFFFF
_IMAGE_STARTS = (b"\xff\xd8", b"\x89PNG", b"RIFF")
_HALF_ERROR = 2e-3  # of a unit inner product in half precision; 5e-4 measured at most


@dataclass(frozen=True)
class ModelInfo:
    """What made the vectors of one label, as kept in the file's footer.

    ``spec`` is a hub id or a folder; in the file a folder is relative to the file's own.
    """

    spec: str
    sha: str
    dim: int
    dtype: str
    image_size: int


@dataclass(frozen=True)
class MasterVectors:
    """The master table in memory; ``vectors`` are views of it."""

    path: Path
    table: pa.Table
    models: dict[str, ModelInfo]

    def __len__(self) -> int:
        """Return the number of products."""
        return int(self.table.num_rows)

    def vectors(self, label: str, kind: str) -> Float16:
        """Return the ``image`` or ``text`` vectors of one model, (n, dim) float16, not copied.

        Raises ``DataError`` naming the models there are.
        """
        if label not in self.models:
            raise DataError(
                f"{self.path} has no vectors of {label!r}, only of {', '.join(self.models)}",
                hint="embed them with `furnclip embed --model …`",
            )
        return fixed_size_array(self.table.column(f"{label}_{kind}"))

    def column(self, name: str) -> list[str]:
        """Return one text column as a list of strings."""
        values: list[str] = self.table.column(name).to_pylist()
        return values

    def row(self, index: int) -> dict[str, Any]:
        """Return one product's columns without its vectors."""
        return {
            name: self.table.column(name)[index].as_py()
            for name in self.table.column_names
            if not pa.types.is_fixed_size_list(self.table.schema.field(name).type)
        }

    def thumbnail(self, index: int) -> bytes:
        """Read one product's letterboxed image file (JPEG) straight out of its shard.

        Shard paths start at the master table's folder. Raises ``DataError`` when the shard was
        moved, removed or rewritten.
        """
        shard, offset, size = (
            self.table.column(name)[index].as_py() for name in ("shard", "jpg_offset", "jpg_size")
        )
        try:
            handle = os.open(self.path.parent / shard, os.O_RDONLY)
        except OSError as error:
            raise DataError(
                f"cannot read the images of {self.path}: {shard}: {error.strerror}",
                hint="run `furnclip embed` again if the shards were moved",
            ) from error
        try:
            content = os.pread(handle, size, offset)
        finally:
            os.close(handle)
        if len(content) != size or not content.startswith(_IMAGE_STARTS):
            raise DataError(
                f"{shard} changed after {self.path} was written",
                hint="run `furnclip embed` again",
            )
        return content


def read_master(
    path: Path, *, labels: Sequence[str] | None = None, kinds: Sequence[str] = ("image", "text")
) -> MasterVectors:
    """Read the master table; with ``labels`` or ``kinds``, those vectors only.

    Raises ``DataError`` when the file is missing, is no master table, or lacks a label.
    """
    file, models = _open_master(path)
    wanted = list(models if labels is None else labels)
    lacking = [label for label in wanted if label not in models]
    if lacking:
        raise DataError(
            f"{path} has no vectors of {lacking[0]!r}, only of {', '.join(models)}",
            hint="embed them with `furnclip embed --model …`",
        )
    all_vectors = {f"{label}_{kind}" for label in models for kind in ("image", "text")}
    drop = all_vectors - {f"{label}_{kind}" for label in wanted for kind in kinds}
    with file, _explained(path):
        columns = [name for name in file.schema_arrow.names if name not in drop]
        table = file.read(columns=columns).combine_chunks()
    return MasterVectors(path, table, {label: models[label] for label in wanted})


def read_models(path: Path) -> dict[str, ModelInfo]:
    """Return the models of a master table by label, reading its footer only.

    Raises ``DataError`` as ``read_master`` does.
    """
    return _open_master(path)[1]


def _open_master(path: Path) -> tuple[pq.ParquetFile, dict[str, ModelInfo]]:
    if not path.is_file():
        raise DataError(f"no vectors at {path}", hint="make them with `furnclip embed`")
    with _explained(path):
        file = pq.ParquetFile(path, memory_map=True)
        return file, _models(file.schema_arrow.metadata, path)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"cannot read {path}: {error}", hint="make it again with `furnclip embed`"
        ) from error


def _models(metadata: Mapping[bytes, bytes] | None, path: Path) -> dict[str, ModelInfo]:
    footer = read_footer(metadata, path)
    if "models" not in footer or "labels" not in footer:
        raise DataError(f"{path} is no master table", hint="make one with `furnclip embed`")
    found = {label: ModelInfo(**footer["models"][label]) for label in footer["labels"]}
    return {label: replace(info, spec=_restored(info.spec, path)) for label, info in found.items()}


def _stored(spec: str, path: Path) -> str:
    """Write a folder relative to the master table, so that a project can be moved."""
    folder = Path(spec)
    if not folder.is_dir():
        return spec
    return Path(os.path.relpath(folder.resolve(), path.parent.resolve())).as_posix()


def _restored(spec: str, path: Path) -> str:
    folder = path.parent / spec
    return os.path.relpath(folder) if folder.is_dir() else spec


def read_footer(metadata: Mapping[bytes, bytes] | None, path: Path) -> dict[str, Any]:
    """Return what furnclip wrote in a parquet footer; ``DataError`` when it is another's file."""
    if not metadata or FOOTER not in metadata:
        raise DataError(f"{path} was not written by furnclip")
    footer: dict[str, Any] = json.loads(metadata[FOOTER])
    return footer


def write_table(path: Path, parts: Iterable[pa.Table], footer: Mapping[str, Any]) -> int:
    """Write tables of one schema to a parquet file, atomically, a row group each; return the rows.

    Snappy, dictionaries on repeated text only, no BYTE_STREAM_SPLIT, which polars cannot read.
    Equal tables and footers give equal bytes. Only one part is held in memory.
    Raises ``ValueError`` when there are no parts.
    """
    metadata = {FOOTER: json.dumps(footer, sort_keys=True).encode()}
    rows = 0
    with atomic_path(path) as temporary, ExitStack() as stack:
        writer: pq.ParquetWriter | None = None
        for part in parts:
            if writer is None:
                dictionary = [name for name in _DICTIONARY if name in part.column_names]
                writer = stack.enter_context(
                    pq.ParquetWriter(
                        temporary,
                        part.schema.with_metadata(metadata),
                        compression="snappy",
                        use_dictionary=dictionary,
                        write_statistics=dictionary,
                    )
                )
            writer.write_table(part.replace_schema_metadata(metadata), row_group_size=50_000)
            rows += part.num_rows
        if writer is None:
            raise ValueError("no tables to write")
        stack.close()
    return rows


def master_part(
    columns: Mapping[str, Iterable[Any]], vectors: Mapping[str, tuple[Any, Any]]
) -> pa.Table:
    """Build some rows of the master table: text columns, offsets, (image, text) by label."""
    arrays = {name: pa.array(columns[name], pa.string()) for name in TEXT_COLUMNS}
    arrays |= {name: pa.array(columns[name], pa.int64()) for name in ("jpg_offset", "jpg_size")}
    for label, (image, text) in vectors.items():
        arrays[f"{label}_image"] = fixed_size_list(image)
        arrays[f"{label}_text"] = fixed_size_list(text)
    return pa.table(arrays)


def write_master(path: Path, parts: Iterable[pa.Table], models: Mapping[str, ModelInfo]) -> int:
    """Write the master table from ``master_part`` tables and return its number of rows."""
    stored = {label: replace(i, spec=_stored(i.spec, path)) for label, i in models.items()}
    footer = {"models": {label: asdict(info) for label, info in stored.items()}}
    # A list keeps the order of the labels, which sorted JSON would lose.
    return write_table(path, parts, footer | {"labels": list(models)})


def fixed_size_list(vectors: npt.NDArray[Any]) -> pa.FixedSizeListArray:
    """Wrap an (n, dim) array as a column of ``FixedSizeList<float16>[dim]``."""
    half = np.ascontiguousarray(vectors, dtype=np.float16)
    return pa.FixedSizeListArray.from_arrays(pa.array(half.reshape(-1)), half.shape[1])


def fixed_size_array(column: pa.ChunkedArray) -> Float16:
    """View a ``FixedSizeList<float16>[dim]`` column as an (n, dim) array, without a copy."""
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # no rows at all
        return np.empty((0, column.type.list_size), dtype=np.float16)
    flat = array.flatten().to_numpy(zero_copy_only=True)
    return np.asarray(flat).reshape(-1, column.type.list_size)


def top_k(
    queries: npt.NDArray[Any],
    gallery: npt.NDArray[Any],
    k: int,
    *,
    allowed: npt.NDArray[np.bool_] | None = None,
) -> tuple[Int64, Float32]:
    """Return the k nearest gallery rows of each query by inner product, best first.

    ``queries`` (q, d), ``gallery`` (n, d), ``allowed`` (n,) keeps some rows only. Gives indices
    (q, k) int64 and scores (q, k) float32; k shrinks to the rows allowed. Exact in float32; equal
    scores are ordered by row. One core, one query, 200k rows of 512: 34 ms with numpy, 13 ms when
    torch is loaded already and picks the candidates.
    """
    rows = np.arange(len(gallery)) if allowed is None else np.flatnonzero(allowed)
    k = max(0, min(k, len(rows)))
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    torch_pays = gallery.dtype == np.float16 and len(rows) >= 4096 and len(queries) <= 8
    if "torch" in sys.modules and torch_pays:
        found = [_nearest_candidates(query[None], gallery, k, rows, allowed) for query in queries]
        return np.concatenate([f[0] for f in found]), np.concatenate([f[1] for f in found])
    return _exact(queries, gallery, k, rows)


def _exact(
    queries: Float32, gallery: npt.NDArray[Any], k: int, rows: Int64
) -> tuple[Int64, Float32]:
    best = np.empty((len(queries), 0), dtype=np.int64)
    scores = np.empty((len(queries), 0), dtype=np.float32)
    everything = len(rows) == len(gallery)
    step = max(16 * 1024, k)
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        block = gallery[start : start + step] if everything else gallery[part]
        found = _inner(queries, block)
        best = np.concatenate([best, np.broadcast_to(part, found.shape)], axis=1)
        scores = np.concatenate([scores, found], axis=1)
        best, scores = _keep(best, scores, k)
    return best, scores


def _inner(queries: Float32, block: npt.NDArray[Any]) -> Float32:
    """Return (q, n) inner products in float32.

    numpy widens float16 one number at a time (181 ms for 200k x 512). Moving the bits into place
    gives the value times 2**-112, exactly and in SIMD (34 ms, product included); the queries carry
    the factor 2**112. Blocks of 1,024 rows stay in the cache.
    """
    if block.dtype != np.float16:
        return np.asarray(queries @ np.asarray(block, dtype=np.float32).T, dtype=np.float32)
    bits = np.ascontiguousarray(block).view(np.int16)
    scaled = queries.T * np.float32(2.0**112)
    scores = np.empty((len(queries), len(block)), dtype=np.float32)
    buffer = np.empty((min(1024, len(block)), block.shape[1]), dtype=np.int32)
    for start in range(0, len(block), 1024):
        piece = bits[start : start + 1024]
        wide = buffer[: len(piece)]
        wide[:] = piece  # the sign is extended to the left,
        wide <<= 13  # exponent and mantissa reach their float32 places,
        wide &= _SIGN_EXPONENT_MANTISSA  # and the copies of the sign go
        scores[:, start : start + 1024] = (wide.view(np.float32) @ scaled).T
    return scores


def _nearest_candidates(
    query: Float32,
    gallery: Float16,
    k: int,
    rows: Int64,
    allowed: npt.NDArray[np.bool_] | None,
) -> tuple[Int64, Float32]:
    """Find every row that may be among the k by a half precision product, then rank those exactly.

    The rounding of the query, of the product and of its sum is measured on the candidates
    themselves; where it exceeds the margin, or saves nothing, all rows are ranked exactly.
    """
    import torch

    norm = float(np.linalg.norm(query)) or 1.0
    with warnings.catch_warnings():  # a view of a memory-mapped file; nothing writes to it
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        stored = torch.from_numpy(gallery)
    rough = (stored @ torch.from_numpy((query[0] / norm).astype(np.float16))).float().numpy()
    if allowed is not None:
        rough = np.where(allowed, rough, -np.inf)
    kth = -np.partition(-rough, k - 1)[k - 1] if k else np.inf
    candidates = np.flatnonzero(rough >= kth - 2 * _HALF_ERROR)
    if len(candidates) > max(4 * k, len(rows) // 4):
        return _exact(query, gallery, k, rows)
    exact = _inner(query, gallery[candidates])
    if np.abs(exact[0] / norm - rough[candidates]).max(initial=0.0) > _HALF_ERROR:
        return _exact(query, gallery, k, rows)
    return _keep(candidates[None].astype(np.int64), exact, k)


def _keep(best: Int64, scores: Float32, k: int) -> tuple[Int64, Float32]:
    """Keep each row's k highest scores, the lower gallery row first among equals."""
    if scores.shape[1] > k > 0:
        # A tie at the border may leave out the lower row: take every score that reaches the kth.
        kth = -np.partition(-scores, k - 1, axis=1)[:, k - 1]
        width = int((scores >= kth[:, None]).sum(axis=1).max())
        if width < scores.shape[1]:
            part = np.argpartition(-scores, width - 1, axis=1)[:, :width]
            best = np.take_along_axis(best, part, axis=1)
            scores = np.take_along_axis(scores, part, axis=1)
    order = np.lexsort((best, -scores), axis=1)[:, :k]
    return np.take_along_axis(best, order, axis=1), np.take_along_axis(scores, order, axis=1)
