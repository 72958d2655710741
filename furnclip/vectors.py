"""Vector files: one parquet a shard and model, one master table, exact search over it.

``<embeddings_dir>/<model sha>/<split>-<number>.parquet`` holds the vectors of one shard by one
model; ``<embeddings_dir>/master.parquet`` holds every product once with the vectors of each model
side by side. Beside it ``<label>-image-<digest>.f16`` repeats the image vectors as bare float16,
``….i8`` as codes of one byte, and ``products-<digest>.arrow`` the other columns. A search maps
them into memory, since parquet takes a second to decode 200,000 x 512 numbers. The master table is
complete without them.

Vectors are L2-normalised and stored as ``FixedSizeList<float16>``: a third of the
size of lists of doubles, recall@10 unchanged, readable by DuckDB, pandas, polars and pyarrow.
Needs numpy and pyarrow only, so that the arena starts without torch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from furnclip.codes import Codes
from furnclip.errors import DataError
from furnclip.files import atomic_path
from furnclip.halves import IMAGE_FILES, ImageFiles, fixed_size_array, fixed_size_list
from furnclip.nearest import top_k
from furnclip.products_file import PRODUCTS_FILE, ProductsFile, open_products

Float16 = npt.NDArray[np.float16]

__all__ = [
    "MASTER",
    "TEXT_COLUMNS",
    "MasterVectors",
    "ModelInfo",
    "fixed_size_array",
    "fixed_size_list",
    "master_part",
    "read_footer",
    "read_master",
    "read_models",
    "top_k",
    "write_master",
    "write_table",
]

FOOTER = b"furnclip"
MASTER = "master.parquet"
TEXT_COLUMNS = (
    "key", "product_id", "split", "title", "clean_title", "object_type", "style", "color",
    "material", "caption", "image_sha256", "shard",
)  # fmt: skip
_DICTIONARY = ["product_id", "split", "object_type", "style", "color", "material", "shard"]
_IMAGE_STARTS = (b"\xff\xd8", b"\x89PNG", b"RIFF")


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
    mapped: dict[str, Float16] = field(default_factory=dict, repr=False)
    codes: dict[str, Codes] = field(default_factory=dict, repr=False)

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
        name = f"{label}_{kind}"
        if name in self.mapped:
            return self.mapped[name]
        return fixed_size_array(self.table.column(name))

    def nearest(
        self,
        queries: npt.NDArray[Any],
        k: int,
        *,
        label: str,
        allowed: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """``top_k`` among the image vectors of one model."""
        gallery = self.vectors(label, "image")
        return top_k(queries, gallery, k, allowed=allowed, codes=self.codes.get(label))

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
        mapped, codes = _mapped_images(file, path, models)
        mapped = {name: vectors for name, vectors in mapped.items() if name not in drop}
        note = (file.metadata.metadata or {}).get(PRODUCTS_FILE)
        table = open_products(path.parent, note, file.metadata.num_rows)
        at_hand = {*drop, *mapped, *table.column_names}
        columns = [name for name in file.schema_arrow.names if name not in at_hand]
        if columns:
            read = file.read(columns=columns).combine_chunks()
            for name in table.column_names:
                read = read.append_column(name, table.column(name))
            table = read
    return MasterVectors(path, table, {label: models[label] for label in wanted}, mapped, codes)


def _mapped_images(
    file: pq.ParquetFile, path: Path, models: Mapping[str, ModelInfo]
) -> tuple[dict[str, Float16], dict[str, Codes]]:
    """Map the image vectors kept beside the master table, where their files are still there."""
    names: dict[str, str] = json.loads((file.metadata.metadata or {}).get(IMAGE_FILES, b"{}"))
    found: dict[str, Float16] = {}
    codes: dict[str, Codes] = {}
    for label, name in names.items():
        if label not in models:
            continue
        shape = (file.metadata.num_rows, models[label].dim)
        beside = path.parent / name
        if beside.is_file() and beside.stat().st_size == 2 * shape[0] * shape[1] > 0:
            found[f"{label}_image"] = np.asarray(np.memmap(beside, np.float16, "r", shape=shape))
            coded = Codes.open(beside.with_suffix(".i8"), shape)
            codes |= {label: coded} if coded is not None else {}
    return found, codes


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
    return os.path.relpath(folder) if spec.startswith("..") or folder.is_dir() else spec


def read_footer(metadata: Mapping[bytes, bytes] | None, path: Path) -> dict[str, Any]:
    """Return what furnclip wrote in a parquet footer; ``DataError`` when it is another's file."""
    if not metadata or FOOTER not in metadata:
        raise DataError(f"{path} was not written by furnclip")
    footer: dict[str, Any] = json.loads(metadata[FOOTER])
    return footer


def write_table(
    path: Path,
    parts: Iterable[pa.Table],
    footer: Mapping[str, Any],
    *,
    at_the_end: Callable[[], Mapping[bytes, bytes]] | None = None,
) -> int:
    """Write tables of one schema to a parquet file, atomically, a row group each; return the rows.

    Vectors are declared free of nulls, which saves a fifth of the time, and not compressed, which
    would gain nothing. Snappy for the rest, dictionaries on repeated text only, no
    BYTE_STREAM_SPLIT, which polars cannot read. Equal tables and footers give equal bytes. Only
    one part is held in memory. ``at_the_end`` is called after the last part for metadata known
    only then.
    Raises ``ValueError`` when there are no parts.
    """
    metadata = {FOOTER: json.dumps(footer, sort_keys=True).encode()}
    rows = 0
    with atomic_path(path) as temporary, ExitStack() as stack:
        writer: pq.ParquetWriter | None = None
        for part in parts:
            schema = _without_null_vectors(part.schema).with_metadata(metadata)
            if writer is None:
                dictionary = [name for name in _DICTIONARY if name in part.column_names]
                writer = stack.enter_context(
                    pq.ParquetWriter(
                        temporary,
                        schema,
                        compression={f.name: "snappy" for f in schema if f.nullable},
                        use_dictionary=dictionary,
                        write_statistics=dictionary,
                    )
                )
            writer.write_table(
                pa.Table.from_arrays(part.columns, schema=schema), row_group_size=50_000
            )
            rows += part.num_rows
        if writer is None:
            raise ValueError("no tables to write")
        if at_the_end is not None:
            writer.add_key_value_metadata(at_the_end())
        stack.close()
    return rows


def _without_null_vectors(schema: pa.Schema) -> pa.Schema:
    return pa.schema([f.with_nullable(not pa.types.is_fixed_size_list(f.type)) for f in schema])


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
    footer = {
        "models": {label: asdict(info) for label, info in stored.items()},
        "labels": list(models),  # their order, which sorted JSON would lose
    }
    with ImageFiles(path.parent, list(models)) as images, ProductsFile(path) as products:
        rows = write_table(
            path, products.copying(images.copying(parts)), footer,
            at_the_end=lambda: images.finish() | products.finish(),
        )  # fmt: skip
    images.remove_others()
    products.remove_others()
    return rows
