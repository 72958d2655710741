"""Numbered, append-only migrations: ``migrations/NNNN_name.sql``, each applied once."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from furnclip.errors import StateError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_LEDGER = """
CREATE TABLE IF NOT EXISTS schema_migration (
    number INTEGER PRIMARY KEY,
    name VARCHAR NOT NULL,
    applied_at TIMESTAMPTZ NOT NULL DEFAULT now()
)
"""


def migrate(connection: DuckDBPyConnection, path: Path) -> None:
    """Apply every migration the file at ``path`` has not seen, each in its own transaction.

    Raises ``StateError`` when the file holds a migration this version does not know.
    """
    known = dict(_numbered())
    connection.execute(_LEDGER)
    applied = {
        number for (number,) in connection.execute("SELECT number FROM schema_migration").fetchall()
    }
    unknown = applied - known.keys()
    if unknown:
        raise StateError(
            f"{path} was written by a newer furnclip (schema {max(unknown):04d})",
            hint="upgrade furnclip, or point paths.state_file at another file",
        )
    for number in sorted(known.keys() - applied):
        _apply(connection, number, known[number])


def _apply(connection: DuckDBPyConnection, number: int, name: str) -> None:
    script = (files("furnclip.state") / "migrations" / name).read_text("utf-8")
    connection.begin()
    try:
        connection.execute(script)
        connection.execute(
            "INSERT INTO schema_migration (number, name) VALUES (?, ?)", [number, name]
        )
    except BaseException:  # Ctrl-C too: a migration is whole or not there
        connection.rollback()
        raise
    connection.commit()


@cache
def _numbered() -> tuple[tuple[int, str], ...]:
    folder = files("furnclip.state") / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return tuple((int(name.split("_")[0]), name) for name in names)
