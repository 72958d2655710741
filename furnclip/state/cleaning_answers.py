"""Answers: taking a batch's output lines into the state file, each line once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from furnclip.state.cleaning import bulk_insert

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from furnclip.state.store import StateStore

# What becomes of a request after each bad outcome. The rest of the outcomes are final.
RETRYABLE = (
    "http_error",
    "invalid_json",
    "invalid_fields",
    "empty",
    "length",
    "missing",
    "expired",
)
FREE_RETRY = ("cancelled", "not_run")
"""Outcomes that cost nothing and count as no attempt."""
_AT_ONCE = 12
"""Parquet files in one transaction: a few seconds, so that ``status`` is not kept waiting."""
Fields = tuple[str | None, str | None, str | None, str | None, str | None]


class Answer(NamedTuple):
    """One output line, classified; a million of them are made, so it is a tuple.

    ``outcome`` is ok, refusal, bad_request, quarantined, one of ``RETRYABLE`` or of ``FREE_RETRY``.
    ``fields`` are the five cleaned fields of an ok answer. ``raw`` is kept for the others.
    """

    custom_id: str
    outcome: str
    error: str | None = None
    raw: str | None = None
    fields: Fields = (None, None, None, None, None)
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0

    def row(self, position: int) -> tuple[object, ...]:
        """Return the answer as a row of ``ARRIVED``, ``position`` being its place in the file."""
        return (position, *self[:4], *self.fields, *self[5:])

    @staticmethod
    def columns(answers: Sequence[Answer], start: int) -> list[Sequence[object]]:
        """Return what ``row`` says of each answer by column, ``start`` being the first's place."""
        if not answers:
            return [()] * len(ARRIVED)
        columns: list[Sequence[object]] = list(zip(*answers, strict=True))
        fields = zip(*(answer.fields for answer in answers), strict=True)
        return [range(start, start + len(answers)), *columns[:4], *fields, *columns[5:]]


ARRIVED = {
    "position": "BIGINT",
    **dict.fromkeys(
        ("custom_id", "outcome", "error", "raw", "clean_title", "style", "material", "color",
         "object_type"),
        "VARCHAR",
    ),
    **dict.fromkeys(("input_tokens", "cached_tokens", "output_tokens"), "BIGINT"),
}  # fmt: skip
"""Columns of the temporary table answers arrive in, and of their Parquet files."""


@dataclass(frozen=True)
class ImportCounts:
    """What one import did: lines seen before and ids nobody asked for are not new."""

    new: int
    answered: int
    anomalies: int


def import_answers(
    store: StateStore, batch_id: str, answers: Sequence[Answer], *, max_attempts: int
) -> ImportCounts:
    """Store answers of one batch in one transaction; the same lines again change nothing.

    The first valid answer of a request wins. Duplicate and unknown ids become anomalies.
    """
    with store.transaction() as connection:
        columns = ", ".join(f"{name} {kind}" for name, kind in ARRIVED.items())
        connection.execute(f"CREATE TEMP TABLE arrived ({columns})")
        rows = [answer.row(position) for position, answer in enumerate(answers)]
        bulk_insert(connection, "arrived", columns, rows)
        return _apply_arrived(connection, batch_id, max_attempts=max_attempts)


def import_parquet(
    store: StateStore, batch_id: str, files: Iterable[Path], *, max_attempts: int
) -> int:
    """Store answers from Parquet files of ``ARRIVED``, a few files in one transaction.

    Returns the number of requests answered by them.
    """
    answered = 0
    left = iter(files)
    while some := [str(path) for path in islice(left, _AT_ONCE)]:
        with store.transaction() as connection:
            connection.execute("CREATE TEMP TABLE arrived AS SELECT * FROM read_parquet(?)", [some])
            answered += _apply_arrived(connection, batch_id, max_attempts=max_attempts).answered
    return answered


def _apply_arrived(
    connection: DuckDBPyConnection, batch_id: str, *, max_attempts: int
) -> ImportCounts:
    """Store the answers in the temporary table ``arrived``, inside the caller's transaction."""
    _match(connection, batch_id)
    anomalies = _store_anomalies(connection, batch_id)
    new = _store_results(connection, batch_id)
    answered = _store_cleaned(connection)
    _move_requests(connection, batch_id, max_attempts)
    connection.execute("DROP TABLE incoming")
    return ImportCounts(new, answered, anomalies)


