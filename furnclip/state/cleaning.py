"""Cleaning runs, their rows and their requests.

No table has a primary key: DuckDB checks keys too eagerly for delete-and-insert in one transaction.
Uniqueness is kept by the statements here, which run one at a time under the state file's lock.

A request's state: ``open`` (in a part that is not finished), ``answered``, ``requeue`` (waits for a
new part), ``failed`` (given up, with the error).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from furnclip.state.events import record_event

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from pyarrow import RecordBatch

    from furnclip.state.store import StateStore

_RUN_COLUMNS = (
    "run, prepared_at, csv, csv_sha256, image_root, title_column, image_column, id_column, "
    "backend, model, base_url, folder, row_count"
)
_ROWS_AT_ONCE = 20_000
_ROW_RESULTS = """
    SELECT s.number, s.title, s.image,
           c.clean_title, c.style, c.material, c.color, c.object_type,
           CASE WHEN s.status <> 'ready' THEN s.status
                WHEN q.state = 'answered' THEN 'ok'
                WHEN q.state = 'failed' THEN 'failed'
                ELSE 'pending' END AS status,
           coalesce(s.error, CASE WHEN q.state <> 'answered' THEN q.error END) AS error
    FROM cleaning_source_row s
    LEFT JOIN cleaning_request q USING (request_key)
    LEFT JOIN cleaning_cleaned c ON c.request_key = q.request_key AND q.state = 'answered'
    WHERE s.run = $run ORDER BY s.number
"""


@dataclass(frozen=True)
class RunRow:
    """One preparation of a CSV; ``run`` is a hash of everything that went in."""

    run: str
    prepared_at: datetime
    csv: Path
    csv_sha256: str
    image_root: Path
    title_column: str
    image_column: str
    id_column: str | None
    backend: str
    model: str
    base_url: str | None
    folder: Path
    row_count: int


@dataclass(frozen=True)
class SourceRow:
    """One CSV row of a run; ``status`` is ``ready``, or ``image_error`` and ``error`` says why."""

    number: int
    title: str
    image: str
    request_key: str | None
    status: str
    error: str | None


@dataclass(frozen=True)
class RequestRow:
    """One question; the tokens are estimates."""

    request_key: str
    custom_id: str
    model: str
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class PartRow:
    """One request file.

    States: ready, uploading, uploaded, creating, waiting, submitted, done, orphaned, split.
    """

    part: str
    run: str
    number: int
    path: Path
    sha256: str
    bytes: int
    requests: int
    input_tokens: int
    usd: float | None
    model: str
    backend: str
    state: str = "ready"
    file_id: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class PartLine:
    """Where one request stands in a part's file; ``line`` counts from 1."""

    part: str
    request_key: str
    line: int
    byte_offset: int
    byte_length: int


@dataclass(frozen=True)
class RunCounts:
    """Rows of a run: every row is in exactly one of the four counts after ``rows``."""

    rows: int
    answered: int
    failed: int
    image_errors: int
    pending: int


class RowResult(NamedTuple):
    """What is known of one row; fields are None when unknown, ``status`` is the CSV's."""

    number: int
    title: str
    image: str
    clean_title: str | None
    style: str | None
    material: str | None
    color: str | None
    object_type: str | None
    status: str
    error: str | None


def bulk_insert(
    connection: DuckDBPyConnection, table: str, columns: str, rows: Sequence[Sequence[Any]]
) -> None:
    """Insert many rows at once; ``columns`` is ``"name TYPE, …"``. Executemany is far slower."""
    if not rows:
        return
    pairs = [column.split() for column in columns.split(",")]
    names = ", ".join(name for name, _ in pairs)
    lists = ", ".join(f"unnest(?::{kind}[])" for _, kind in pairs)
    values = [list(column) for column in zip(*rows, strict=True)]
    connection.execute(f"INSERT INTO {table} ({names}) SELECT {lists}", values)


