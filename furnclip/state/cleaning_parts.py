"""Parts, the intent log of submitting them, and batches."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from furnclip.errors import StateError
from furnclip.state.cleaning import PartLine, PartRow, insert_part
from furnclip.state.events import record_event

if TYPE_CHECKING:
    from furnclip.state.store import StateStore

_PART = (
    "p.part, p.run, p.number, p.path, p.sha256, p.bytes, p.requests, p.input_tokens, p.usd, "
    "p.model, p.backend, p.state, p.file_id, p.error"
)
_BATCH = (
    "b.batch_id, b.part, b.run, b.backend, b.base_url, b.model, b.status, b.input_file_id, "
    "b.output_file_id, b.error_file_id, b.total, b.completed, b.failed, b.errors, b.est_usd, "
    "b.input_tokens, b.cached_tokens, b.output_tokens, b.usd, b.harvested, b.submitted_at, "
    "b.updated_at, b.key_fingerprint"
)
# A run waits for its own parts and for other runs' parts that hold a question it shares.
_OF_RUN = (
    "(p.run = $run OR p.part IN (SELECT l.part FROM cleaning_part_request l "
    "JOIN cleaning_part o USING (part) JOIN cleaning_source_row s USING (request_key) "
    "WHERE o.run <> $run AND s.run = $run))"
)


@dataclass(frozen=True)
class BatchRow:
    """One batch as last seen; counts are the server's and never trusted for accounting."""

    batch_id: str
    part: str
    run: str
    backend: str
    base_url: str | None
    model: str
    status: str
    input_file_id: str | None
    output_file_id: str | None
    error_file_id: str | None
    total: int
    completed: int
    failed: int
    errors: str | None
    est_usd: float | None
    input_tokens: int | None
    cached_tokens: int | None
    output_tokens: int | None
    usd: float | None
    harvested: bool
    submitted_at: datetime
    updated_at: datetime
    key_fingerprint: str | None


def parts_of_run(store: StateStore, run: str, states: Sequence[str]) -> list[PartRow]:
    """Return the parts a run waits for that are in one of ``states``, in order."""
    with store.transaction() as connection:
        found = connection.execute(
            f"SELECT {_PART} FROM cleaning_part p WHERE {_OF_RUN} "  # noqa: S608
            "AND p.state IN (SELECT unnest($states::VARCHAR[])) ORDER BY p.created_at, p.number",
            {"run": run, "states": list(states)},
        ).fetchall()
    return [_part_row(row) for row in found]


def get_part(store: StateStore, part: str) -> PartRow:
    """Return one part as it is now."""
    with store.transaction() as connection:
        found = connection.execute(
            f"SELECT {_PART} FROM cleaning_part p WHERE p.part = ?",  # noqa: S608
            [part],
        ).fetchone()
    if found is None:
        raise StateError(f"the state file knows no part {part}")
    return _part_row(found)


def part_by_path(store: StateStore, path: Path) -> PartRow | None:
    """Return the part whose request file this is."""
    with store.transaction() as connection:
        found = connection.execute(
            f"SELECT {_PART} FROM cleaning_part p WHERE p.path = ?",  # noqa: S608
            [str(path.resolve())],
        ).fetchone()
    return None if found is None else _part_row(found)


def set_part(
    store: StateStore,
    part: str,
    state: str,
    *,
    file_id: str | None = None,
    error: str | None = None,
) -> None:
    """Move a part to ``state``; a file id is kept unless a new one is given."""
    with store.transaction() as connection:
        connection.execute(
            "UPDATE cleaning_part SET state = ?, file_id = coalesce(?, file_id), error = ? "
            "WHERE part = ?",
            [state, file_id, error, part],
        )
        record_event(connection, "clean", f"part {state}", subject=part, detail=_detail(error))


def forget_file(store: StateStore, part: str) -> None:
    """Have the part uploaded afresh: the server lost the file."""
    with store.transaction() as connection:
        connection.execute(
            "UPDATE cleaning_part SET state = 'ready', file_id = NULL WHERE part = ?", [part]
        )


def forget_lost(store: StateStore, parts: Sequence[str], keys: Sequence[str]) -> None:
    """Forget parts that never left and whose file is gone, and those unanswered questions.

    ``keys`` are questions to forget besides the ones in the parts; ``prepare`` writes them anew.
    """
    with store.transaction() as connection:
        connection.execute(
            "DELETE FROM cleaning_request WHERE state IN ('open', 'requeue') AND request_key IN "
            "(SELECT unnest($keys::VARCHAR[]) UNION ALL SELECT request_key "
            "FROM cleaning_part_request WHERE part IN (SELECT unnest($parts::VARCHAR[])))",
            {"keys": list(keys), "parts": list(parts)},
        )
        for table in ("cleaning_part_request", "cleaning_part"):
            connection.execute(
                f"DELETE FROM {table} WHERE part IN (SELECT unnest(?::VARCHAR[]))",  # noqa: S608
                [list(parts)],
            )