def _match(connection: DuckDBPyConnection, batch_id: str) -> None:
    """Fill ``incoming``: the answers with their ``key``, null for ids of no request of this batch.

    ``place`` is the row of the request, ``answered`` that it was answered before, ``seen`` that
    this batch has brought a line of it already.
    """
    connection.execute(
        """
        CREATE TEMP TABLE incoming AS
        SELECT a.*, k.request_key AS key, k.place, k.answered, coalesce(d.rank, 1) AS rank,
               r.custom_id IS NOT NULL AS seen
        FROM arrived a
        LEFT JOIN (
            SELECT custom_id, request_key, rowid AS place, state = 'answered' AS answered
            FROM cleaning_request
            WHERE custom_id IN (SELECT custom_id FROM arrived) AND request_key IN (
                SELECT request_key FROM cleaning_part_request
                WHERE part = (SELECT part FROM cleaning_batch WHERE batch_id = $batch))
        ) k USING (custom_id)
        LEFT JOIN (
            SELECT DISTINCT custom_id FROM cleaning_result
            WHERE batch_id = $batch AND custom_id IN (SELECT custom_id FROM arrived)
        ) r USING (custom_id)
        LEFT JOIN (
            SELECT position, row_number() OVER (
                PARTITION BY custom_id ORDER BY outcome <> 'ok', position) AS rank
            FROM arrived WHERE custom_id IN (
                SELECT custom_id FROM arrived GROUP BY custom_id HAVING count(*) > 1)
            QUALIFY rank > 1
        ) d USING (position)
        """,
        {"batch": batch_id},
    )
    connection.execute("DROP TABLE arrived")


def _store_anomalies(connection: DuckDBPyConnection, batch_id: str) -> int:
    found = connection.execute(
        """
        INSERT INTO cleaning_anomaly (batch_id, custom_id, kind, detail)
        SELECT $batch, custom_id, CASE WHEN key IS NULL THEN 'unknown_id' ELSE 'duplicate_id' END,
               coalesce(error, outcome)
        FROM incoming i
        WHERE (key IS NULL OR rank > 1) AND NOT EXISTS (
            SELECT 1 FROM cleaning_anomaly o
            WHERE o.batch_id = $batch AND o.custom_id = i.custom_id)
        RETURNING custom_id
        """,
        {"batch": batch_id},
    ).fetchall()
    connection.execute("DELETE FROM incoming WHERE key IS NULL OR rank > 1 OR seen")
    return len(found)


def _store_results(connection: DuckDBPyConnection, batch_id: str) -> int:
    found = connection.execute(
        """
        INSERT INTO cleaning_result (batch_id, custom_id, request_key, outcome, error, raw,
                                     input_tokens, cached_tokens, output_tokens)
        SELECT ?, custom_id, key, outcome, error, raw, input_tokens, cached_tokens, output_tokens
        FROM incoming
        """,
        [batch_id],
    ).fetchone()
    return int(found[0]) if found else 0


def _store_cleaned(connection: DuckDBPyConnection) -> int:
    found = connection.execute(
        """
        INSERT INTO cleaning_cleaned (request_key, clean_title, style, material, color, object_type)
        SELECT key, clean_title, style, material, color, object_type FROM incoming
        WHERE outcome = 'ok' AND NOT answered
        """
    ).fetchone()
    return int(found[0]) if found else 0


def _move_requests(connection: DuckDBPyConnection, batch_id: str, max_attempts: int) -> None:
    """Give the requests the state their answers ask for, in the order of the requests' table.

    Updating 250,000 of a million rows took 9 s in the order of the answers, 0.4 s in its own.
    """
    connection.execute(
        "CREATE TEMP TABLE moving AS SELECT key, outcome, error FROM incoming "
        "WHERE NOT answered ORDER BY place"
    )
    connection.execute(
        """
        UPDATE cleaning_request SET
            attempts = attempts + CASE WHEN list_contains($free::VARCHAR[], i.outcome)
                                       THEN 0 ELSE 1 END,
            token_factor = CASE WHEN i.outcome = 'length' THEN token_factor * 2
                                ELSE token_factor END,
            error = CASE WHEN i.outcome = 'ok' THEN NULL
                         ELSE concat_ws(': ', i.outcome, i.error) END,
            state = CASE WHEN i.outcome = 'ok' THEN 'answered'
                         WHEN list_contains($free::VARCHAR[], i.outcome) THEN 'requeue'
                         WHEN list_contains($again::VARCHAR[], i.outcome)
                              AND attempts + 1 < $most THEN 'requeue'
                         ELSE 'failed' END
        FROM moving i
        WHERE cleaning_request.request_key = i.key
          -- a failure says nothing of a request that is on its way in another part
          AND (i.outcome = 'ok' OR NOT EXISTS (
              SELECT 1 FROM cleaning_part_request l JOIN cleaning_part p USING (part)
              WHERE l.request_key = i.key AND p.state NOT IN ('orphaned', 'done', 'split')
                AND p.part <> (SELECT part FROM cleaning_batch WHERE batch_id = $batch)))
        """,
        {
            "free": list(FREE_RETRY),
            "again": list(RETRYABLE),
            "most": max_attempts,
            "batch": batch_id,
        },
    )
    connection.execute("DROP TABLE moving")
