"""Open, transact, close: how every process shares one DuckDB file.

DuckDB locks its file against every other process, readers included, for as long as it is open.
So nothing keeps it open: each operation takes a file lock, opens, does one transaction and closes
(about 60 ms), and waits its turn with a budget. Two locks form a turnstile: whoever waits for the
file holds the gate, so a process that writes in a loop queues behind the waiter instead of
overtaking it.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from furnclip.errors import StateError, StateLockedError
from furnclip.state.migrate import migrate

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_POLL_SECONDS = 0.01
_in_transaction = threading.local()


class StateStore:
    """The state file at ``path``; nothing is touched until the first transaction."""

    def __init__(self, path: Path, *, budget_seconds: float = 30.0) -> None:
        self.path = path
        self.budget_seconds = budget_seconds

    @contextmanager
    def transaction(self) -> Iterator[DuckDBPyConnection]:
        """Yield a connection inside one transaction: committed at the end, rolled back on error.

        The file and its folder are made when missing and brought to the newest schema. Safe from
        threads and processes. Do nothing slow inside, and do not nest.

        Raises ``StateLockedError`` naming the holder when the budget runs out, ``StateError``
        when the file is not a state file or was written by a newer furnclip.
        """
        if getattr(_in_transaction, "path", None) == self.path:
            raise RuntimeError("state transactions do not nest")
        self.make_folder()
        with self._locked() as deadline:
            connection = self._open(deadline)
            _in_transaction.path = self.path
            try:
                migrate(connection, self.path)
                connection.begin()
                try:
                    yield connection
                except BaseException:  # Ctrl-C too, and whatever the block raises
                    connection.rollback()
                    raise
                connection.commit()
            finally:
                _in_transaction.path = None
                connection.close()

    def make_folder(self) -> None:
        """Make the folder of the state file; raises ``StateError`` when that cannot be done."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StateError(
                f"cannot make the folder of the state file {self.path}: {error.strerror}",
                hint="set paths.state_file to a folder you may write to",
            ) from error

    @contextmanager
    def _locked(self) -> Iterator[float]:
        from filelock import FileLock, Timeout

        deadline = time.monotonic() + self.budget_seconds
        gate, turn = (
            FileLock(f"{self.path}.{name}", timeout=self.budget_seconds, thread_local=False)
            for name in ("gate", "lock")
        )
        try:
            with gate.acquire(poll_interval=_POLL_SECONDS):
                turn.acquire(
                    timeout=max(0.0, deadline - time.monotonic()), poll_interval=_POLL_SECONDS
                )
        except Timeout as error:
            raise self._lock_error(self._holder()) from error
        except OSError as error:
            raise StateError(
                f"cannot lock the state file {self.path}: {error.strerror}",
                hint="check that you may write to its folder",
            ) from error
        try:
            self._sign()
            yield deadline
        finally:
            turn.release()

    def _open(self, deadline: float) -> DuckDBPyConnection:
        import duckdb

        while True:
            try:
                return duckdb.connect(str(self.path))
            except duckdb.IOException as error:
                if "lock" not in str(error):
                    raise StateError(
                        f"cannot open the state file {self.path}: {_first_line(error)}",
                        hint="move it away to start afresh, or restore a copy",
                    ) from error
                if time.monotonic() >= deadline:
                    found = re.search(r"\(PID (\d+)\)", str(error))
                    holder = f"process {found[1]}" if found else None
                    raise self._lock_error(holder) from error
                time.sleep(_POLL_SECONDS)
            except duckdb.Error as error:
                raise StateError(
                    f"{self.path} is not a furnclip state file: {_first_line(error)}",
                    hint="move it away to start afresh",
                ) from error

    def _sign(self) -> None:
        """Leave a note of who holds the lock, for the message another process may have to print."""
        note = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200],
        }
        Path(f"{self.path}.holder").write_text(json.dumps(note), "utf-8")

    def _holder(self) -> str | None:
        try:
            note = json.loads(Path(f"{self.path}.holder").read_text("utf-8"))
            return f"process {note['pid']} on {note['host']} (`{note['command']}`)"
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _lock_error(self, holder: str | None) -> StateLockedError:
        return StateLockedError(
            f"the state file {self.path} is in use by {holder or 'another process'}; "
            f"waited {self.budget_seconds:.0f} s",
            hint="wait for it to finish or stop it, then run the command again",
        )


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
