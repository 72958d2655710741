"""Output files with a million lines: parsed by DuckDB's own JSON reader, not line by line.

A line that is a plain good answer by every rule of ``CleanedProduct`` is taken as it is; whatever
is in any way unusual goes through ``classify``, so both ways give the same answers. Measured on
2 cores: 7 µs a line against 30 µs in Python.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from furnclip.state.cleaning import bulk_insert
from furnclip.state.cleaning_results import ARRIVED, Answer, ImportCounts, apply_arrived

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from furnclip.state.store import StateStore

_CHUNK = 250_000
"""Lines in one transaction: about two seconds, so that ``status`` is not kept waiting."""

# One raw line a row: no quoting, and a delimiter that JSON cannot hold unescaped.
_LINES = (
    "read_csv({path}, columns = {{'line': 'VARCHAR'}}, delim = '\x1f', quote = '', escape = '', "
    "header = false, auto_detect = false, ignore_errors = true, max_line_size = 16777216)"
)
_FIELDS = ("clean_title", "style", "material", "color", "object_type")
_PATHS = (
    "$.custom_id",
    "$.response.status_code",
    "$.response.body.choices[0].finish_reason",
    "$.response.body.choices[0].message.content",
    "$.response.body.choices[0].message.refusal",
    "$.response.body.usage.prompt_tokens",
    "$.response.body.usage.prompt_tokens_details.cached_tokens",
    "$.response.body.usage.completion_tokens",
)
# White space or control characters at an end, which Python strips by rules of its own, and the
# one letter (long s) that casefold turns into ASCII and lower does not.
_ODD = r"^[\s\pZ\pC]|[\s\pZ\pC]$|\x{17F}"
_UNKNOWN = "('', 'unknown', 'n/a', 'na', 'none', 'null', 'not specified', 'unspecified')"


def broken_lines(path: Path) -> int:
    """Count the lines of a file that are not JSON."""
    with _memory() as connection:
        found = connection.execute(
            f"SELECT count(*) FROM {_source(path)} "  # noqa: S608
            "WHERE line IS NOT NULL AND NOT json_valid(line)"
        ).fetchone()
    return int(found[0]) if found else 0


def import_lines(
    store: StateStore,
    batch_id: str,
    path: Path,
    *,
    classify: Callable[[bytes], Answer],
    max_attempts: int,
) -> int:
    """Import a batch output file in chunks; returns the number of requests answered by it."""
    # Beside the state file, for the folder of ``path`` may be read-only.
    parsed = store.path.with_name(f".{path.name}.{os.getpid()}.parquet")
    try:
        lines = _parse(path, parsed, classify)
        counts = [
            _import_chunk(store, batch_id, parsed, start, max_attempts=max_attempts)
            for start in range(0, lines, _CHUNK)
        ]
    finally:
        parsed.unlink(missing_ok=True)
    return sum(count.answered for count in counts)


def _parse(path: Path, parsed: Path, classify: Callable[[bytes], Answer]) -> int:
    with _memory() as connection:
        connection.execute(f"CREATE TABLE arrived ({ARRIVED})")
        connection.execute(f"CREATE TABLE judged AS {_judged(path)}")
        connection.execute(f"INSERT INTO arrived {_plain_answers()}")
        for answers in _unusual(connection, classify):
            bulk_insert(connection, "arrived", ARRIVED, answers)
        target = _quoted(parsed)
        connection.execute(f"COPY arrived TO {target} (FORMAT parquet)")
        found = connection.execute("SELECT coalesce(max(position) + 1, 0) FROM arrived").fetchone()
    return int(found[0]) if found else 0


def _unusual(
    connection: DuckDBPyConnection, classify: Callable[[bytes], Answer]
) -> Iterator[list[tuple[object, ...]]]:
    cursor = connection.cursor()
    cursor.execute("SELECT position, line FROM judged WHERE NOT plain ORDER BY position")
    while rows := cursor.fetchmany(10_000):
        yield [classify(line.encode()).row(position) for position, line in rows]


def _import_chunk(
    store: StateStore, batch_id: str, parsed: Path, start: int, *, max_attempts: int
) -> ImportCounts:
    with store.transaction() as connection:
        connection.execute(
            f"CREATE TEMP TABLE arrived AS SELECT * FROM read_parquet({_quoted(parsed)}) "  # noqa: S608
            f"WHERE position >= {start} AND position < {start + _CHUNK}"
        )
        return apply_arrived(connection, batch_id, max_attempts=max_attempts)


def _judged(path: Path) -> str:
    """Return SQL for every line with its position, parts, and whether it is a plain good answer."""
    paths = ", ".join(f"'{item}'" for item in _PATHS)
    whole = " AND ".join(
        f"coalesce(length({name}) <= 80 AND NOT regexp_matches({name}, '{_ODD}'), "
        f"json_type(content, '$.{name}') = 'NULL')"
        for name in _FIELDS[1:]
    )
    kinds = " AND ".join(
        f"json_type(content, '$.{name}') IN ('VARCHAR', 'NULL')" for name in _FIELDS[1:]
    )
    values = ", ".join(f"json_extract_string(content, '$.{name}') AS {name}" for name in _FIELDS)
    keys = "['clean_title', 'color', 'material', 'object_type', 'style']"
    return f"""
        SELECT position, f, {", ".join(_FIELDS)}, CASE WHEN NOT plain THEN line END AS line, plain
        FROM (SELECT *, coalesce(
            f[1] IS NOT NULL AND f[2] = '200' AND f[3] = 'stop' AND f[5] IS NULL
            AND json_type(content) = 'OBJECT' AND list_sort(json_keys(content)) = {keys}
            AND json_type(content, '$.clean_title') = 'VARCHAR'
            AND length(clean_title) BETWEEN 1 AND 200
            AND NOT regexp_matches(clean_title, '{_ODD}')
            AND {kinds} AND {whole}, false) AS plain
        FROM (
            SELECT *, {values} FROM (
                SELECT *, CASE WHEN json_valid(f[4]) THEN f[4] END AS content FROM (
                    SELECT row_number() OVER () - 1 AS position, line,
                           CASE WHEN json_valid(line)
                                THEN json_extract_string(line, [{paths}]) END AS f
                    FROM {_source(path)} WHERE line IS NOT NULL AND trim(line) <> ''
                )
            )
        ))
    """  # noqa: S608


def _plain_answers() -> str:
    known = ", ".join(
        f"CASE WHEN lower({name}) NOT IN {_UNKNOWN} THEN {name} END" for name in _FIELDS[1:]
    )
    tokens = ", ".join(f"coalesce(try_cast(f[{index}] AS BIGINT), 0)" for index in (6, 7, 8))
    return (
        f"SELECT position, f[1], 'ok', NULL, NULL, clean_title, {known}, {tokens} "  # noqa: S608
        "FROM judged WHERE plain"
    )


def _memory() -> DuckDBPyConnection:
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET memory_limit = '600MB'")
    return connection


def _source(path: Path) -> str:
    return _LINES.format(path=_quoted(path))


def _quoted(path: Path) -> str:
    """Return a path as an SQL string; table functions take no parameters in a view of theirs."""
    return "'" + str(path).replace("'", "''") + "'"
