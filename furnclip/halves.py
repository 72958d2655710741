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

Float16 = npt.NDArray[np.float16]
IMAGE_FILES = b"furnclip.image_files"


def fixed_size_list(vectors: npt.NDArray[Any]) -> pa.FixedSizeListArray:
    """Wrap an (n, dim) array as a column of ``FixedSizeList<float16>[dim]``."""
    half = np.ascontiguousarray(vectors, dtype=np.float16)
    # From buffers, here and below: between arrow and NumPy arrays pyarrow imports pandas, 0.7 s.
    flat = pa.Array.from_buffers(pa.float16(), half.size, [None, pa.py_buffer(half)])
    return pa.FixedSizeListArray.from_arrays(flat, half.shape[1])


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
    """Writes the image vectors of each label beside the master table while it is written.

    Names carry a digest of the content, so the old table keeps its files until the new one is
    in place, and a crash between the two harms neither.
    """

    def __init__(self, folder: Path, labels: Sequence[str]) -> None:
        self._folder = folder
        self._paths = {label: folder / f".{label}-image.f16.tmp" for label in labels}
        self._digests = {label: hashlib.blake2b(digest_size=8) for label in labels}
        self._handles: dict[str, BinaryIO] = {}
        self._names: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._handles = {label: path.open("wb") for label, path in self._paths.items()}
        return self

    def __exit__(self, *_: object) -> None:
        for label, handle in self._handles.items():
            handle.close()
            self._paths[label].unlink(missing_ok=True)

    def copying(self, parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Yield the parts, keeping a copy of their image vectors."""
        for part in parts:
            for label, handle in self._handles.items():
                content = fixed_size_array(part.column(f"{label}_image")).tobytes()
                handle.write(content)
                self._digests[label].update(content)
            yield part

    def finish(self) -> dict[bytes, bytes]:
        """Give the files their names and return the metadata that tells them."""
        for label, handle in self._handles.items():
            handle.flush()
            os.fsync(handle.fileno())
            self._names[label] = f"{label}-image-{self._digests[label].hexdigest()}.f16"
            self._paths[label].replace(self._folder / self._names[label])
        return {IMAGE_FILES: json.dumps(self._names, sort_keys=True).encode()}

    def remove_others(self) -> None:
        """Remove the files of former master tables."""
        for path in self._folder.glob("*-image-*.f16"):
            if path.name not in self._names.values():
                path.unlink(missing_ok=True)
