"""Following batches: refresh, harvest what is finished, send again what is left."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from furnclip.cleaning.backends import (
    TERMINAL,
    Backend,
    CapacityError,
    NotFoundError,
    RemoteBatch,
    UnknownOutcomeError,
    UnreachableError,
)
from furnclip.cleaning.harvest import harvest
from furnclip.cleaning.locking import exclusive
from furnclip.cleaning.parts import PartLimits, PartWriter, again, read_lines
from furnclip.cleaning.profiles import model_profile
from furnclip.cleaning.submit import UNSUBMITTED, Submission, SubmitResult, submit_run
from furnclip.config import CleaningSettings
from furnclip.errors import Interrupted, RemoteError
from furnclip.progress import SILENT, Progress
from furnclip.state import StateStore
from furnclip.state.cleaning import RequestRow, RunCounts, RunRow, next_part_number, run_counts
from furnclip.state.cleaning_parts import (
    BatchRow,
    assign_requeued,
    list_batches,
    parts_of_run,
    requeued_lines,
    set_part,
    update_batch,
)

_LOG = logging.getLogger(__name__)

_POLLS_AT_ONCE = 8
_MOST_TROUBLES = 10
"""Polls in a row that may fail before waiting is given up."""
BackendOf = Callable[[BatchRow], Backend]


@dataclass(frozen=True)
class WaitResult:
    """``finished`` is False when the time ran out first."""

    run: str
    finished: bool
    counts: RunCounts
    batches: tuple[BatchRow, ...]


def refresh(
    store: StateStore, batches: list[BatchRow], backend_of: BackendOf
) -> list[tuple[BatchRow, RemoteBatch]]:
    """Ask for the batches that are not harvested and store what the server says.

    A batch the server does not know (other key, other project) is ``orphaned`` and left alone.
    """
    live = [batch for batch in batches if not batch.harvested and batch.status != "orphaned"]

    def ask(batch: BatchRow) -> tuple[BatchRow, RemoteBatch | None]:
        try:
            return batch, backend_of(batch).retrieve(batch.batch_id)
        except NotFoundError:
            return batch, None

    with ThreadPoolExecutor(_POLLS_AT_ONCE) as pool:
        answers = list(pool.map(ask, live))
    seen = []
    for batch, remote in answers:
        if remote is None:
            _LOG.warning("the server does not know batch %s with this key", batch.batch_id)
            update_batch(store, batch.batch_id, {"status": "orphaned"})
            set_part(store, batch.part, "orphaned", error="the server does not know the batch")
            continue
        update_batch(store, batch.batch_id, _columns(remote))
        seen.append((batch, remote))
    return seen


def collect(
    store: StateStore,
    run: RunRow,
    backend_of: BackendOf,
    settings: CleaningSettings,
    *,
    progress: Progress = SILENT,
) -> None:
    """Drive local batches, refresh the run's batches and harvest those that are finished."""
    with exclusive(store, "collect answers"):
        batches = list_batches(store, run=run.run)
        for batch in batches:
            if not batch.harvested and batch.status not in TERMINAL:
                backend_of(batch).drive(batch.batch_id, progress)
        for batch, remote in refresh(store, batches, backend_of):
            if is_ready(remote):
                harvest(
                    store,
                    backend_of(batch),
                    batch,
                    remote,
                    folder=run.folder,
                    max_attempts=settings.max_attempts,
                )


def is_ready(remote: RemoteBatch) -> bool:
    """Say whether a batch can be harvested: terminal, and not still missing its output file.

    Servers report ``completed`` a while before ``output_file_id`` appears.
    """
    if remote.status not in TERMINAL:
        return False
    lagging = remote.status == "completed" and remote.completed > 0 and not remote.output_file_id
    return not lagging


def send(
    store: StateStore,
    run: RunRow,
    backend: Backend,
    settings: CleaningSettings,
    submission: Submission,
) -> SubmitResult:
    """Put requeued requests into new parts and submit everything unsubmitted."""
    with exclusive(store, "submit"):
        _rebuild(store, run, settings)
        return submit_run(store, backend, run.run, submission)


def wait_for_run(
    store: StateStore,
    run: RunRow,
    backend: Backend,
    *,
    backend_of: BackendOf,
    settings: CleaningSettings,
    submission: Submission,
    timeout: float | None = None,
    progress: Progress = SILENT,
    clock: Callable[[], float] = time.monotonic,
) -> WaitResult:
    """Poll until every row is answered or given up, resubmitting what is left.

    Transient server trouble is waited out; a refused key or request is raised.
    """
    end = None if timeout is None else clock() + timeout
    troubles = 0
    try:
        while True:
            try:
                collect(store, run, backend_of, settings, progress=progress)
                send(store, run, backend, settings, submission)
                troubles = 0
            except (UnknownOutcomeError, UnreachableError, CapacityError) as error:
                troubles += 1
                if troubles == _MOST_TROUBLES:
                    raise
                _LOG.warning("%s; trying again", error)
            counts = run_counts(store, run.run)
            batches = tuple(list_batches(store, run=run.run))
            stuck = not troubles and all(b.harvested or b.status == "orphaned" for b in batches)
            waiting_room = bool(counts.pending) and _unsent(store, run)
            if counts.pending == 0 or (stuck and not waiting_room):
                finished = counts.pending == 0
                return WaitResult(run.run, finished, counts, batches)
            if end is not None and clock() >= end:
                return WaitResult(run.run, finished=False, counts=counts, batches=batches)
            if troubles or not _local(batches):
                submission.sleep(settings.poll_seconds)
    except KeyboardInterrupt:
        raise Interrupted(
            "stopped waiting; the batches go on at the server and every answer so far is kept",
            hint="go on with: furnclip clean wait",
        ) from None


def _unsent(store: StateStore, run: RunRow) -> bool:
    return bool(parts_of_run(store, run.run, UNSUBMITTED))


def _local(batches: tuple[BatchRow, ...]) -> bool:
    live = [batch for batch in batches if not batch.harvested]
    return bool(live) and all(batch.backend != "openai" for batch in live)


def _rebuild(store: StateStore, run: RunRow, settings: CleaningSettings) -> None:
    """Write requeued requests into new parts, taking their lines from the earlier files."""
    places = requeued_lines(store, run.run)
    if not places:
        return
    requests = read_lines([(path, line.byte_offset, line.byte_length) for path, line, *_ in places])
    limits = PartLimits(
        settings.max_requests_per_part, settings.max_part_bytes, settings.max_enqueued_tokens
    )
    number = next_part_number(store, run.run)
    profile = model_profile(run.model, backend=run.backend)
    writer = PartWriter(run.folder, run.run, profile, run.backend, limits, number)
    with writer:
        for (_, line, factor, tokens_in, tokens_out), request in zip(places, requests, strict=True):
            row = RequestRow(
                line.request_key, request["custom_id"], run.model, tokens_in, tokens_out
            )
            cap = settings.max_completion_tokens
            writer.add(row, again(request, token_factor=factor, base_cap=cap))
    for part, lines in writer.finished:
        if not assign_requeued(store, part, lines):
            raise RemoteError(
                f"another command took requests of part {part.part}", hint="run it again"
            )


def _columns(remote: RemoteBatch) -> dict[str, object]:
    errors = [{"code": e.code, "message": e.message, "line": e.line} for e in remote.errors]
    columns: dict[str, object] = {
        "status": remote.status,
        "output_file_id": remote.output_file_id,
        "error_file_id": remote.error_file_id,
        "completed": remote.completed,
        "failed": remote.failed,
        "errors": errors or None,
    }
    return columns | ({"total": remote.total} if remote.total else {})
