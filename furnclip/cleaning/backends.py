"""What furnclip needs from whoever answers requests, in the Batch API's terms.

The OpenAI client (``api_client``) and the local backends (``local_batches``) offer the same
verbs, so submitting, polling and harvesting do not know whom they talk to.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from furnclip.errors import RemoteError
from furnclip.progress import Progress

TERMINAL = frozenset({"completed", "failed", "expired", "cancelled"})
"""Batch statuses that do not change any more; an unknown status is not terminal."""


class UnreachableError(RemoteError):
    """The request never arrived: nothing happened at the server."""


class UnknownOutcomeError(RemoteError):
    """The request may have been carried out: no answer, or a server error."""


class CapacityError(RemoteError):
    """The server is full for now (429, token_limit_exceeded)."""


class NotFoundError(RemoteError):
    """The server knows no such file or batch, or it belongs to another project."""


class AccessError(RemoteError):
    """The server does not accept the key."""


@dataclass(frozen=True)
class BatchError:
    """An error of a whole batch; ``line`` (from 1) when it is about one request."""

    code: str | None
    message: str
    line: int | None = None


@dataclass(frozen=True)
class RemoteBatch:
    """A batch as the server describes it; counts may lie."""

    batch_id: str
    status: str
    input_file_id: str | None
    created_at: datetime | None
    metadata: dict[str, str] | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    total: int = 0
    completed: int = 0
    failed: int = 0
    errors: tuple[BatchError, ...] = field(default=())
    ended_at: datetime | None = None


def queue_limit(message: str | None) -> int | None:
    """Return the prompt tokens the provider's queue takes, where its refusal says so.

    "Enqueued token limit reached for … Limit: 2,000,000 enqueued tokens."
    """
    found = re.search(r"[Ll]imit:?\s*([\d,]+)\s*enqueued", message or "")
    return int(found[1].replace(",", "")) if found else None


class Backend(Protocol):
    """Files and batches. Every method may raise ``RemoteError`` or one of the kinds above."""

    name: str
    base_url: str | None
    key_fingerprint: str | None

    def upload(self, path: Path, name: str) -> str:
        """Store a request file under ``name``; returns its id."""

    def find_file(self, name: str, size: int) -> str | None:
        """Return the id of a stored request file with this name and size."""

    def create(self, file_id: str, metadata: dict[str, str]) -> RemoteBatch:
        """Create one batch, with a single call that is never repeated by itself."""

    def recent(self, since: datetime) -> Iterator[RemoteBatch]:
        """Yield the batches created since then."""

    def retrieve(self, batch_id: str) -> RemoteBatch:
        """Return the batch as it is now."""

    def cancel(self, batch_id: str) -> RemoteBatch:
        """Ask for the batch to stop."""

    def download(self, file_id: str, target: Path) -> None:
        """Write a file's content to ``target``."""

    def drive(self, batch_id: str, progress: Progress) -> None:
        """Work on the batch until it is finished, where the work is done here; else do nothing."""
