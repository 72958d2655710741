"""Following batches: refresh, harvest what is finished, send again what is left."""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

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
from furnclip.cleaning.submit import (
    UNSUBMITTED,
    Submission,
    SubmitResult,
    queue_window,
    submit_run,
)
from furnclip.config import CleaningSettings
from furnclip.errors import Interrupted, RemoteError, StateLockedError
from furnclip.progress import SILENT, Progress
from furnclip.state import StateStore
from furnclip.state.cleaning import (
    PartRow,
    RequestRow,
    RunCounts,
    RunRow,
    next_part_number,
    run_counts,
)
from furnclip.state.cleaning_attempts import times_refused
from furnclip.state.cleaning_parts import (
    BatchRow,
    assign_requeued,
    enqueued_tokens,
    list_batches,
    parts_of_run,
    requeued_lines,
    set_part,
    split_parts,
    stale_parts,
    update_batches,
)

_LOG = logging.getLogger(__name__)

_POLLS_AT_ONCE = 64
_MOST_REFUSALS = 5
_LAG = timedelta(hours=1)
_IDLE_LOOKS = 3
"""Looks in a row with rows pending and nothing under way before waiting is given up."""
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
    store: StateStore, batches: Sequence[BatchRow], backend_of: BackendOf
) -> tuple[list[tuple[BatchRow, RemoteBatch]], RemoteError | None]:
    """Ask for the batches that are not harvested and store what the server says.

    Returns what was answered, and the first error: one server's trouble does not hide the others.
    A batch the server does not know (other key, other project) is ``orphaned``: never sent again
    by itself, but asked for each time, since the right key brings it back.
    """

    def ask(batch: BatchRow) -> RemoteBatch | RemoteError:
        try:
            return backend_of(batch).retrieve(batch.batch_id)
        except RemoteError as error:
            return error

    live = [batch for batch in batches if not batch.harvested]
    updates: list[tuple[str, dict[str, object]]] = []
    with ThreadPoolExecutor(_POLLS_AT_ONCE) as pool:
        answers = list(pool.map(ask, live))
    seen = []
    trouble = None
    for batch, answer in zip(live, answers, strict=True):
        if isinstance(answer, NotFoundError):
            _orphan(store, batch, f"the server does not know batch {batch.batch_id}", backend_of)
        elif isinstance(answer, RemoteError):
            trouble = trouble or answer
        else:
            updates.append((batch.batch_id, _columns(answer)))
            seen.append((batch, answer))
    update_batches(store, updates)
    return seen, trouble


def collect(
    store: StateStore,
    run: RunRow,
    backend_of: BackendOf,
    settings: CleaningSettings,
    *,
    progress: Progress = SILENT,
) -> None:
    """Drive local batches, refresh the run's batches and harvest those that are finished.

    Raises the first ``RemoteError`` after everything that could be read was read.
    """
    with exclusive(store, "collect answers"):
        batches = list_batches(store, run=run.run)
        if parts_of_run(store, run.run, ("waiting",)):
            # What is in the way may be another run's, finished but not yet read.
            mine = {batch.batch_id for batch in batches}
            others = [b for b in list_batches(store) if b.batch_id not in mine]
            batches += [b for b in others if b.backend == run.backend and not b.harvested]
        for batch in batches:
            if not batch.harvested and batch.status not in {*TERMINAL, "orphaned"}:
                backend_of(batch).drive(batch.batch_id, progress)
        seen, trouble = refresh(store, batches, backend_of)
        for batch, remote in seen:
            if batch.status == "orphaned":
                set_part(store, batch.part, "submitted")
            if not is_ready(remote):
                continue
            try:
                harvest(
                    store, backend_of(batch), batch, remote,
                    folder=run.folder, max_attempts=settings.max_attempts,
                )  # fmt: skip
            except NotFoundError:
                reason = f"the results of {batch.batch_id} are gone; servers keep them a month"
                _orphan(store, batch, reason, backend_of)
            except RemoteError as error:
                trouble = trouble or error
    if trouble is not None:
        raise trouble


def _orphan(store: StateStore, batch: BatchRow, reason: str, backend_of: BackendOf) -> None:
    """Leave a batch alone whose answers cannot be had; said once."""
    key = backend_of(batch).key_fingerprint
    if batch.key_fingerprint and key != batch.key_fingerprint:
        reason += "; it was made with another API key"
    if batch.status != "orphaned":
        _LOG.warning("%s", reason)
    update_batches(store, [(batch.batch_id, {"status": "orphaned"})])
    set_part(store, batch.part, "orphaned", error=reason)


