"""Submitting parts so that no crash and no lost answer can pay twice.

1. The part's file is written and hashed (``prepare``): state ``ready``.
2. ``uploading``: the file goes up under a name that carries its hash; ``uploaded`` keeps its id.
3. ``creating``: an attempt is recorded *before* the one call that creates the batch, and travels
   in the batch's metadata.
4. When the outcome is unknown (crash, timeout, server error), the batches since the intent are
   listed: found → adopted; absent in two listings ``grace_seconds`` apart → created again.
"""

import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from furnclip.cleaning.backends import (
    Backend,
    CapacityError,
    NotFoundError,
    RemoteBatch,
    UnknownOutcomeError,
    UnreachableError,
    queue_limit,
)
from furnclip.errors import DataError, RemoteError, UsageError
from furnclip.state import StateStore
from furnclip.state.cleaning import PartRow
from furnclip.state.cleaning_attempts import (
    AttemptRow,
    begin_attempt,
    end_attempt,
    open_attempt,
    refusals,
)
from furnclip.state.cleaning_parts import (
    BatchRow,
    enqueued_tokens,
    forget_file,
    get_part,
    list_batches,
    parts_of_run,
    record_batch,
    set_part,
)

_LOG = logging.getLogger(__name__)

UNSUBMITTED = ("ready", "uploading", "uploaded", "creating", "waiting")
_CLOCK_SKEW = timedelta(hours=25)
"""How far back batches are listed: a clock in the wrong time zone must not hide one."""
_QUEUE_SHARE = 0.8
"""Of the provider's queue, for our count of tokens is an estimate."""
_FRESH_FILE_TRIES = 5


@dataclass(frozen=True)
class Submission:
    """How to submit.

    ``grace_seconds`` lie between the two listings that prove a batch absent;
    ``window`` is the number of prompt tokens the provider takes at once, None until it is known.
    ``max_usd`` is what the whole run may cost.
    """

    grace_seconds: float = 60.0
    window: int | None = None
    max_usd: float | None = None
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class SubmitResult:
    """Batches made or adopted now, and parts that wait for room."""

    batches: tuple[str, ...]
    waiting: int
    est_usd: float | None


def submit_run(
    store: StateStore, backend: Backend, run: str, submission: Submission
) -> SubmitResult:
    """Submit every part of a run that is not submitted, as far as the window allows.

    Raises ``UsageError`` when the estimate is above ``max_usd`` and ``RemoteError`` when the
    server refuses; the parts then keep what they reached.
    """
    parts = parts_of_run(store, run, UNSUBMITTED)
    expected = estimate(parts)
    if parts and submission.max_usd is not None and parts[0].backend == "openai":
        _check_budget(expected, spent(list_batches(store, run=run)), submission.max_usd)
    window = queue_window(store, parts[0].model, submission.window) if parts else None
    made: list[str] = []
    for index, part in enumerate(parts):
        if not _has_room(store, part, window):
            if part.state != "waiting":
                set_part(store, part.part, "waiting")
            return SubmitResult(tuple(made), len(parts) - index, expected)
        try:
            made.append(submit_part(store, backend, part.part, submission))
        except CapacityError as error:
            _LOG.warning("%s", error)
            return SubmitResult(tuple(made), len(parts) - index, expected)
    return SubmitResult(tuple(made), 0, expected)


def submit_part(store: StateStore, backend: Backend, name: str, submission: Submission) -> str:
    """Bring one part to a batch and return the batch's id, from wherever it was left."""
    attempt = open_attempt(store, name)
    part = get_part(store, name)
    if attempt is not None:
        found = _reconcile(store, backend, part, attempt, submission)
        if found is not None:
            return found
    for round_ in range(_FRESH_FILE_TRIES):
        part = _uploaded(store, backend, get_part(store, name))
        try:
            return _create(store, backend, part, submission)
        except NotFoundError as error:
            # A file that was just uploaded can be unknown for a moment; the id stays good.
            if round_ == _FRESH_FILE_TRIES - 1:
                forget_file(store, name)
                raise
            _LOG.info("%s; trying the same file again", error)
            submission.sleep(2.0**round_)
    raise AssertionError("unreachable")


def estimate(parts: Sequence[PartRow]) -> float | None:
    """Add up the parts' estimates in dollars; None when a price is unknown."""
    known = [part.usd for part in parts if part.usd is not None]
    return sum(known) if len(known) == len(parts) else None


def spent(batches: Sequence[BatchRow]) -> float:
    """Add up what batches cost in dollars, or are estimated at until they are read."""
    return sum((b.usd if b.harvested else b.est_usd) or 0.0 for b in batches)


def queue_window(store: StateStore, model: str, given: int | None) -> int | None:
    """Return the prompt tokens to keep in the queue: as given, else as the provider last said."""
    if given is not None:
        return given
    for reason in refusals(store, model):
        limit = queue_limit(reason)
        if limit is not None:
            return int(limit * _QUEUE_SHARE)
    return None


