"""The OpenAI Batch API, or any server that speaks it.

Creating calls (POST /files, POST /batches) are sent once: the SDK's own retries would triple the
spend on a server error, because the API has no idempotency key. What their failure means is told
apart here: nothing happened, it may have happened, or the server refused.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from furnclip.cleaning.backends import (
    AccessError,
    BatchError,
    CapacityError,
    NotFoundError,
    RemoteBatch,
    UnknownOutcomeError,
    UnreachableError,
)
from furnclip.cleaning.sdk import LazyClient
from furnclip.config import load_settings
from furnclip.errors import ConfigError, RemoteError
from furnclip.progress import Progress

if TYPE_CHECKING:
    import httpx2
    from openai import APIStatusError
    from openai.types import Batch

_DEFAULT_URL = "https://api.openai.com/v1"
_PAGE = 100
_KEY_HINT = "set OPENAI_API_KEY in the environment or in .env"


class BatchAPIClient:
    """A thread-safe client of the Batch API.

    Without ``api_key`` the settings are read, for the key and the address. Without an address it is
    OPENAI_BASE_URL, then OpenAI. The key is held only by the SDK's client; ``key_fingerprint`` is
    enough to tell two keys apart.
    """

    name = "openai"

    def __init__(
        self,
        api_key: str | None = None,
        base_url: str | None = None,
        *,
        timeout: float = 60.0,
        max_retries: int = 2,
        http_client: httpx2.Client | None = None,
    ) -> None:
        if not api_key:
            settings = load_settings()
            if settings.openai_api_key is None:
                raise no_key()
            api_key = settings.openai_api_key.get_secret_value()
            base_url = base_url or settings.cleaning.base_url
        self.base_url: str | None = base_url or os.environ.get("OPENAI_BASE_URL") or _DEFAULT_URL
        self.key_fingerprint: str | None = hashlib.sha256(api_key.encode()).hexdigest()[:8]
        self._client = LazyClient(
            api_key=api_key,
            base_url=self.base_url,
            timeout=timeout,
            max_retries=max_retries,
            http_client=http_client,
        )

    def upload_file(self, file_path: Path) -> str:
        """Upload a request file and return its id."""
        return self.upload(file_path, file_path.name)

    def create_batch(self, input_file_id: str) -> str:
        """Create a batch job and return its id."""
        return self.create(input_file_id, {}).batch_id

    def get_batch_status(self, batch_id: str) -> dict[str, Any]:
        """Return the batch as a plain dictionary: id, status, file ids, request_counts, errors."""
        batch = self.retrieve(batch_id)
        return {
            "id": batch.batch_id,
            "status": batch.status,
            "input_file_id": batch.input_file_id,
            "output_file_id": batch.output_file_id,
            "error_file_id": batch.error_file_id,
            "request_counts": {
                "total": batch.total,
                "completed": batch.completed,
                "failed": batch.failed,
            },
            "errors": [error.message for error in batch.errors],
        }

    def download_results(self, output_file_id: str) -> bytes:
        """Return the content of a result file."""
        with _translated(f"downloading {output_file_id}"):
            return self._client().files.content(output_file_id).read()

    def upload(self, path: Path, name: str) -> str:
        """Store a request file under ``name``; returns its id."""
        client = self._client().with_options(max_retries=0, timeout=600.0)
        with _translated(f"uploading {path.name}"), path.open("rb") as file:
            return client.files.create(file=(name, file), purpose="batch").id

    def find_file(self, name: str, size: int) -> str | None:
        """Return the id of an uploaded request file with this name and size."""
        with _translated("listing files"):
            for file in self._client().files.list(purpose="batch"):
                if file.filename == name and file.bytes == size:
                    return file.id
        return None

    def create(self, file_id: str, metadata: dict[str, str]) -> RemoteBatch:
        """Create one batch with one POST."""
        client = self._client().with_options(max_retries=0)
        with _translated("creating a batch"):
            return _remote(
                client.batches.create(
                    input_file_id=file_id,
                    endpoint="/v1/chat/completions",
                    completion_window="24h",
                    metadata=metadata or None,
                )
            )

    def recent(self, since: datetime) -> Iterator[RemoteBatch]:
        """Yield the batches created since then; the API itself filters by nothing.

        Most servers list the newest first, but none promises it: the search ends early only at
        a page of older ones in a row, in a listing that was seen to descend.
        """
        older = 0
        steps: set[bool] = set()
        previous: int | None = None
        with _translated("listing batches"):
            for batch in self._client().batches.list(limit=_PAGE):
                if previous not in {None, batch.created_at}:
                    steps.add(batch.created_at < (previous or 0))
                previous = batch.created_at
                if datetime.fromtimestamp(batch.created_at, UTC) >= since:
                    older = 0
                    yield _remote(batch)
                    continue
                older += 1
                if older >= _PAGE and steps == {True}:
                    return

    def retrieve(self, batch_id: str) -> RemoteBatch:
        """Return the batch as it is now."""
        with _translated(f"asking for batch {batch_id}"):
            return _remote(self._client().batches.retrieve(batch_id))

    def cancel(self, batch_id: str) -> RemoteBatch:
        """Ask for the batch to stop; finished requests are kept and billed."""
        with _translated(f"cancelling batch {batch_id}"):
            return _remote(self._client().batches.cancel(batch_id))

    def download(self, file_id: str, target: Path) -> None:
        """Stream a file's content to ``target``."""
        with (
            _translated(f"downloading {file_id}"),
            self._client().files.with_streaming_response.content(file_id) as response,
        ):
            response.stream_to_file(target)

    def drive(self, batch_id: str, progress: Progress) -> None:
        """Do nothing: the server does the work."""

    def shutdown_date(self, model: str) -> date | None:
        """Return the day the server says the model is switched off, None when it does not say."""
        try:
            with _translated(f"asking for model {model}"):
                announced = self._client().models.retrieve(model).shutdown_date
        except AccessError:
            raise
        except RemoteError:
            return None
        return date.fromisoformat(str(announced)[:10]) if announced else None


