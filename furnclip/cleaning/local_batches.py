"""Batches answered on this machine: by the offline rules, or by a local chat server.

They keep the Batch API's shape in a folder: ``<batch>.json`` describes a batch, answers are
appended to ``<batch>-output.part`` one line at a time and renamed when the batch is finished, so
that killing the process loses at most the requests in flight.
"""

from __future__ import annotations

import io
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from furnclip.cleaning.backends import BatchError, NotFoundError, RemoteBatch
from furnclip.cleaning.prompts import read_question
from furnclip.cleaning.rules import clean_product
from furnclip.errors import RemoteError
from furnclip.files import write_text_atomic
from furnclip.progress import Progress

_LOG = logging.getLogger(__name__)

Answer = Callable[[dict[str, Any]], dict[str, Any]]
"""From a request's body to the ``response`` object of an output line; raises ``RemoteError``."""


class LocalBatches:
    """A folder of batches, each answered by ``answer`` with ``concurrency`` requests at once."""

    key_fingerprint: str | None = None

    def __init__(
        self,
        folder: Path,
        answer: Answer,
        *,
        name: str,
        base_url: str | None = None,
        concurrency: int = 1,
    ) -> None:
        self.folder = folder
        self.name = name
        self.base_url = base_url
        self._answer = answer
        self._concurrency = concurrency

    def upload(self, path: Path, name: str) -> str:
        """Use the request file where it is; its path is its id."""
        return str(path.resolve())

    def find_file(self, name: str, size: int) -> str | None:
        """Return None: there is nothing to find, uploading costs nothing."""
        return None

    def create(self, file_id: str, metadata: dict[str, str]) -> RemoteBatch:
        """Write down a batch; ``drive`` works on it."""
        if not Path(file_id).is_file():
            raise NotFoundError(f"no such request file: {file_id}")
        batch_id = f"local_{metadata['attempt'][:8]}"
        record = {
            "status": "in_progress",
            "input_file_id": file_id,
            "metadata": metadata,
            "created_at": datetime.now(UTC).timestamp(),
        }
        self._save(batch_id, record)
        return self.retrieve(batch_id)

    def recent(self, since: datetime) -> Iterator[RemoteBatch]:
        """Yield the batches created since then."""
        for path in sorted(self.folder.glob("local_*.json")):
            batch = self.retrieve(path.stem)
            if batch.created_at and batch.created_at >= since:
                yield batch

    def retrieve(self, batch_id: str) -> RemoteBatch:
        """Return the batch as its file describes it."""
        record = self._load(batch_id)
        ended = record["status"] in {"completed", "cancelled"}
        output = self._output(batch_id)
        return RemoteBatch(
            batch_id=batch_id,
            status=record["status"],
            input_file_id=record["input_file_id"],
            created_at=datetime.fromtimestamp(record["created_at"], UTC),
            metadata=record["metadata"],
            output_file_id=str(output) if ended and output.exists() else None,
            total=record.get("total", 0),
            completed=self._answered(batch_id),
            errors=tuple(BatchError(None, text) for text in record.get("errors", [])),
        )

    def cancel(self, batch_id: str) -> RemoteBatch:
        """Stop after the requests in flight; what is answered is kept."""
        record = self._load(batch_id)
        if record["status"] not in {"completed", "cancelled"}:
            self._close(batch_id, record, "cancelled")
        return self.retrieve(batch_id)

    def download(self, file_id: str, target: Path) -> None:
        """Copy an output file."""
        shutil.copyfile(file_id, target)

    def drive(self, batch_id: str, progress: Progress) -> None:
        """Answer what is not answered yet, appending each line as it arrives.

        Raises ``RemoteError`` when the server cannot be reached at all; the lines so far are kept.
        """
        record = self._load(batch_id)
        if record["status"] != "in_progress":
            return
        done = self._finished(batch_id)
        requests = list(_requests(Path(record["input_file_id"])))
        todo = [request for request in requests if request["custom_id"] not in done]
        record = {**self._load(batch_id), "total": len(requests)}
        self._save(batch_id, record)
        with (
            progress.task(f"Cleaning ({self.name})", total=len(todo), unit="rows") as task,
            self._partial(batch_id).open("ab") as file,
        ):
            for line in self._answers(todo, lambda: not self._is_live(batch_id)):
                file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
                file.flush()
                task.advance()
        if self._is_live(batch_id):
            self._close(batch_id, record, "completed")

    def _is_live(self, batch_id: str) -> bool:
        return bool(self._load(batch_id)["status"] == "in_progress")

    def _answers(
        self, requests: list[dict[str, Any]], is_stopped: Callable[[], bool]
    ) -> Iterator[dict[str, Any]]:
        """Yield output lines as they are ready, never more than ``concurrency`` under way.

        After an error or a stop nothing new is asked, but what is under way is still taken.
        """
        if self._concurrency == 1:
            for request in requests:
                if is_stopped():
                    return
                yield self._line(request)
            return
        todo = iter(requests)
        running: set[Future[dict[str, Any]]] = set()
        error: BaseException | None = None
        pool = ThreadPoolExecutor(self._concurrency)
        try:
            while True:
                room = 0 if error or is_stopped() else self._concurrency - len(running)
                running |= {pool.submit(self._line, request) for request in islice(todo, room)}
                if not running:
                    break
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    error = error or future.exception()
                    if future.exception() is None:
                        yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        if error is not None:
            raise error

    def _line(self, request: dict[str, Any]) -> dict[str, Any]:
        identity = request["custom_id"]
        return {
            "id": f"req_{identity}",
            "custom_id": identity,
            "response": self._answer(request["body"]),
            "error": None,
        }

    def _finished(self, batch_id: str) -> set[str]:
        """Return the ids answered so far; a line cut by a crash is removed from the file."""
        path = self._partial(batch_id)
        return {line["custom_id"] for line in _whole_lines(path)} if path.exists() else set()

    def _answered(self, batch_id: str) -> int:
        """Count the lines answered, without touching a file that may be being written."""
        for path in (self._partial(batch_id), self._output(batch_id)):
            if path.exists():
                with path.open("rb") as file:
                    return sum(line.endswith(b"\n") for line in file)
        return 0

    def _close(self, batch_id: str, record: dict[str, Any], status: str) -> None:
        partial = self._partial(batch_id)
        if partial.exists():
            partial.replace(self._output(batch_id))
        self._save(batch_id, {**record, "status": status})

    def _load(self, batch_id: str) -> dict[str, Any]:
        path = self.folder / f"{batch_id}.json"
        try:
            record: dict[str, Any] = json.loads(path.read_text("utf-8"))
        except FileNotFoundError as error:
            raise NotFoundError(f"no such local batch: {batch_id}") from error
        return record

    def _save(self, batch_id: str, record: dict[str, Any]) -> None:
        write_text_atomic(self.folder / f"{batch_id}.json", json.dumps(record))

    def _partial(self, batch_id: str) -> Path:
        return self.folder / f"{batch_id}-output.part"

    def _output(self, batch_id: str) -> Path:
        return self.folder / f"{batch_id}-output.jsonl"