def stale_parts(store: StateStore, parts: Sequence[str]) -> list[str]:
    """Return those of ``parts`` that hold a request answered or given up elsewhere."""
    with store.transaction() as connection:
        found = connection.execute(
            "SELECT DISTINCT l.part FROM cleaning_part_request l "
            "JOIN cleaning_request q USING (request_key) "
            "WHERE q.state <> 'open' AND l.part IN (SELECT unnest(?::VARCHAR[]))",
            [list(parts)],
        ).fetchall()
    return [part for (part,) in found]


def split_parts(store: StateStore, parts: Sequence[str]) -> None:
    """Free the requests of unsent parts, to be put into smaller ones."""
    with store.transaction() as connection:
        connection.execute(
            "UPDATE cleaning_request SET state = 'requeue' WHERE state = 'open' AND request_key IN "
            "(SELECT request_key FROM cleaning_part_request "
            "WHERE part IN (SELECT unnest(?::VARCHAR[])))",
            [list(parts)],
        )
        connection.execute(
            "UPDATE cleaning_part SET state = 'split' WHERE part IN (SELECT unnest(?::VARCHAR[]))",
            [list(parts)],
        )


def record_batch(
    store: StateStore,
    part: PartRow,
    attempt: str,
    *,
    batch_id: str,
    status: str,
    base_url: str | None,
    key_fingerprint: str | None,
) -> None:
    """Close an attempt with the batch it made; recording the same batch twice changes nothing."""
    with store.transaction() as connection:
        connection.execute(
            "UPDATE cleaning_submit_attempt SET outcome = 'created', batch_id = ? "
            "WHERE attempt = ?",
            [batch_id, attempt],
        )
        connection.execute(
            "UPDATE cleaning_part SET state = 'submitted', error = NULL WHERE part = ?", [part.part]
        )
        connection.execute(
            "INSERT INTO cleaning_batch (batch_id, part, run, backend, base_url, key_fingerprint, "
            "model, status, input_file_id, total, completed, failed, est_usd, harvested) "
            "SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, ?, false WHERE NOT EXISTS "
            "(SELECT 1 FROM cleaning_batch WHERE batch_id = ?)",
            [batch_id, part.part, part.run, part.backend, base_url, key_fingerprint, part.model,
             status, part.file_id, part.requests, part.usd, batch_id],
        )  # fmt: skip
        record_event(connection, "clean", "batch created", subject=batch_id)


def adopt_outside_batch(store: StateStore, run: str, model: str, batch_id: str) -> None:
    """Record a file of answers made elsewhere as a harvested batch over all requests of a run."""
    with store.transaction() as connection:
        if connection.execute(
            "SELECT 1 FROM cleaning_batch WHERE batch_id = ?", [batch_id]
        ).fetchone():
            return
        part = f"{run}-{batch_id}"
        found = connection.execute(
            "INSERT INTO cleaning_part_request (part, request_key, line, byte_offset, byte_length) "
            "SELECT ?, request_key, 0, 0, 0 FROM cleaning_source_row "
            "WHERE run = ? AND request_key IS NOT NULL GROUP BY request_key",
            [part, run],
        ).fetchone()
        connection.execute(
            "INSERT INTO cleaning_part (part, run, number, path, sha256, bytes, requests, "
            "input_tokens, model, backend, state) VALUES (?, ?, 0, '', '', 0, ?, 0, ?, 'file', "
            "'done')",
            [part, run, found[0] if found else 0, model],
        )
        connection.execute(
            "INSERT INTO cleaning_batch (batch_id, part, run, backend, model, status, total, "
            "completed, failed, harvested) "
            "SELECT ?, part, run, 'file', model, 'completed', requests, 0, 0, true "
            "FROM cleaning_part WHERE part = ?",
            [batch_id, part],
        )


