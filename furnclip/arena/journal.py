"""The vote journal: one file a session, one JSON line an event, synced before the next key.

The journal is the truth until its lines are in the state file, and stays there afterwards. A line
without its new line at the end was cut by a crash before the vote was acknowledged: it is ignored.
"""

from __future__ import annotations

import dataclasses
import json
import os
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from furnclip.errors import DataError
from furnclip.state.arena import Undo, Vote

SUFFIX = ".jsonl"


class Journal:
    """Appends events to ``path``; safe from threads. The file is made by the first event."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._fd: int | None = None

    def append(self, event: Vote | Undo) -> None:
        """Write one event and sync it to the disk (1 to 5 ms).

        Raises ``DataError`` when it cannot be written, on a full disk say; the file stays whole.
        """
        kind = "vote" if isinstance(event, Vote) else "undo"
        values = dataclasses.asdict(event)
        line = json.dumps({"kind": kind, **values}, default=_iso, ensure_ascii=False) + "\n"
        with self._lock:
            if self._fd is None:
                self._fd = self._open()
            try:
                _write_whole(self._fd, line.encode())
            except OSError as error:
                raise DataError(
                    f"cannot write the vote journal {self.path}: {error.strerror}; this vote was "
                    "not recorded, every earlier one was",
                    hint="make room on the disk, then start the arena again: it goes on from here",
                ) from error

    def close(self) -> None:
        """Close the file; a later event opens it again."""
        with self._lock:
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None

    def _open(self) -> int:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            folder = os.open(self.path.parent, os.O_RDONLY)
        except OSError as error:
            raise DataError(
                f"cannot write the vote journal {self.path}: {error.strerror}",
                hint="check that you may write to its folder",
            ) from error
        os.fsync(folder)
        os.close(folder)
        return fd


def _write_whole(fd: int, line: bytes) -> None:
    """Append and sync one line; on failure cut off what was written, so the next line is whole."""
    before = os.fstat(fd).st_size
    try:
        written = 0
        while written < len(line):
            written += os.write(fd, line[written:])
        os.fsync(fd)
    except OSError:
        os.ftruncate(fd, before)
        raise


def journals(folder: Path) -> list[Path]:
    """Return every journal in ``folder``, by name."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def read(path: Path, start: int = 0) -> tuple[list[Vote], list[Undo], int]:
    """Return the events of a journal from byte ``start``, and the byte after the last whole line.

    Raises ``DataError`` naming the file and the byte of a line that is no event.
    """
    with path.open("rb") as file:
        file.seek(start)
        data = file.read()
    whole = data[: data.rfind(b"\n") + 1]
    votes: list[Vote] = []
    undos: list[Undo] = []
    for offset, line in _lines(whole):
        try:
            event = json.loads(line)
            if event.pop("kind") == "vote":
                votes.append(Vote(**_dated(event, "voted_at")))
            else:
                undos.append(Undo(**_dated(event, "undone_at")))
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{path}: the line at byte {start + offset} is no vote: {error}",
                hint="move the file away to go on without its votes",
            ) from error
    return votes, undos, start + len(whole)


def _lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    for line in data.splitlines(keepends=True):
        if line.strip():
            yield offset, line
        offset += len(line)


def _dated(event: dict[str, Any], name: str) -> dict[str, Any]:
    return {**event, name: datetime.fromisoformat(event[name])}


def _iso(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} in a vote")