def rules_backend(folder: Path) -> LocalBatches:
    """Return the offline backend: word lists and the photo's main colour, no model."""
    return LocalBatches(folder, answer_by_rules, name="rules")


def answer_by_rules(body: dict[str, Any]) -> dict[str, Any]:
    """Answer one request the way a chat model would, from the title and photo it carries."""
    title, jpeg = read_question(body)
    image = Image.open(io.BytesIO(jpeg)).convert("RGB")
    content = clean_product(title, image).model_dump_json()
    choice = {"index": 0, "finish_reason": "stop",
              "message": {"role": "assistant", "content": content, "refusal": None}}  # fmt: skip
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    completion = {"object": "chat.completion", "model": body["model"], "choices": [choice],
                  "usage": usage}  # fmt: skip
    return {"status_code": 200, "request_id": "", "body": completion}


def _requests(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            for line in file:
                yield json.loads(line)
    except (OSError, ValueError) as error:
        raise RemoteError(
            f"the request file {path} is missing or damaged",
            hint="run `furnclip clean prepare` again",
        ) from error


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of an output file; cut the file after the last whole one."""
    good = 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                _LOG.warning("%s ends in a cut line; that request is asked again", path)
                break
            good += len(line)
            yield json.loads(line)
    if good < path.stat().st_size:
        with path.open("r+b") as file:
            file.truncate(good)