def request_states(store: StateStore, keys: Sequence[str]) -> dict[str, str]:
    """Return the state of those requests that are known."""
    with store.transaction() as connection:
        return dict(
            connection.execute(
                "SELECT request_key, state FROM cleaning_request "
                "SEMI JOIN (SELECT unnest(?::VARCHAR[]) AS request_key) USING (request_key)",
                [list(keys)],
            ).fetchall()
        )


def record_run(
    store: StateStore,
    run: RunRow,
    rows: Sequence[SourceRow],
    requests: Sequence[RequestRow],
    parts: Sequence[tuple[PartRow, Sequence[PartLine]]],
) -> None:
    """Record a prepared run whole: the run, every row, the new requests and their parts.

    Preparing the same run again replaces its rows and adds only what is new.
    """
    with store.transaction() as connection:
        connection.execute("DELETE FROM cleaning_run WHERE run = ?", [run.run])
        connection.execute("DELETE FROM cleaning_source_row WHERE run = ?", [run.run])
        marks = ", ".join("?" for _ in range(13))
        connection.execute(
            f"INSERT INTO cleaning_run ({_RUN_COLUMNS}) VALUES ({marks})",  # noqa: S608
            [str(v) if isinstance(v, Path) else v for v in astuple(run)],
        )
        bulk_insert(
            connection,
            "cleaning_source_row",
            "run VARCHAR, number INTEGER, title VARCHAR, image VARCHAR, request_key VARCHAR, "
            "status VARCHAR, error VARCHAR",
            [(run.run, *astuple(row)) for row in rows],
        )
        bulk_insert(
            connection,
            "cleaning_request",
            "request_key VARCHAR, custom_id VARCHAR, model VARCHAR, input_tokens BIGINT, "
            "output_tokens BIGINT, state VARCHAR, attempts INTEGER, token_factor INTEGER",
            [(*astuple(request), "open", 0, 1) for request in requests],
        )
        for part, lines in parts:
            insert_part(connection, part, lines)
        record_event(connection, "clean", "prepared", subject=run.run, detail={"rows": len(rows)})


def insert_part(connection: DuckDBPyConnection, part: PartRow, lines: Sequence[PartLine]) -> None:
    """Insert a part and its lines inside the caller's transaction."""
    connection.execute(
        "INSERT INTO cleaning_part (part, run, number, path, sha256, bytes, requests, "
        "input_tokens, usd, model, backend, state, file_id, error) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [str(v) if isinstance(v, Path) else v for v in astuple(part)],
    )
    bulk_insert(
        connection,
        "cleaning_part_request",
        "part VARCHAR, request_key VARCHAR, line INTEGER, byte_offset BIGINT, byte_length BIGINT",
        [astuple(line) for line in lines],
    )


def latest_run(store: StateStore) -> RunRow | None:
    """Return the run prepared last."""
    runs = list_runs(store, limit=1)
    return runs[0] if runs else None


def find_run(store: StateStore, prefix: str) -> list[RunRow]:
    """Return the runs whose id begins with ``prefix``."""
    return [run for run in list_runs(store) if run.run.startswith(prefix)]


def list_runs(store: StateStore, *, limit: int = 1_000_000) -> list[RunRow]:
    """Return runs, the one prepared last first."""
    with store.transaction() as connection:
        found = connection.execute(
            f"SELECT {_RUN_COLUMNS} FROM cleaning_run ORDER BY prepared_at DESC LIMIT ?",  # noqa: S608
            [limit],
        ).fetchall()
    return [_run_row(row) for row in found]


def image_root_of(store: StateStore, cleaned_csv: Path) -> Path | None:
    """Return the image root of the run whose cleaned CSV this is, None when it was not ours."""
    with store.transaction() as connection:
        found = connection.execute(
            "SELECT r.image_root FROM event e JOIN cleaning_run r ON r.run = e.subject "
            "WHERE e.stage = 'clean' AND e.kind = 'finalized' "
            "AND json_extract_string(e.detail, '$.output') = ? "
            "ORDER BY e.happened_at DESC LIMIT 1",
            [str(cleaned_csv.resolve())],
        ).fetchone()
    return None if found is None else Path(found[0])