def is_ready(remote: RemoteBatch) -> bool:
    """Say whether a batch can be harvested: terminal, and not still missing its output file.

    Servers report the end a while before ``output_file_id`` appears; an hour after it, the counts
    are taken for a lie.
    """
    if remote.status not in TERMINAL:
        return False
    if remote.status == "failed" or not remote.completed or remote.output_file_id:
        return True
    return remote.ended_at is not None and datetime.now(UTC) - remote.ended_at > _LAG


def send(
    store: StateStore,
    run: RunRow,
    backend: Backend,
    settings: CleaningSettings,
    submission: Submission,
) -> SubmitResult:
    """Put requeued requests into new parts and submit everything unsubmitted."""
    with exclusive(store, "submit"):
        unsent = parts_of_run(store, run.run, UNSUBMITTED)
        window = _narrowed(store, unsent, queue_window(store, run.model, submission.window))
        _split(store, unsent, window)
        _rebuild(store, run, settings, window)
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
    look: Callable[[WaitResult], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> WaitResult:
    """Poll until every row is answered or given up, resubmitting what is left.

    ``look`` sees where things stand after each poll. Transient server trouble is waited out, and
    so is another clean command; a refused key or request is raised.
    """
    end = None if timeout is None else clock() + timeout
    troubles = idle = 0
    try:
        while True:
            try:
                collect(store, run, backend_of, settings, progress=progress)
                send(store, run, backend, settings, submission)
                troubles = 0
            except StateLockedError as error:
                _LOG.warning("%s; waiting for it", error)
            except (UnknownOutcomeError, UnreachableError, CapacityError) as error:
                troubles += 1
                if troubles == _MOST_TROUBLES:
                    raise
                _LOG.warning("%s; trying again", error)
            batches = tuple(list_batches(store, run=run.run))
            counts = run_counts(store, run.run)
            result = WaitResult(run.run, counts.pending == 0, counts, batches)
            look(result)
            idle = idle + 1 if not troubles and _is_idle(store, run, batches) else 0
            late = end is not None and clock() >= end
            if result.finished or idle == _IDLE_LOOKS or late:
                return result
            if troubles or not _local(batches):
                submission.sleep(settings.poll_seconds)
    except KeyboardInterrupt:
        raise Interrupted(
            "stopped waiting; the batches go on at the server and every answer so far is kept",
            hint="go on with: furnclip clean wait",
        ) from None


def _is_idle(store: StateStore, run: RunRow, batches: Sequence[BatchRow]) -> bool:
    """Say whether nothing is under way and nothing waits to be sent."""
    under_way = any(not b.harvested and b.status != "orphaned" for b in batches)
    return not under_way and not parts_of_run(store, run.run, UNSUBMITTED)


def _local(batches: tuple[BatchRow, ...]) -> bool:
    live = [batch for batch in batches if not batch.harvested]
    return bool(live) and all(batch.backend != "openai" for batch in live)


def _narrowed(store: StateStore, unsent: list[PartRow], window: int | None) -> int | None:
    """Halve what an empty queue refuses again: its count of tokens is not ours."""
    if not unsent or enqueued_tokens(store, unsent[0].model):
        return window
    halves = [
        part.input_tokens // 2
        for part in unsent
        if part.state == "waiting" and times_refused(store, part.part) >= _MOST_REFUSALS
    ]
    return min([*halves, *([window] if window else [])], default=None)


def _split(store: StateStore, unsent: list[PartRow], window: int | None) -> None:
    """Free the requests of parts that must not go as they are, to be put into other ones.

    Those are parts the queue could never take, and parts with a question answered elsewhere.
    """
    free = [part for part in unsent if part.state != "creating"]
    large = [
        part.part
        for part in free
        if window is not None and part.input_tokens > window and part.requests > 1
    ]
    stale = stale_parts(store, [part.part for part in free])
    if large or stale:
        _LOG.info("putting the requests of %d parts into new ones", len({*large, *stale}))
        split_parts(store, list({*large, *stale}))


def _rebuild(
    store: StateStore, run: RunRow, settings: CleaningSettings, window: int | None
) -> None:
    """Write requeued requests into new parts, taking their lines from the earlier files."""
    places = requeued_lines(store, run.run)
    if not places:
        return
    requests = read_lines((path, line.byte_offset, line.byte_length) for path, line, *_ in places)
    limits = PartLimits(settings.max_requests_per_part, settings.max_part_bytes, window)
    number = next_part_number(store, run)
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
