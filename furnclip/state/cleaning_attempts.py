"""The intent log: each intention to create a batch, written before the call."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from furnclip.errors import StateError

if TYPE_CHECKING:
    from furnclip.state.store import StateStore


@dataclass(frozen=True)
class AttemptRow:
    """One intention to create a batch, recorded before the call.

    Outcomes: unknown, created, refused, absent; full, when its batch found no room in the queue.
    """

    attempt: str
    part: str
    started_at: datetime
    outcome: str


def begin_attempt(store: StateStore, part: str, attempt: str) -> None:
    """Write the intent to create a batch; must commit before the call is made."""
    with store.transaction() as connection:
        live = connection.execute(
            "SELECT count(*) FROM cleaning_submit_attempt WHERE part = ? AND outcome = 'unknown'",
            [part],
        ).fetchone()
        if live and live[0]:
            raise StateError(f"part {part} is being submitted by another process")
        connection.execute(
            "INSERT INTO cleaning_submit_attempt (attempt, part, outcome) VALUES (?, ?, 'unknown')",
            [attempt, part],
        )
        connection.execute("UPDATE cleaning_part SET state = 'creating' WHERE part = ?", [part])


def open_attempt(store: StateStore, part: str) -> AttemptRow | None:
    """Return the part's attempt whose outcome is not known."""
    with store.transaction() as connection:
        found = connection.execute(
            "SELECT attempt, part, started_at, outcome FROM cleaning_submit_attempt "
            "WHERE part = ? AND outcome = 'unknown'",
            [part],
        ).fetchone()
    return None if found is None else AttemptRow(*found)


def end_attempt(
    store: StateStore, attempt: str, outcome: str, *, part_state: str, detail: str | None = None
) -> None:
    """Close an attempt that made no batch and move its part on."""
    with store.transaction() as connection:
        connection.execute(
            "UPDATE cleaning_submit_attempt SET outcome = ?, detail = ? WHERE attempt = ?",
            [outcome, detail, attempt],
        )
        connection.execute(
            "UPDATE cleaning_part SET state = ?, error = ? WHERE part = "
            "(SELECT part FROM cleaning_submit_attempt WHERE attempt = ?)",
            [part_state, detail, attempt],
        )


def refuse_part(store: StateStore, part: str, batch_id: str, reason: str) -> None:
    """Have a part wait whose batch the provider's queue had no room for; the batch is over."""
    with store.transaction() as connection:
        connection.execute(
            "UPDATE cleaning_submit_attempt SET outcome = 'full', detail = ? WHERE batch_id = ?",
            [reason, batch_id],
        )
        connection.execute(
            "UPDATE cleaning_batch SET harvested = true, input_tokens = 0, cached_tokens = 0, "
            "output_tokens = 0, usd = 0, updated_at = now() WHERE batch_id = ?",
            [batch_id],
        )
        connection.execute(
            "UPDATE cleaning_part SET state = 'waiting', error = ? WHERE part = ?", [reason, part]
        )


def refusals(store: StateStore, model: str) -> list[str]:
    """Return why parts for ``model`` were refused within a day, the last refusal first."""
    with store.transaction() as connection:
        found = connection.execute(
            "SELECT a.detail FROM cleaning_submit_attempt a JOIN cleaning_part p USING (part) "
            "WHERE p.model = ? AND a.outcome IN ('refused', 'full') AND a.detail IS NOT NULL "
            "AND a.started_at > now() - INTERVAL 1 DAY ORDER BY a.started_at DESC",
            [model],
        ).fetchall()
    return [reason for (reason,) in found]


def times_refused(store: StateStore, part: str) -> int:
    """Return how often the provider's queue had no room for a part."""
    with store.transaction() as connection:
        found = connection.execute(
            "SELECT count(*) FROM cleaning_submit_attempt "
            "WHERE part = ? AND outcome IN ('refused', 'full') AND detail ILIKE '%token%'",
            [part],
        ).fetchone()
    return int(found[0]) if found else 0
