"""What the preparing stage remembers of a shards folder: pictures, splits, shards, rejected rows.

A run is read at its start and written at its end, each in one transaction; while it works it
keeps what is done in files of its own, so other commands never wait for it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from furnclip.state.events import record_event

if TYPE_CHECKING:
    import numpy as np
    from duckdb import DuckDBPyConnection
    from numpy.typing import NDArray

    from furnclip.state.store import StateStore

_BUCKET_LIMIT = 200
_ROWS_AT_ONCE = 10_000
_SQL_TYPES = {"str": "VARCHAR", "int": "BIGINT", "bytes": "BLOB", "bool": "BOOLEAN"}


@dataclass(frozen=True, slots=True)
class Picture:
    """One image file as it was read, and where its encoded square is.

    ``source`` is the path as in the CSV; ``file_size`` and ``mtime_ns`` (-1 when there was no
    file) and ``recipe`` say whether it must be read again. ``reason`` is empty when it is usable.
    ``file`` is relative to the shards folder; ``crc`` is the CRC-32 of the JPEG there.
    """

    source: str
    file_size: int
    mtime_ns: int
    recipe: str
    reason: str = ""
    message: str = ""
    image_sha256: str = ""
    dhash: bytes = b""
    thumbnail: bytes = b""
    width: int = 0
    height: int = 0
    mode: str = ""
    frames: int = 0
    recovered: bool = False
    file: str = ""
    offset: int = 0
    size: int = 0
    crc: int = 0


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """A finished shard; ``name`` is relative to the shards folder.

    ``content`` is a hash of what it was made from; ``size`` and ``mtime_ns`` say whether the file
    is still the one that was written.
    """

    name: str
    split: str
    content: str
    samples: int
    size: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that is in no shard, and why."""

    number: int
    product_id: str
    source: str
    reason: str
    message: str


@dataclass(frozen=True)
class ShardMemory:
    """Everything remembered of one shards folder; ``fingerprint`` is that of the last inputs."""

    fingerprint: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, Picture] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    shards: dict[str, ShardRecord] = field(default_factory=dict)


def read_memory(state: StateStore, out: str, *, scheme: str) -> ShardMemory:
    """Return what is remembered of ``out``; group splits only of the same split ``scheme``."""
    with state.transaction() as connection:
        run = connection.execute(
            "SELECT fingerprint, result FROM prep_run WHERE out = ? ORDER BY finished_at DESC",
            [out],
        ).fetchone()
        if run is None:
            return ShardMemory()
        pictures = _select(connection, "prep_picture", Picture, out)
        shards = _select(connection, "prep_shard", ShardRecord, out)
        groups = connection.execute(
            "SELECT grp, split FROM prep_group WHERE out = ? AND scheme = ?", [out, scheme]
        ).fetchall()
    return ShardMemory(
        fingerprint=run[0],
        result=json.loads(run[1]),
        pictures={picture.source: picture for picture in pictures},
        groups=dict(groups),
        shards={shard.name: shard for shard in shards},
    )


def write_memory(
    state: StateStore,
    out: str,
    *,
    scheme: str,
    csv: str,
    image_root: str,
    memory: ShardMemory,
    rejects: Sequence[Reject],
) -> None:
    """Replace what is remembered of ``out`` and note the run."""
    with state.transaction() as connection:
        for table in ("prep_picture", "prep_shard", "prep_reject", "prep_group"):
            connection.execute(f"DELETE FROM {table} WHERE out = ?", [out])  # noqa: S608
        _insert(connection, "prep_picture", Picture, list(memory.pictures.values()), out)
        _insert(connection, "prep_shard", ShardRecord, list(memory.shards.values()), out)
        _insert(connection, "prep_reject", Reject, rejects, out)
        _insert_columns(
            connection,
            "prep_group",
            {
                "grp": ("VARCHAR", list(memory.groups)),
                "split": ("VARCHAR", list(memory.groups.values())),
            },
            {"out": out, "scheme": scheme},
        )
        connection.execute(
            "INSERT INTO prep_run (out, csv, image_root, fingerprint, result) "
            "VALUES (?, ?, ?, ?, ?)",
            [out, csv, image_root, memory.fingerprint, json.dumps(memory.result)],
        )
        record_event(connection, "preparing", "sharded", subject=out, detail=memory.result)


def read_rejects(state: StateStore, out: str) -> list[Reject]:
    """Return the rows the last run over ``out`` left out, in CSV order."""
    with state.transaction() as connection:
        return sorted(_select(connection, "prep_reject", Reject, out), key=lambda r: r.number)


