"""The log of what happened: one row an event, never changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def record_event(
    connection: DuckDBPyConnection,
    stage: str,
    kind: str,
    *,
    subject: str | None = None,
    detail: Mapping[str, object] | None = None,
) -> None:
    """Append an event inside the caller's transaction; ``detail`` must be JSON-serialisable."""
    connection.execute(
        "INSERT INTO event (stage, kind, subject, detail) VALUES (?, ?, ?, ?)",
        [stage, kind, subject, None if detail is None else json.dumps(dict(detail))],
    )
