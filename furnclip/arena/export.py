"""Votes as a CSV for other tools."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from furnclip.arena.statistics import outcome
from furnclip.catalogue import write_csv_atomic
from furnclip.state.arena import Vote


def write_votes(path: Path, votes: Sequence[Vote]) -> int:
    """Write one row a vote with every field and the ``outcome``; return the number of rows."""
    names = [field.name for field in dataclasses.fields(Vote)]
    rows = ([*(_text(getattr(vote, name)) for name in names), outcome(vote)] for vote in votes)
    return write_csv_atomic(path, [*names, "outcome"], rows)


def _text(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