def discard_if_empty(store: StateStore, batch_id: str) -> bool:
    """Forget an adopted batch without a single result; says whether it was one."""
    with store.transaction() as connection:
        if connection.execute(
            "SELECT 1 FROM cleaning_result WHERE batch_id = ?", [batch_id]
        ).fetchone():
            return False
        for table in ("cleaning_part_request", "cleaning_part"):
            connection.execute(
                f"DELETE FROM {table} WHERE part IN "  # noqa: S608
                "(SELECT part FROM cleaning_batch WHERE batch_id = ?)",
                [batch_id],
            )
        for table in ("cleaning_anomaly", "cleaning_batch"):
            connection.execute(f"DELETE FROM {table} WHERE batch_id = ?", [batch_id])  # noqa: S608
    return True


def update_batches(store: StateStore, updates: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Set columns of batches (status, counts, file ids, errors) that are not harvested."""
    if not updates:
        return
    with store.transaction() as connection:
        for batch_id, values in updates:
            plain = {k: json.dumps(v) if isinstance(v, list) else v for k, v in values.items()}
            settings = ", ".join(f"{name} = ?" for name in plain)
            connection.execute(
                f"UPDATE cleaning_batch SET {settings}, updated_at = now() "  # noqa: S608
                "WHERE batch_id = ? AND NOT harvested",
                [*plain.values(), batch_id],
            )


def list_batches(
    store: StateStore, *, run: str | None = None, batch_id: str | None = None
) -> list[BatchRow]:
    """Return batches in the order of submission: all, a run's, or one."""
    where = "true"
    values: dict[str, str] = {}
    if run is not None:
        where = f"b.part IN (SELECT p.part FROM cleaning_part p WHERE {_OF_RUN})"  # noqa: S608
        values = {"run": run}
    elif batch_id is not None:
        where, values = "b.batch_id = $batch", {"batch": batch_id}
    with store.transaction() as connection:
        found = connection.execute(
            f"SELECT {_BATCH} FROM cleaning_batch b WHERE {where} ORDER BY b.submitted_at",  # noqa: S608
            values or None,
        ).fetchall()
    return [BatchRow(*row) for row in found]


def enqueued_tokens(store: StateStore, model: str) -> int:
    """Return the prompt tokens of all batches of ``model`` that are not finished."""
    with store.transaction() as connection:
        found = connection.execute(
            "SELECT coalesce(sum(input_tokens), 0) FROM cleaning_part "
            "WHERE model = ? AND state IN ('creating', 'submitted')",
            [model],
        ).fetchone()
    return int(found[0]) if found else 0


def requeued_lines(store: StateStore, run: str) -> list[tuple[Path, PartLine, int, int, int]]:
    """Return what a run must ask again: newest file, place in it, token factor, in/out tokens."""
    with store.transaction() as connection:
        found = connection.execute(
            """
            SELECT p.path, l.part, l.request_key, l.line, l.byte_offset, l.byte_length,
                   q.token_factor, q.input_tokens, q.output_tokens
            FROM cleaning_request q
            JOIN cleaning_part_request l USING (request_key)
            JOIN cleaning_part p ON p.part = l.part
            WHERE q.state = 'requeue' AND l.byte_length > 0
              AND q.request_key IN (SELECT request_key FROM cleaning_source_row WHERE run = ?)
            QUALIFY row_number() OVER (
                PARTITION BY q.request_key ORDER BY p.created_at DESC, p.number DESC) = 1
            ORDER BY p.created_at, l.line
            """,
            [run],
        ).fetchall()
    return [
        (Path(path), PartLine(part, key, line, offset, length), factor, tokens_in, tokens_out)
        for path, part, key, line, offset, length, factor, tokens_in, tokens_out in found
    ]


def assign_requeued(store: StateStore, part: PartRow, lines: Sequence[PartLine]) -> bool:
    """Give requeued requests to a new part; False, and nothing done, when one is not free any more.

    This is where one live part per request is enforced.
    """
    keys = [line.request_key for line in lines]
    with store.transaction() as connection:
        free = connection.execute(
            "SELECT count(*) FROM cleaning_request WHERE state = 'requeue' "
            "AND request_key IN (SELECT unnest(?::VARCHAR[]))",
            [keys],
        ).fetchone()
        if free is None or free[0] != len(keys):
            return False
        insert_part(connection, part, lines)
        connection.execute(
            "UPDATE cleaning_request SET state = 'open' "
            "WHERE request_key IN (SELECT unnest(?::VARCHAR[]))",
            [keys],
        )
    return True


def _part_row(row: Sequence[Any]) -> PartRow:
    values = list(row)
    values[3] = Path(values[3])
    return PartRow(*values)


def _detail(error: str | None) -> dict[str, object] | None:
    return None if error is None else {"error": error}