def record_finalized(store: StateStore, run: str, output: Path, counts: RunCounts) -> None:
    """Remember which run a cleaned CSV came from."""
    with store.transaction() as connection:
        detail = {"output": str(output.resolve()), "rows": counts.rows, "answered": counts.answered}
        record_event(connection, "clean", "finalized", subject=run, detail=detail)


def run_counts(store: StateStore, run: str) -> RunCounts:
    """Count the rows of a run by what became of them."""
    with store.transaction() as connection:
        found = connection.execute(
            """
            SELECT count(*),
                   count(*) FILTER (s.status = 'ready' AND q.state = 'answered'),
                   count(*) FILTER (s.status = 'ready' AND q.state = 'failed'),
                   count(*) FILTER (s.status <> 'ready')
            FROM cleaning_source_row s LEFT JOIN cleaning_request q USING (request_key)
            WHERE s.run = ?
            """,
            [run],
        ).fetchone()
    rows, answered, failed, image_errors = found or (0, 0, 0, 0)
    return RunCounts(rows, answered, failed, image_errors, rows - answered - failed - image_errors)


def row_results(store: StateStore, run: str) -> Iterator[RowResult]:
    """Yield every row of a run in input order, with its answer when there is one.

    A million rows neither fill the memory nor keep others from the state file meanwhile.
    """
    for batch in _copied(store, _ROW_RESULTS, run):
        yield from map(RowResult, *(column.to_pylist() for column in batch.columns))


def csv_tails(store: StateStore, run: str) -> Iterator[list[str]]:
    """Yield what ``row_results`` says of some rows at a time, from ``clean_title`` on, as CSV text.

    Without the line's end.
    """
    tail = " || ',' || ".join(map(_quoted, RowResult._fields[3:]))
    for batch in _copied(store, f"SELECT {tail} FROM ({_ROW_RESULTS})", run):  # noqa: S608
        yield batch.column(0).to_pylist()


def _quoted(name: str) -> str:
    """Return SQL that quotes a field where RFC 4180 asks for it."""
    quoted = f"""'"' || replace({name}, '"', '""') || '"'"""
    asks = " OR ".join(f"contains({name}, '{mark}')" for mark in ',"\r\n')
    return f"""CASE WHEN {asks} THEN {quoted}
               ELSE coalesce({name}, '') END"""


def _copied(store: StateStore, query: str, run: str) -> Iterator[RecordBatch]:
    """Yield what a query says of a run, out of a Parquet file written in one transaction."""
    import pyarrow.parquet as pq

    with tempfile.TemporaryDirectory(prefix="furnclip-rows-") as folder:
        target = Path(folder) / "rows.parquet"
        quoted = "'" + str(target).replace("'", "''") + "'"
        with store.transaction() as connection:
            connection.execute(
                f"COPY ({query}) TO {quoted} (FORMAT parquet, COMPRESSION uncompressed)",
                {"run": run},
            )
        with pq.ParquetFile(target) as file:
            yield from file.iter_batches(_ROWS_AT_ONCE)


def next_part_number(store: StateStore, run: RunRow) -> int:
    """Return the number of the run's next part, from 1, past those of other runs in its folder."""
    with store.transaction() as connection:
        found = connection.execute(
            "SELECT coalesce(max(number), 0) + 1 FROM cleaning_part "
            "WHERE run = ? OR starts_with(path, ?)",
            [run.run, f"{run.folder}/"],
        ).fetchone()
    return int(found[0]) if found else 1


def _run_row(row: Sequence[Any]) -> RunRow:
    values = list(row)
    for index in (2, 4, 11):
        values[index] = Path(values[index])
    return RunRow(*values)