def near_pairs(hashes: NDArray[np.uint64], *, bits: int) -> list[tuple[int, int]]:
    """Return pairs of rows of ``hashes`` (n, 4; 256 bits each) that differ in at most ``bits``.

    Banded self-join: hashes that differ in fewer bits than there are bands agree on at least one
    band. Bands are 32 bits wide up to 7 bits and 16 up to 15; above, pairs may be missed. Equal
    hashes are paired with their first row only, and a band shared by more than 200 distinct
    hashes (flat pictures) is passed over.
    """
    import duckdb
    import numpy as np
    import pyarrow as pa

    width = 32 if bits < 8 else 16
    count = len(hashes)
    columns = [np.arange(count, dtype=np.uint64), *np.ascontiguousarray(hashes.T)]
    # From buffers: pa.array() on a NumPy array imports pandas, 0.7 s.
    words = pa.Table.from_arrays(
        [pa.Array.from_buffers(pa.uint64(), count, [None, pa.py_buffer(c)]) for c in columns],
        names=["n", "w0", "w1", "w2", "w3"],
    )
    with duckdb.connect() as connection:
        connection.register("words", words)
        connection.execute(
            "CREATE TABLE hash AS "
            "SELECT min(n) AS n, w0, w1, w2, w3 FROM words GROUP BY w0, w1, w2, w3"
        )
        equal = connection.execute(
            "SELECT h.n, r.n FROM words r JOIN hash h USING (w0, w1, w2, w3) WHERE h.n <> r.n"
        ).fetchall()
        if bits == 0:
            return sorted((int(a), int(b)) for a, b in equal)
        bands = ", ".join(
            f"(w{word} >> {shift}) & {2**width - 1}"
            for word in range(4)
            for shift in range(0, 64, width)
        )
        connection.execute(
            f"CREATE TABLE band AS SELECT n, unnest(range({256 // width})) AS band, "  # noqa: S608
            f"unnest([{bands}]) AS value FROM hash"
        )
        # bit_count() is a TINYINT, whose sum overflows above 127.
        distance = " + ".join(f"bit_count(xor(x.w{i}, y.w{i}))::INTEGER" for i in range(4))
        near = connection.execute(
            "WITH bucket AS (SELECT band, value FROM band GROUP BY band, value "  # noqa: S608
            f"HAVING count(*) BETWEEN 2 AND {_BUCKET_LIMIT}), "
            "member AS (SELECT * FROM band JOIN bucket USING (band, value)), "
            "pair AS (SELECT DISTINCT a.n AS a, b.n AS b FROM member a "
            "JOIN member b USING (band, value) WHERE a.n < b.n) "
            "SELECT a, b FROM pair JOIN hash x ON x.n = a JOIN hash y ON y.n = b "
            f"WHERE {distance} <= {bits}"
        ).fetchall()
    return sorted((int(a), int(b)) for a, b in equal + near)


def _select(connection: DuckDBPyConnection, table: str, kind: type[Any], out: str) -> list[Any]:
    names = [entry.name for entry in dataclasses.fields(kind)]
    columns = ", ".join(f'"{name}"' for name in names)
    rows = connection.execute(
        f"SELECT {columns} FROM {table} WHERE out = ?",  # noqa: S608
        [out],
    ).fetchall()
    return [kind(*row) for row in rows]


def _insert(
    connection: DuckDBPyConnection, table: str, kind: type[Any], rows: Sequence[Any], out: str
) -> None:
    columns = {
        entry.name: (_SQL_TYPES[str(entry.type)], [getattr(row, entry.name) for row in rows])
        for entry in dataclasses.fields(kind)
    }
    _insert_columns(connection, table, columns, {"out": out})


def _insert_columns(
    connection: DuckDBPyConnection,
    table: str,
    columns: dict[str, tuple[str, list[Any]]],
    constants: dict[str, str],
) -> None:
    """Insert by the slice: rows one by one are slow, all at once take 5 kB of memory each."""
    names = ", ".join(f'"{name}"' for name in (*constants, *columns))
    lists = [f"unnest(?::{kind}[])" for kind, _ in columns.values()]
    values = ", ".join(["?"] * len(constants) + lists)
    statement = f"INSERT INTO {table} ({names}) SELECT {values}"
    count = len(next(iter(columns.values()))[1])
    for start in range(0, count, _ROWS_AT_ONCE):
        part = [column[start : start + _ROWS_AT_ONCE] for _, column in columns.values()]
        connection.execute(statement, [*constants.values(), *part])