def no_key() -> ConfigError:
    """Return the error of a missing key."""
    return ConfigError("no API key: OPENAI_API_KEY is not set", hint=_KEY_HINT)


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    """Turn the SDK's and the transport's exceptions into ours."""
    import httpx2
    import openai

    try:
        yield
    except openai.APIStatusError as error:
        raise _status_error(doing, error) from error
    except openai.APIConnectionError as error:
        cause = error.__cause__
        if isinstance(cause, (httpx2.ConnectError, httpx2.ConnectTimeout)):
            raise UnreachableError(
                f"cannot reach the server while {doing}: {cause or error}",
                hint="check the network and --base-url",
            ) from error
        raise UnknownOutcomeError(f"no answer while {doing}: {cause or error}") from error
    except (openai.APIError, httpx2.HTTPError) as error:
        raise UnknownOutcomeError(f"no usable answer while {doing}: {error}") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise UnknownOutcomeError(
            f"the server's answer while {doing} is not what the Batch API says",
            hint="check --base-url: it should end in /v1",
        ) from error


def _status_error(doing: str, error: APIStatusError) -> RemoteError:
    status, message = error.status_code, f"{doing}: {_message(error)}"
    if status in {401, 403}:
        return AccessError(
            f"the server does not accept the API key ({status}) while {doing}", hint=_KEY_HINT
        )
    if status == 429 or error.code == "token_limit_exceeded":
        return CapacityError(message, hint="`furnclip clean wait` goes on when there is room")
    if status == 404 or "cannot find" in message.lower() or "not found" in message.lower():
        return NotFoundError(message)
    if status >= 500 or status in {408, 409}:
        return UnknownOutcomeError(message)
    return RemoteError(message)


def _message(error: APIStatusError) -> str:
    """Return the server's message without the key, which some servers echo."""
    body = error.body
    text = str((body.get("message") if isinstance(body, dict) else None) or error.message)
    return f"HTTP {error.status_code}: {without_key(text, error.request)[:300]}"


def without_key(text: str, request: httpx2.Request) -> str:
    """Return ``text`` with the key that ``request`` carried struck out."""
    key = request.headers.get("authorization", "").removeprefix("Bearer ")
    return text.replace(key, "***") if key else text


def _remote(batch: Batch) -> RemoteBatch:
    counts = batch.request_counts
    errors = (batch.errors.data or []) if batch.errors else []
    ended = batch.completed_at or batch.expired_at or batch.cancelled_at
    return RemoteBatch(
        batch_id=batch.id,
        status=batch.status,
        input_file_id=batch.input_file_id,
        created_at=datetime.fromtimestamp(batch.created_at, UTC),
        metadata=dict(batch.metadata) if batch.metadata else None,
        output_file_id=batch.output_file_id,
        error_file_id=batch.error_file_id,
        total=counts.total if counts else 0,
        completed=counts.completed if counts else 0,
        failed=counts.failed if counts else 0,
        errors=tuple(BatchError(e.code, e.message or "", e.line) for e in errors),
        ended_at=datetime.fromtimestamp(ended, UTC) if ended else None,
    )
