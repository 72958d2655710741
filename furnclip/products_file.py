"""What the master table says of its products, once more, in a file that is mapped into memory.

Parquet must decode every title of the catalogue before one can be shown: 0.4 to 0.8 s for a million
products, where mapping takes 8 ms. The Arrow file is read where it is looked at. It is trusted as
the ``.f16`` file is: its size and number of rows are checked, its content is not.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

import pyarrow as pa

PRODUCTS_FILE = b"furnclip.products_file"
_NAME = re.compile(r"products-[0-9a-f]{16}\.arrow")


class ProductsFile:
    """Writes every column that holds no vectors beside the master table.

    The name carries a digest of the content, so the old table keeps its file until the new one is
    in place, and a crash between the two harms neither.
    """

    def __init__(self, master: Path) -> None:
        self._folder = master.parent
        unique = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._temporary = self._folder / f".{master.name}.{unique}.arrow.tmp"
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
        """Yield the parts, keeping a copy of their columns without vectors."""
        for part in parts:
            names = [f.name for f in part.schema if not pa.types.is_fixed_size_list(f.type)]
            columns = part.select(names).replace_schema_metadata(None)
            if self._writer is None:
                self._writer = pa.ipc.new_file(self._sink, columns.schema)
            self._writer.write_table(columns)
            yield part
        if self._writer is not None:
            self._writer.close()

    def finish(self) -> dict[bytes, bytes]:
        """Give the file its name and return the metadata that tells it: name and size."""
        self._sink.close()
        with self._temporary.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8))
            size = os.fstat(file.fileno()).st_size
            os.fsync(file.fileno())
        self._name = f"products-{digest.hexdigest()}.arrow"
        self._temporary.replace(self._folder / self._name)
        return {PRODUCTS_FILE: f"{self._name} {size}".encode()}

    def remove_others(self) -> None:
        """Remove the files of former master tables."""
        for path in self._folder.iterdir():
            if _NAME.fullmatch(path.name) and path.name != self._name:
                path.unlink(missing_ok=True)


def open_products(folder: Path, note: bytes | None, rows: int) -> pa.Table:
    """Map the file that ``note`` tells; a table without columns when it is not there as written."""
    nothing = pa.table({})
    name, _, size = (note or b"").decode().partition(" ")
    path = folder / name
    if not name or not path.is_file() or path.stat().st_size != int(size):
        return nothing
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (pa.ArrowException, OSError):
        return nothing
    return table if table.num_rows == rows else nothing
