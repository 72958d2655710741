"""Reading a finished batch: every output line classified, every request accounted for."""

import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from furnclip.cleaning.backends import Backend, RemoteBatch
from furnclip.cleaning.profiles import model_profile
from furnclip.cleaning.schema import CleanedProduct
from furnclip.errors import RemoteError
from furnclip.files import atomic_path
from furnclip.state import StateStore
from furnclip.state.cleaning_ingest import broken_lines, import_lines
from furnclip.state.cleaning_parts import BatchRow, set_part
from furnclip.state.cleaning_results import (
    Answer,
    finish_batch,
    ids_on_lines,
    import_answers,
    unseen_requests,
)

_LOG = logging.getLogger(__name__)

_DOWNLOAD_TRIES = 3
_RAW_LIMIT = 20_000
_BATCH_CODES = {"batch_expired": "expired", "batch_cancelled": "cancelled"}
_RETRY_STATUSES = frozenset({408, 409, 425, 429})


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
    if _is_full(remote):
        finish_batch(store, batch.batch_id, prices=None)
        set_part(store, batch.part, "waiting", error="token_limit_exceeded")
        return
    for kind, file_id in (("output", remote.output_file_id), ("error", remote.error_file_id)):
        if file_id is not None:
            path = folder / f"{batch.batch_id}-{kind}.jsonl"
            _download(backend, file_id, path)
            import_file(store, batch.batch_id, path, max_attempts=max_attempts)
    rest = list(_rest(store, batch, remote))
    import_answers(store, batch.batch_id, rest, max_attempts=max_attempts)
    prices = model_profile(batch.model, backend=batch.backend).per_token(
        batch=batch.backend == "openai"
    )
    finish_batch(store, batch.batch_id, prices=prices)


def import_file(store: StateStore, batch_id: str, path: Path, *, max_attempts: int) -> int:
    """Import a file of output lines; returns the number of answered requests."""
    return import_lines(store, batch_id, path, classify=classify, max_attempts=max_attempts)


def classify(line: bytes) -> Answer:
    """Turn one output line into an answer; never raises, whatever the line holds."""
    try:
        record = json.loads(line)
        identity = str(record["custom_id"])
    except (ValueError, KeyError, TypeError):
        return Answer("", "invalid_json", "not an output line", _raw(line), None)
    try:
        return _classify(identity, record, line)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        return Answer(identity, "invalid_json", f"unexpected shape: {error!r}", _raw(line), None)


def _classify(identity: str, record: dict[str, Any], line: bytes) -> Answer:
    response = record.get("response")
    if response is None:
        failure = record.get("error") or {}
        code = str(failure.get("code") or "missing")
        outcome = _BATCH_CODES.get(code, "http_error")
        return Answer(identity, outcome, _text(failure.get("message") or code), _raw(line), None)
    status, body = int(response["status_code"]), response["body"]
    if status >= 400:
        retry = status >= 500 or status in _RETRY_STATUSES
        outcome = "http_error" if retry else "bad_request"
        reason = f"HTTP {status}: {_text(_error_message(body))}"
        return Answer(identity, outcome, reason, _raw(line), None)
    choice, usage = body["choices"][0], body.get("usage") or {}
    tokens = {
        "input_tokens": int(usage.get("prompt_tokens") or 0),
        "cached_tokens": int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0),
        "output_tokens": int(usage.get("completion_tokens") or 0),
    }
    outcome, error, product = _read_choice(choice)
    if product is None:
        return Answer(identity, outcome, error, _raw(line), None, **tokens)
    fields = (product.clean_title, product.style, product.material, product.color,
              product.object_type)  # fmt: skip
    return Answer(identity, "ok", None, None, fields, **tokens)


def _read_choice(choice: dict[str, Any]) -> tuple[str, str | None, CleanedProduct | None]:
    message, reason = choice["message"], choice.get("finish_reason")
    if message.get("refusal"):
        return "refusal", _text(message["refusal"]), None
    if reason == "content_filter":
        return "refusal", "stopped by the content filter", None
    content = message.get("content")
    if reason == "length":
        return "length", "the answer was cut at the token limit", None
    if not content:
        return "empty", "the answer is empty", None
    try:
        return "ok", None, CleanedProduct.model_validate_json(_unfenced(content))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        kind = "invalid_json" if first["type"] == "json_invalid" else "invalid_fields"
        place = ".".join(str(part) for part in first["loc"])
        return kind, f"{place}: {first['msg']}".removeprefix(": "), None


def _unfenced(content: str) -> str:
    """Strip a Markdown fence, which servers without structured output like to add."""
    text = content.strip()
    if text.startswith("```") and text.endswith("```"):
        return text.strip("`").removeprefix("json").strip()
    return text


def _rest(store: StateStore, batch: BatchRow, remote: RemoteBatch) -> Iterator[Answer]:
    """Yield an answer for every request the files say nothing about."""
    blamed = {error.line: error for error in remote.errors if error.line is not None}
    ids = ids_on_lines(store, batch.part, list(blamed)) if blamed else {}
    for line, error in blamed.items():
        if line in ids:
            yield Answer(ids[line], "quarantined", f"{error.code}: {error.message}", None, None)
    outcome = {"failed": "not_run", "cancelled": "cancelled", "expired": "expired"}.get(
        remote.status, "missing"
    )
    reason = remote.errors[0].message if remote.errors else f"batch {remote.status}, no line"
    if remote.status == "failed" and not blamed:
        outcome = "http_error"
    for identity in unseen_requests(store, batch.batch_id, batch.part):
        if identity not in ids.values():
            yield Answer(identity, outcome, _text(reason), None, None)


def _is_full(remote: RemoteBatch) -> bool:
    return remote.status == "failed" and any(
        error.code == "token_limit_exceeded" for error in remote.errors
    )


def _download(backend: Backend, file_id: str, path: Path) -> None:
    """Download a file whole: every line must be JSON, else it is fetched again.

    A file that arrives twice with the same damage is damaged at the server: its good lines are
    used, and the requests of the others are asked again as missing.
    """
    previous = None
    for attempt in range(_DOWNLOAD_TRIES):
        with atomic_path(path) as temporary:
            backend.download(file_id, temporary)
            broken = broken_lines(temporary)
            with temporary.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").digest()
        if not broken or digest == previous:
            return
        previous = digest
        _LOG.warning("%s: %d damaged lines (download %d)", file_id, broken, attempt + 1)
    path.unlink()
    raise RemoteError(
        f"the result file {file_id} arrives damaged, each time differently",
        hint="run `furnclip clean wait` again; nothing is lost",
    )


def _error_message(body: object) -> object:
    error = body.get("error") if isinstance(body, dict) else None
    return error.get("message") if isinstance(error, dict) else (error or body)


def _text(value: object) -> str:
    return " ".join(str(value).split())[:300]


def _raw(line: bytes) -> str:
    return line.decode("utf-8", "replace")[:_RAW_LIMIT]
