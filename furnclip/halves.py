"""Columns of float16 vectors, and the bare copies of them that a search maps into memory."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from furnclip.codes import CodesFile

Float16 = npt.NDArray[np.float16]
IMAGE_FILES = b"furnclip.image_files"
_KINDS = (".f16", ".i8")


def fixed_size_list(vectors: npt.NDArray[Any]) -> pa.FixedSizeListArray:
    """Wrap an (n, dim) array as a column of ``FixedSizeList<float16>[dim]``, without nulls."""
    half = np.ascontiguousarray(vectors, dtype=np.float16)
    # From buffers, here and below: between arrow and NumPy arrays pyarrow imports pandas, 0.7 s.
    flat = pa.Array.from_buffers(pa.float16(), half.size, [None, pa.py_buffer(half)])
    kind = pa.list_(pa.field("item", pa.float16(), nullable=False), half.shape[1])
    return pa.FixedSizeListArray.from_arrays(flat, type=kind)


def fixed_size_array(column: pa.ChunkedArray) -> Float16:
    """View a ``FixedSizeList<float16>[dim]`` column as an (n, dim) array, without a copy."""
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # no rows at all
        return np.empty((0, column.type.list_size), dtype=np.float16)
    flat = array.flatten()
    numbers = np.frombuffer(
        flat.buffers()[1], dtype=np.float16, count=len(flat), offset=2 * flat.offset
    )
    return numbers.reshape(-1, column.type.list_size)


class ImageFiles:
    """Writes the image vectors of each label, and their codes, beside the master table.

    Names carry a digest of the content, so the old table keeps its files until the new one is
    in place, and a crash between the two harms neither.
    """

    def __init__(self, folder: Path, labels: Sequence[str]) -> None:
        self._folder = folder
        self._labels = labels
        self._digests = {label: hashlib.blake2b(digest_size=8) for label in labels}
        self._handles: dict[str, tuple[BinaryIO, BinaryIO]] = {}
        self._codes: dict[str, CodesFile] = {}
        self._names: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        for label in self._labels:
            halves, codes = (self._temporary(label, kind).open("wb") for kind in _KINDS)
            self._handles[label] = (halves, codes)
            self._codes[label] = CodesFile(codes)
        return self

    def __exit__(self, *_: object) -> None:
        for label, handles in self._handles.items():
            for handle, kind in zip(handles, _KINDS, strict=True):
                handle.close()
                self._temporary(label, kind).unlink(missing_ok=True)

    def copying(self, parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Yield the parts, keeping a copy of their image vectors."""
        for part in parts:
            for label, (halves, _) in self._handles.items():
                vectors = fixed_size_array(part.column(f"{label}_image"))
                content = vectors.tobytes()
                halves.write(content)
                self._digests[label].update(content)
                self._codes[label].add(vectors)
            yield part

    def finish(self) -> dict[bytes, bytes]:
        """Give the files their names and return the metadata that tells them."""
        for label, handles in self._handles.items():
            self._codes[label].finish()
            stem = f"{label}-image-{self._digests[label].hexdigest()}"
            self._names[label] = f"{stem}{_KINDS[0]}"
            for handle, kind in zip(handles, _KINDS, strict=True):
                handle.flush()
                os.fsync(handle.fileno())
                self._temporary(label, kind).replace(self._folder / f"{stem}{kind}")
        return {IMAGE_FILES: json.dumps(self._names, sort_keys=True).encode()}

    def remove_others(self) -> None:
        """Remove the files of former master tables."""
        keep = {Path(name).stem for name in self._names.values()}
        for kind in _KINDS:
            for path in self._folder.glob(f"*-image-*{kind}"):
                if path.stem not in keep:
                    path.unlink(missing_ok=True)

    def _temporary(self, label: str, kind: str) -> Path:
        return self._folder / f".{label}-image{kind}.tmp"
