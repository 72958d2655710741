"""Recording votes and computing what they mean: ``ArenaGrader`` of the API document.

A vote is in the synced journal when ``save_vote`` returns. A thread merges the journal into the
state file, and retries while another process holds it; what a crash leaves behind is merged at the
next start. So a vote can be lost by nothing short of the disk, and is never counted twice.
"""

from __future__ import annotations

import getpass
import logging
import os
import secrets
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from furnclip.arena import journal
from furnclip.errors import StateError, UsageError
from furnclip.state import arena as table
from furnclip.state.arena import Undo, Vote

if TYPE_CHECKING:
    from furnclip.arena.statistics import ArenaStatistics
    from furnclip.state import StateStore

_LOG = logging.getLogger(__name__)
_CHOICES = {"a": "A", "b": "B", "tie": "tie", "bad": "bad", "skip": "skip"}
_RETRY_SECONDS = 0.5
_REST_SECONDS = 0.25  # after a vote, so that the next pictures have the processor to themselves


class ArenaGrader:
    """Saves votes and reports on them; safe from threads, any number of them on one project.

    Without arguments it uses the state file of the settings; journals lie beside it.
    """

    def __init__(
        self, store: StateStore | None = None, *, rater: str | None = None, seed: int = 0
    ) -> None:
        self.store = store if store is not None else _default_store()
        self.folder = self.store.path.parent / "arena"
        self.rater = rater or _login()
        self.seed = seed
        self.session = secrets.token_hex(4)
        self._journal = journal.Journal(self.folder / f"{self.session}{journal.SUFFIX}")
        self._lock = threading.Lock()
        self._merging = threading.Lock()
        self._sequence = 0
        self._merged = 0
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def save_vote(
        self,
        query_image: str | Path,
        baseline_method: str,
        challenger_method: str,
        user_choice: str,
        *,
        baseline_is_row_a: bool,
        **details: Any,
    ) -> str:
        """Record one vote (A, B, tie, bad or skip) and return its event id.

        ``details`` are further fields of ``Vote``. Raises ``UsageError`` for another choice,
        ``DataError`` when the journal cannot be written.
        """
        choice = _CHOICES.get(user_choice.lower())
        if choice is None:
            raise UsageError(
                f"no vote named {user_choice!r}", hint=f"one of {', '.join(_CHOICES.values())}"
            )
        with self._lock:
            event, sequence = self._next_event()
            vote = Vote(
                event=event,
                session=self.session,
                sequence=sequence,
                voted_at=datetime.now(UTC),
                rater=self.rater,
                query=str(query_image),
                baseline=baseline_method,
                challenger=challenger_method,
                choice=choice,
                baseline_is_row_a=baseline_is_row_a,
                seed=self.seed,
                **details,
            )
            self._journal.append(vote)
        self._merge_soon()
        return event

    def undo_vote(self, event: str) -> None:
        """Take one vote back; both stay on record."""
        with self._lock:
            own, _ = self._next_event()
            self._journal.append(Undo(event=own, undoes=event, undone_at=datetime.now(UTC)))
        self._merge_soon()

    def compute_statistics(self) -> ArenaStatistics:
        """Return the statistics of every standing vote of this project, all sessions together."""
        from furnclip.arena.statistics import summarise

        return summarise(self.votes())

    def print_statistics(self, file: TextIO | None = None) -> None:
        """Print a summary with its meaning in one sentence a pair of models."""
        from furnclip.arena.report import report

        (file or sys.stdout).write(report(self.compute_statistics()) + "\n")

    def votes(self) -> list[Vote]:
        """Merge every journal and return the standing votes, oldest first."""
        with self._merging:
            done, standing = table.merged_and_standing(self.store)
            if not self._merge_all(done):
                return standing
        return table.standing_votes(self.store)

    def merge(self) -> None:
        """Merge what the state file lacks of any journal in the folder, also crashed sessions'."""
        with self._merging:
            self._merge_all(table.merged_bytes(self.store))

    def _merge_all(self, done: Mapping[str, int]) -> bool:
        """Merge every journal from where it is ``done``; tell whether there was anything."""
        starts = {path: done.get(path.name, 0) for path in journal.journals(self.folder)}
        ends = {path: self._merge_file(path, start) for path, start in starts.items()}
        return ends != starts

    def close(self) -> None:
        """Stop the thread and merge what is left; what a busy file refuses stays in the journal."""
        self._closed.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        self._journal.close()

    def _next_event(self) -> tuple[str, int]:
        self._sequence += 1
        return f"{self.session}-{self._sequence:06d}", self._sequence

    def _merge_soon(self) -> None:
        with self._lock:
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(
                    target=self._merge_until_closed, name="arena-merge", daemon=True
                )
                self._thread.start()
        self._wake.set()

    def _merge_until_closed(self) -> None:
        while not self._closed.is_set():
            self._wake.wait()
            self._closed.wait(_REST_SECONDS)
            self._wake.clear()
            if not self._merge_own():
                self._closed.wait(_RETRY_SECONDS)
                self._wake.set()
        if not self._merge_own():
            _LOG.warning(
                "the state file was busy; the votes of this session are safe in %s and join it "
                "with the next arena command",
                self._journal.path,
            )

    def _merge_own(self) -> bool:
        try:
            with self._merging:
                self._merged = self._merge_file(self._journal.path, self._merged)
        except StateError as error:
            _LOG.info("votes not merged yet: %s", error)
            return False
        return True

    def _merge_file(self, path: Path, start: int) -> int:
        if not path.exists() or path.stat().st_size <= start:
            return start
        votes, undos, end = journal.read(path, start)
        if end > start:
            table.merge(self.store, path.name, votes=votes, undos=undos, read_to=end)
        return end


def _default_store() -> StateStore:
    from furnclip.config import load_settings
    from furnclip.state import StateStore

    return StateStore(load_settings().paths.state_file)


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid {os.getuid()}"
