"""The verbs of ``furnclip clean`` on one state file, for the command line and for scripts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from furnclip.cleaning.batch_names import named_batches
from furnclip.cleaning.profiles import model_profile
from furnclip.errors import ConfigError, DataError, Interrupted, UsageError
from furnclip.progress import SILENT, Progress
from furnclip.state.cleaning import RunCounts, RunRow, find_run, latest_run, list_runs, run_counts
from furnclip.state.cleaning_parts import BatchRow, list_batches, parts_of_run, update_batches
from furnclip.state.cleaning_results import requeue_failed, requeued_tokens

if TYPE_CHECKING:
    from furnclip.cleaning.backends import Backend, RemoteBatch
    from furnclip.cleaning.finalize import FinalizeResult
    from furnclip.cleaning.poll import WaitResult
    from furnclip.cleaning.prepare import PrepareResult
    from furnclip.cleaning.submit import Submission
    from furnclip.config import CleaningSettings
    from furnclip.state import StateStore

_LOG = logging.getLogger(__name__)
_QUICK_SECONDS = 4.0
"""``status`` answers within five seconds, with what is stored when the server is slower."""


@dataclass(frozen=True)
class UploadResult:
    """``batches`` of the run after submitting; ``waiting`` parts found no room yet."""

    run: str
    submitted: tuple[str, ...]
    waiting: int
    est_usd: float | None
    counts: RunCounts
    batches: tuple[BatchRow, ...]


@dataclass(frozen=True)
class StatusResult:
    """``stale`` says why the server was not asked, when it was not."""

    batches: tuple[BatchRow, ...]
    stale: str | None = None


@contextmanager
def _stoppable(kept: str, go_on: str) -> Iterator[None]:
    """Turn Ctrl-C into a message that says what is kept and the command that goes on."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; {kept}", hint=f"go on with: {go_on}") from None