def _check_budget(expected: float | None, before: float, most: float) -> None:
    if expected is None:
        raise UsageError(
            f"the model's price is not known, so nothing can be kept under ${most:.2f}",
            hint="leave --max-usd (cleaning.max_usd) out, or choose a model with known prices",
        )
    if before + expected > most:
        already = f" after ${before:.2f} for what was sent already" if before else ""
        raise UsageError(
            f"submitting is estimated at ${expected:.2f}{already}, over the limit of ${most:.2f}",
            hint="raise --max-usd, or prepare fewer rows with --limit",
        )


def _has_room(store: StateStore, part: PartRow, window: int | None) -> bool:
    """Say whether the part fits into the queue; an empty queue takes any.

    A part the provider had no room for waits until something of ours has left the queue.
    """
    if part.state == "creating" or (window is None and part.state != "waiting"):
        return True
    enqueued = enqueued_tokens(store, part.model)
    return enqueued == 0 or (window is not None and enqueued + part.input_tokens <= window)


def _uploaded(store: StateStore, backend: Backend, part: PartRow) -> PartRow:
    if part.file_id is not None:
        return part
    if not part.path.is_file() or part.path.stat().st_size != part.bytes:
        raise DataError(
            f"the request file {part.path} is missing or was changed",
            hint="restore it, or run `furnclip clean prepare` again",
        )
    name = f"furnclip-{part.run}-{part.number:03d}-{part.sha256[:12]}.jsonl"
    file_id = backend.find_file(name, part.bytes) if part.state == "uploading" else None
    if file_id is None:
        set_part(store, part.part, "uploading")
        file_id = backend.upload(part.path, name)
    set_part(store, part.part, "uploaded", file_id=file_id)
    return get_part(store, part.part)


def _create(store: StateStore, backend: Backend, part: PartRow, submission: Submission) -> str:
    attempt = secrets.token_hex(8)
    begin_attempt(store, part.part, attempt)
    metadata = {
        "furnclip_run": part.run,
        "part": str(part.number),
        "attempt": attempt,
        "sha": part.sha256[:32],
    }
    try:
        batch = backend.create(str(part.file_id), metadata)
    except UnknownOutcomeError as error:
        _LOG.warning("%s; looking whether the batch was made", error)
        intent = open_attempt(store, part.part)
        assert intent is not None  # noqa: S101  begun above, under the clean lock
        found = _reconcile(store, backend, part, intent, submission)
        return found if found is not None else _create(store, backend, part, submission)
    except UnreachableError as error:
        end_attempt(store, attempt, "refused", part_state="uploaded", detail=str(error))
        raise
    except CapacityError as error:
        end_attempt(store, attempt, "refused", part_state="waiting", detail=str(error))
        raise
    except RemoteError as error:
        end_attempt(store, attempt, "refused", part_state="uploaded", detail=str(error))
        raise
    return _record(store, backend, part, attempt, batch)


def _reconcile(
    store: StateStore,
    backend: Backend,
    part: PartRow,
    attempt: AttemptRow,
    submission: Submission,
) -> str | None:
    """Find the batch of an attempt with unknown outcome, or prove that there is none."""
    taken = {batch.batch_id for batch in list_batches(store)}
    for listing in range(2):
        since = attempt.started_at - _CLOCK_SKEW
        batches = [b for b in backend.recent(since) if b.batch_id not in taken]
        batch = _match(batches, part, attempt.attempt)
        if batch is not None:
            _LOG.info("adopting batch %s for part %s", batch.batch_id, part.part)
            return _record(store, backend, part, attempt.attempt, batch)
        _refuse_to_guess(batches, part)
        if listing == 0:
            submission.sleep(submission.grace_seconds)
    end_attempt(store, attempt.attempt, "absent", part_state="uploaded")
    return None


def _match(batches: Sequence[RemoteBatch], part: PartRow, attempt: str) -> RemoteBatch | None:
    by_metadata = [b for b in batches if b.metadata and b.metadata.get("attempt") == attempt]
    by_file = [
        b for b in batches if not b.metadata and part.file_id and b.input_file_id == part.file_id
    ]
    return next(iter(by_metadata or by_file), None)


def _refuse_to_guess(batches: Sequence[RemoteBatch], part: PartRow) -> None:
    unclear = [b.batch_id for b in batches if not b.metadata and b.input_file_id is None]
    if unclear:
        raise RemoteError(
            f"cannot tell whether part {part.part} was submitted: the server shows neither "
            f"metadata nor input files, and lists {', '.join(unclear[:3])} since then",
            hint="look at those batches at the provider before submitting again",
        )


def _record(
    store: StateStore, backend: Backend, part: PartRow, attempt: str, batch: RemoteBatch
) -> str:
    record_batch(
        store,
        part,
        attempt,
        batch_id=batch.batch_id,
        status=batch.status,
        base_url=backend.base_url,
        key_fingerprint=backend.key_fingerprint,
    )
    return batch.batch_id
