"""The master table's columns of words once more, in a file that is mapped into memory.

Parquet must decode every title of the catalogue before one can be shown: 4 s for a million
products. The Arrow file is read where it is looked at.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

import pyarrow as pa

WORDS_FILE = b"furnclip.words_file"


class WordsFile:
    """Writes every column that holds no vectors beside the master table.

    The name carries a digest of the content, so the old table keeps its file until the new one is
    in place, and a crash between the two harms neither.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._temporary = folder / ".products.arrow.tmp"
        self._name = ""

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._sink = pa.OSFile(str(self._temporary), "wb")
        self._writer: pa.RecordBatchFileWriter | None = None
        return self

    def __exit__(self, *_: object) -> None:
        self._sink.close()
        self._temporary.unlink(missing_ok=True)

    def copying(self, parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Yield the parts, keeping a copy of their words."""
        for part in parts:
            names = [f.name for f in part.schema if not pa.types.is_fixed_size_list(f.type)]
            words = part.select(names).replace_schema_metadata(None)
            if self._writer is None:
                self._writer = pa.ipc.new_file(self._sink, words.schema)
            self._writer.write_table(words)
            yield part

    def finish(self) -> dict[bytes, bytes]:
        """Give the file its name and return the metadata that tells it."""
        if self._writer is not None:
            self._writer.close()
        self._sink.close()
        with self._temporary.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8))
            os.fsync(file.fileno())
        self._name = f"products-{digest.hexdigest()}.arrow"
        self._temporary.replace(self._folder / self._name)
        return {WORDS_FILE: self._name.encode()}

    def remove_others(self) -> None:
        """Remove the files of former master tables."""
        for path in self._folder.glob("products-*.arrow"):
            if path.name != self._name:
                path.unlink(missing_ok=True)


def open_words(path: Path, rows: int) -> pa.Table | None:
    """Map a file written by ``WordsFile``; None when it is not there, or not one of ``rows``."""
    if not path.is_file():
        return None
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (pa.ArrowException, OSError):
        return None
    return table if table.num_rows == rows else None
