"""Votes of the arena in the state file: merged from journals, never changed, undone by events."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from furnclip.state.store import StateStore

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True)
class Vote:
    """One judgement. ``choice`` is A, B, tie, bad (both) or skip; rows are A above B.

    ``automatic`` ties were identical lists that nobody saw; ``repeated`` ones showed an earlier
    comparison again with its rows swapped. Sizes are thumbnails in pixels, ``shown`` their number
    a row, ``seconds`` the time to decide.
    """

    event: str
    session: str
    sequence: int
    voted_at: datetime
    rater: str
    query: str
    baseline: str
    challenger: str
    choice: str
    baseline_is_row_a: bool
    baseline_sha: str = ""
    challenger_sha: str = ""
    automatic: bool = False
    repeated: bool = False
    seconds: float | None = None
    graphics: str = ""
    thumbnail_width: int = 0
    thumbnail_height: int = 0
    shown: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Undo:
    """A vote taken back."""

    event: str
    undoes: str
    undone_at: datetime


_COLUMNS = tuple(field.name for field in dataclasses.fields(Vote))
_UNDO_COLUMNS = tuple(field.name for field in dataclasses.fields(Undo))


def merge(
    store: StateStore, journal: str, *, votes: Sequence[Vote], undos: Sequence[Undo], read_to: int
) -> None:
    """Add what a journal holds up to byte ``read_to``; an event already there is left as it is."""
    with store.transaction() as connection:
        for table, columns, rows in (
            ("arena_vote", _COLUMNS, votes),
            ("arena_undo", _UNDO_COLUMNS, undos),
        ):
            if rows:
                values = [[getattr(row, name) for row in rows] for name in columns]
                connection.execute(
                    f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) "
                    f"SELECT {', '.join('unnest(?)' for _ in columns)}",
                    values,
                )
        connection.execute(
            "INSERT INTO arena_journal VALUES (?, ?) ON CONFLICT (name) DO UPDATE "
            "SET merged_bytes = greatest(merged_bytes, excluded.merged_bytes)",
            [journal, read_to],
        )


def merged_bytes(store: StateStore) -> dict[str, int]:
    """Return how far each journal is merged, by its name."""
    with store.transaction() as connection:
        return _merged(connection)


def standing_votes(store: StateStore) -> list[Vote]:
    """Return every vote that was not taken back, oldest first."""
    with store.transaction() as connection:
        return _standing(connection)


def merged_and_standing(store: StateStore) -> tuple[dict[str, int], list[Vote]]:
    """Return both in one transaction: opening the file is what takes the time."""
    with store.transaction() as connection:
        return _merged(connection), _standing(connection)


def _merged(connection: DuckDBPyConnection) -> dict[str, int]:
    return dict(connection.execute("SELECT name, merged_bytes FROM arena_journal").fetchall())


def _standing(connection: DuckDBPyConnection) -> list[Vote]:
    rows = connection.execute(
        f"SELECT {', '.join(_COLUMNS)} FROM arena_vote "  # noqa: S608
        "WHERE event NOT IN (SELECT undoes FROM arena_undo) "
        "ORDER BY voted_at, session, sequence"
    ).fetchall()
    return [Vote(**dict(zip(_COLUMNS, row, strict=True))) for row in rows]