@dataclass(frozen=True)
class Cleaner:
    """Cleans catalogues on one state file.

    ``sleep`` is what waiting uses. Every run remembers its CSV, images and backend, so only
    ``prepare`` is told about them.
    """

    store: StateStore
    settings: CleaningSettings
    batches_dir: Path
    api_key: str | None = None
    sleep: Callable[[float], None] | None = None

    def prepare(
        self,
        csv: Path,
        image_root: Path,
        *,
        limit: int | None = None,
        dry_run: bool = False,
        incremental: bool = True,
        folder: Path | None = None,
        progress: Progress = SILENT,
    ) -> PrepareResult:
        """Turn a CSV and its photos into request parts."""
        from furnclip.cleaning.prepare import prepare

        with _stoppable("nothing was recorded", "run the same command again"):
            return prepare(
                self.store,
                csv,
                image_root,
                settings=self.settings,
                batches_dir=self.batches_dir,
                limit=limit,
                dry_run=dry_run,
                incremental=incremental,
                folder=folder,
                progress=progress,
            )

    def estimate(self, run: RunRow) -> float | None:
        """Return what submitting the rest of a run is estimated at, in dollars."""
        from furnclip.cleaning.submit import UNSUBMITTED, estimate

        again = requeued_tokens(self.store, run.run)
        profile = model_profile(run.model, backend=run.backend)
        retries = profile.usd(*again, batch=run.backend == "openai") if any(again) else 0.0
        rest = estimate(parts_of_run(self.store, run.run, UNSUBMITTED))
        return None if rest is None or retries is None else rest + retries

    def upload(self, run: RunRow, *, progress: Progress = SILENT) -> UploadResult:
        """Submit what is not submitted; local backends also answer it now."""
        from furnclip.cleaning.poll import collect, send

        backend = self.backend(run.backend, self.settings.base_url or run.base_url)
        if run.backend == "openai":
            self._check_model(run, backend)
        with _stoppable("what was sent and answered is kept", "furnclip clean upload"):
            sent = send(self.store, run, backend, self.settings, self.submission())
            if run.backend != "openai":
                collect(self.store, run, self.backend_of(), self.settings, progress=progress)
        return UploadResult(
            run=run.run,
            submitted=sent.batches,
            waiting=sent.waiting,
            est_usd=sent.est_usd,
            counts=run_counts(self.store, run.run),
            batches=tuple(list_batches(self.store, run=run.run)),
        )

    def is_uploaded(self, run: RunRow) -> bool:
        """Say whether anything of a run was submitted, or nothing is left to submit."""
        return bool(list_batches(self.store, run=run.run)) or not self.counts(run).pending

    def counts(self, run: RunRow) -> RunCounts:
        """Count the rows of a run by what became of them."""
        return run_counts(self.store, run.run)

    def wait(
        self,
        run: RunRow,
        *,
        timeout: float | None = None,
        progress: Progress = SILENT,
        look: Callable[[WaitResult], None] = lambda _: None,
    ) -> WaitResult:
        """Poll, harvest and resubmit until every row is answered or given up.

        ``look`` sees where things stand after each poll.
        """
        from furnclip.cleaning.poll import wait_for_run

        backend = self.backend(run.backend, self.settings.base_url or run.base_url)
        return wait_for_run(
            self.store, run, backend, backend_of=self.backend_of(),
            settings=self.settings, submission=self.submission(),
            timeout=timeout, progress=progress, look=look,
        )  # fmt: skip

    def collect(self, run: RunRow, *, progress: Progress = SILENT) -> None:
        """Fetch what is finished, once; asks the server only when something is outstanding."""
        from furnclip.cleaning.poll import collect

        if any(not batch.harvested for batch in list_batches(self.store, run=run.run)):
            collect(self.store, run, self.backend_of(), self.settings, progress=progress)

    def finalize(self, run: RunRow, output: Path, *, allow_partial: bool = False) -> FinalizeResult:
        """Fetch what is finished and write the cleaned CSV."""
        from furnclip.cleaning.finalize import finalize

        self.collect(run)
        return finalize(self.store, run, output, allow_partial=allow_partial)

    def import_output(self, run: RunRow, path: Path) -> int:
        """Take the answers of a file made elsewhere; returns how many it answered."""
        from furnclip.cleaning.outside import import_outside

        return import_outside(self.store, run, path, max_attempts=self.settings.max_attempts)

    def status(self, name: str | None = None, *, ask: bool = True) -> StatusResult:
        """Return all batches, one, or a run's, after asking the server when it answers soon."""
        batch_id = run = None
        if name is not None and len(runs := find_run(self.store, name)) == 1:
            run = runs[0].run
        elif name is not None:
            if not (named := named_batches(self.store, name)):
                return StatusResult((self._foreign(name),))
            batch_id = named[0].batch_id
        batches = list_batches(self.store, run=run, batch_id=batch_id)
        if not ask or all(batch.harvested for batch in batches):
            return StatusResult(tuple(batches))
        from furnclip.cleaning.poll import refresh

        try:
            _, trouble = refresh(self.store, batches, self.backend_of(quick=True))
            stale = trouble.message if trouble else None
        except ConfigError as error:
            stale = error.message
        return StatusResult(tuple(list_batches(self.store, run=run, batch_id=batch_id)), stale)

    def cancel(self, batch_id: str) -> RemoteBatch:
        """Ask for a batch to stop, unless it has; what is finished can be finalized."""
        from furnclip.cleaning.backends import RemoteBatch

        known = named_batches(self.store, batch_id)
        if not known:
            raise DataError(
                f"the state file knows no batch {batch_id}",
                hint="`furnclip clean status` lists the batches",
            )
        if known[0].harvested:
            return RemoteBatch(known[0].batch_id, known[0].status, None, known[0].submitted_at)
        remote = self.backend_of()(known[0]).cancel(known[0].batch_id)
        update_batches(self.store, [(known[0].batch_id, {"status": remote.status})])
        return remote

    def retry(self, run: RunRow) -> int:
        """Give the failed rows of a run new attempts; ``upload`` or ``wait`` sends them."""
        from furnclip.cleaning.locking import exclusive

        with exclusive(self.store, "retry"):
            return requeue_failed(self.store, run.run)

    def run(self, name: str | None = None) -> RunRow:
        """Return the run whose id begins with ``name``, or the one prepared last."""
        if name is None:
            latest = latest_run(self.store)
            if latest is None:
                raise DataError(
                    "nothing is prepared yet", hint="furnclip clean prepare CSV --images DIR"
                )
            return latest
        found = find_run(self.store, name)
        if len(found) != 1:
            problem = "no run" if not found else f"{len(found)} runs"
            raise UsageError(f"{problem} named {name}", hint="`furnclip clean list` shows the runs")
        return found[0]

    def runs(self) -> list[tuple[RunRow, RunCounts]]:
        """Return every run with what became of its rows."""
        return [(run, run_counts(self.store, run.run)) for run in list_runs(self.store)]

    def backend(self, name: str, base_url: str | None = None, *, quick: bool = False) -> Backend:
        """Return the backend called ``name``; openai needs the key (``ConfigError``)."""
        folder = self.batches_dir / "local"
        if name == "rules":
            from furnclip.cleaning.local_batches import rules_backend

            return rules_backend(folder)
        if name == "endpoint":
            from furnclip.cleaning.endpoint import endpoint_backend

            return endpoint_backend(
                folder, base_url=base_url, api_key=self.api_key,
                concurrency=self.settings.concurrency,
            )  # fmt: skip
        from furnclip.cleaning.api_client import BatchAPIClient, no_key

        if self.api_key is None:
            raise no_key()
        base_url = base_url or self.settings.base_url
        if quick:
            return BatchAPIClient(self.api_key, base_url, timeout=_QUICK_SECONDS, max_retries=0)
        return BatchAPIClient(self.api_key, base_url)

    def backend_of(self, *, quick: bool = False) -> Callable[[BatchRow], Backend]:
        """Return a function from a batch to the backend it lives at, one client per server."""

        @cache
        def made(name: str, base_url: str | None) -> Backend:
            return self.backend(name, base_url, quick=quick)

        return lambda batch: made(batch.backend, batch.base_url)

    def _foreign(self, batch_id: str) -> BatchRow:
        """Ask the server about a batch that is not ours."""
        try:
            remote = self.backend("openai", self.settings.base_url).retrieve(batch_id)
        except ConfigError as error:
            raise ConfigError(
                f"batch {batch_id} is not in the state file; to ask the server: {error.message}",
                hint=error.hint,
            ) from error
        now = datetime.now(UTC)
        return BatchRow(
            batch_id=batch_id,
            part="",
            run="",
            backend="openai",
            base_url=self.settings.base_url,
            model="",
            status=remote.status,
            input_file_id=remote.input_file_id,
            output_file_id=remote.output_file_id,
            error_file_id=remote.error_file_id,
            total=remote.total,
            completed=remote.completed,
            failed=remote.failed,
            errors=None,
            est_usd=None,
            input_tokens=None,
            cached_tokens=None,
            output_tokens=None,
            usd=None,
            harvested=False,
            submitted_at=remote.created_at or now,
            updated_at=now,
            key_fingerprint=None,
        )

    def submission(self) -> Submission:
        """Return how parts are submitted under these settings."""
        from furnclip.cleaning.submit import Submission

        plain = Submission(
            grace_seconds=self.settings.reconcile_seconds,
            window=self.settings.max_enqueued_tokens,
            max_usd=self.settings.max_usd,
        )
        return plain if self.sleep is None else replace(plain, sleep=self.sleep)

    def _check_model(self, run: RunRow, backend: Backend) -> None:
        """Warn of, or refuse, a model that is switched off soon; the server's date counts most."""
        from furnclip.cleaning.api_client import BatchAPIClient

        announced = (
            backend.shutdown_date(run.model) if isinstance(backend, BatchAPIClient) else None
        )
        today = datetime.now(UTC).date()
        warning = model_profile(run.model).shutdown_warning(today, announced=announced)
        if warning:
            _LOG.warning("%s", warning)
