"""Reading a finished batch: every output line classified, every request accounted for."""

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

from furnclip.cleaning.backends import Backend, RemoteBatch
from furnclip.cleaning.profiles import model_profile
from furnclip.cleaning.reading import read_answers
from furnclip.errors import RemoteError
from furnclip.files import atomic_path
from furnclip.state import StateStore
from furnclip.state.cleaning_answers import Answer, import_answers, import_parquet
from furnclip.state.cleaning_attempts import refuse_part
from furnclip.state.cleaning_parts import BatchRow
from furnclip.state.cleaning_results import finish_batch, ids_on_lines, unseen_requests

_LOG = logging.getLogger(__name__)

_DOWNLOAD_TRIES = 3


def harvest(
    store: StateStore,
    backend: Backend,
    batch: BatchRow,
    remote: RemoteBatch,
    *,
    folder: Path,
    max_attempts: int,
) -> None:
    """Import everything a terminal batch left and say what becomes of the rest.

    Both files are downloaded, whatever the status; requests without a line are asked again.
    Safe to repeat after a crash. Raises ``RemoteError`` when a file cannot be downloaded whole.
    """
    if refusal := _queue_refusal(remote):
        refuse_part(store, batch.part, batch.batch_id, refusal)
        return
    for kind, file_id in (("output", remote.output_file_id), ("error", remote.error_file_id)):
        if file_id is not None:
            path = folder / f"{batch.batch_id}-{kind}.jsonl"
            _take(store, backend, batch.batch_id, file_id, path, max_attempts=max_attempts)
    rest = list(_rest(store, batch, remote))
    import_answers(store, batch.batch_id, rest, max_attempts=max_attempts)
    prices = model_profile(batch.model, backend=batch.backend).per_token(
        batch=batch.backend == "openai"
    )
    finish_batch(store, batch.batch_id, prices=prices)


def _rest(store: StateStore, batch: BatchRow, remote: RemoteBatch) -> Iterator[Answer]:
    """Yield an answer for every request the files say nothing about."""
    blamed = {error.line: error for error in remote.errors if error.line is not None}
    ids = ids_on_lines(store, batch.part, list(blamed)) if blamed else {}
    for line, error in blamed.items():
        if line in ids:
            yield Answer(ids[line], "quarantined", f"{error.code}: {error.message}")
    outcome = {"failed": "not_run", "cancelled": "cancelled", "expired": "expired"}.get(
        remote.status, "missing"
    )
    reason = remote.errors[0].message if remote.errors else f"batch {remote.status}, no line"
    if remote.status == "failed" and not ids:
        outcome = "http_error"
    for identity in unseen_requests(store, batch.batch_id, batch.part):
        if identity not in ids.values():
            yield Answer(identity, outcome, reason)


def _queue_refusal(remote: RemoteBatch) -> str | None:
    """Return why the provider's queue had no room for the batch, None when that is not what failed.

    Such a batch failed before any work was done.
    """
    if remote.status != "failed":
        return None
    full = [e.message for e in remote.errors if e.code == "token_limit_exceeded"]
    return full[0] or "token_limit_exceeded" if full else None


def _take(
    store: StateStore,
    backend: Backend,
    batch_id: str,
    file_id: str,
    path: Path,
    *,
    max_attempts: int,
) -> None:
    """Download a file whole and import it: every line must be JSON, else it is fetched again.

    A file that arrives twice with the same damage is damaged at the server: its good lines are
    used, and the requests of the others are asked again as missing.
    """
    previous = None
    for attempt in range(_DOWNLOAD_TRIES):
        with atomic_path(path) as temporary:
            backend.download(file_id, temporary)
        with read_answers(path) as answers:
            broken = answers.broken()
            digest = _digest(path) if broken else b""
            if not broken or digest == previous:
                import_parquet(store, batch_id, answers.files(), max_attempts=max_attempts)
                return
            _LOG.warning("%s: %d damaged lines (download %d)", file_id, broken, attempt + 1)
        previous = digest
    path.unlink()
    raise RemoteError(
        f"the result file {file_id} arrives damaged, each time differently",
        hint="run `furnclip clean wait` again; nothing is lost",
    )


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
