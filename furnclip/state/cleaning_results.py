"""Results: what a batch left unsaid, what it cost, and what is to be asked again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from furnclip.state.events import record_event

if TYPE_CHECKING:
    from furnclip.state.store import StateStore


def unseen_requests(store: StateStore, batch_id: str, part: str) -> list[str]:
    """Return the custom ids a batch was asked for and has no result line of."""
    with store.transaction() as connection:
        found = connection.execute(
            """
            SELECT q.custom_id
            FROM cleaning_part_request l JOIN cleaning_request q USING (request_key)
            WHERE l.part = ? AND q.custom_id NOT IN
                (SELECT custom_id FROM cleaning_result WHERE batch_id = ?)
            ORDER BY l.line
            """,
            [part, batch_id],
        ).fetchall()
    return [custom_id for (custom_id,) in found]


def ids_on_lines(store: StateStore, part: str, lines: Sequence[int]) -> dict[int, str]:
    """Return the custom ids on the given lines (from 1) of a part's file."""
    with store.transaction() as connection:
        return dict(
            connection.execute(
                "SELECT l.line, q.custom_id FROM cleaning_part_request l "
                "JOIN cleaning_request q USING (request_key) "
                "WHERE l.part = ? AND l.line IN (SELECT unnest(?::INTEGER[]))",
                [part, list(lines)],
            ).fetchall()
        )


def finish_batch(
    store: StateStore, batch_id: str, *, prices: tuple[float, float, float] | None
) -> None:
    """Mark a batch as harvested, its part as done, and add up what its answers used.

    ``prices`` are dollars per token of prompt, cached prompt and completion.
    """
    with store.transaction() as connection:
        usage = connection.execute(
            "SELECT coalesce(sum(input_tokens), 0), coalesce(sum(cached_tokens), 0), "
            "coalesce(sum(output_tokens), 0) FROM cleaning_result WHERE batch_id = ?",
            [batch_id],
        ).fetchone() or (0, 0, 0)
        connection.execute(
            "UPDATE cleaning_batch SET harvested = true, input_tokens = ?, cached_tokens = ?, "
            "output_tokens = ?, usd = ?, updated_at = now() WHERE batch_id = ?",
            [*usage, _dollars(usage, prices), batch_id],
        )
        connection.execute(
            "UPDATE cleaning_part SET state = 'done' WHERE state = 'submitted' AND part = "
            "(SELECT part FROM cleaning_batch WHERE batch_id = ?)",
            [batch_id],
        )
        record_event(connection, "clean", "harvested", subject=batch_id)


def requeue_failed(store: StateStore, run: str) -> int:
    """Give a run's failed requests, and those of orphaned parts, new attempts; returns how many.

    A request that is on its way in another part is left alone.
    """
    with store.transaction() as connection:
        found = connection.execute(
            """
            UPDATE cleaning_request SET state = 'requeue', attempts = 0
            WHERE request_key IN (SELECT request_key FROM cleaning_source_row WHERE run = ?)
              AND (state = 'failed' OR state = 'open' AND request_key IN (
                  SELECT l.request_key FROM cleaning_part_request l
                  JOIN cleaning_part p USING (part) WHERE p.state = 'orphaned'))
              AND request_key NOT IN (
                  SELECT l.request_key FROM cleaning_part_request l
                  JOIN cleaning_part p USING (part)
                  WHERE p.state NOT IN ('orphaned', 'done', 'split'))
            RETURNING request_key
            """,
            [run],
        ).fetchall()
        record_event(connection, "clean", "retry", subject=run, detail={"requests": len(found)})
    return len(found)


def requeued_tokens(store: StateStore, run: str) -> tuple[int, int]:
    """Return the estimated prompt and answer tokens of what a run must ask again."""
    with store.transaction() as connection:
        found = connection.execute(
            "SELECT coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0) "
            "FROM cleaning_request WHERE state = 'requeue' AND request_key IN "
            "(SELECT request_key FROM cleaning_source_row WHERE run = ?)",
            [run],
        ).fetchone()
    return (int(found[0]), int(found[1])) if found else (0, 0)


def anomalies(store: StateStore, batch_id: str) -> list[tuple[str | None, str, str | None]]:
    """Return the oddities of a batch's output: custom id, kind, detail."""
    with store.transaction() as connection:
        return connection.execute(
            "SELECT custom_id, kind, detail FROM cleaning_anomaly WHERE batch_id = ? ORDER BY 1, 2",
            [batch_id],
        ).fetchall()


def _dollars(usage: Sequence[int], prices: tuple[float, float, float] | None) -> float | None:
    if prices is None:
        return None
    prompt, cached, completion = usage
    return (prompt - cached) * prices[0] + cached * prices[1] + completion * prices[2]
