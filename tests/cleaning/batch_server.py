"""A Files, Batches and chat-completions server on loopback whose batches follow a script.

It keeps count of what costs money: batches created and requests executed.
"""

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesParser
from typing import Any

from furnclip.cleaning.local_batches import answer_by_rules
from tests.cleaning.loopback import Handler, serving

KEY = "sk-test-key-that-must-never-leak"
Json = dict[str, Any]
Script = Callable[["ServerBatch"], None]


@dataclass
class ServerBatch:
    server: "BatchServer"
    id: str
    input_file_id: str
    metadata: dict[str, str] | None
    created_at: float
    status: str = "validating"
    output_file_id: str | None = None
    error_file_id: str | None = None
    counts: dict[str, int] = field(
        default_factory=lambda: {"total": 0, "completed": 0, "failed": 0}
    )
    errors: list[Json] = field(default_factory=list)
    script: list[Script] = field(default_factory=list)

    def requests(self) -> list[Json]:
        content = self.server.files[self.input_file_id][1]
        return [json.loads(line) for line in content.splitlines()]

    def execute(self, requests: list[Json]) -> tuple[list[Json], list[Json]]:
        """Run requests as the server does: good lines and bad lines."""
        self.server.executed += [request["custom_id"] for request in requests]
        lines = [self.server.line(request) for request in requests]
        good = [line for line in lines if (line["response"] or {}).get("status_code") == 200]
        return good, [line for line in lines if line not in good]

    def finish(self, status: str, good: list[Json], bad: list[Json]) -> None:
        self.status = status
        self.counts = {"total": len(self.requests()), "completed": len(good), "failed": len(bad)}
        if good:
            self.output_file_id = self.server.store("output.jsonl", jsonl(good))
        if bad:
            self.error_file_id = self.server.store("error.jsonl", jsonl(bad))

    def describe(self) -> Json:
        return {
            "id": self.id, "object": "batch", "endpoint": "/v1/chat/completions",
            "completion_window": "24h", "created_at": int(self.created_at),
            "input_file_id": self.input_file_id, "status": self.status,
            "metadata": self.metadata, "output_file_id": self.output_file_id,
            "error_file_id": self.error_file_id, "request_counts": self.counts,
            "errors": {"object": "list", "data": self.errors} if self.errors else None,
        }  # fmt: skip


def complete(batch: ServerBatch) -> None:
    """Answer everything."""
    batch.finish("completed", *batch.execute(batch.requests()))


def jsonl(lines: list[Json]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def chat_body(content: str | None, **changes: Any) -> Json:
    """Return a chat completion whose message is ``content``; ``changes`` go into the choice."""
    message = {"role": "assistant", "content": content, "refusal": changes.pop("refusal", None)}
    choice = {"index": 0, "finish_reason": "stop", "message": message, **changes}
    return {
        "object": "chat.completion", "id": "c", "created": 1, "model": "m", "choices": [choice],
        "usage": {"prompt_tokens": 900, "completion_tokens": 60, "total_tokens": 960},
    }  # fmt: skip


class BatchServer:
    """State of the server. ``scripts`` holds, per coming batch, what each look at it changes."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[str, bytes]] = {}
        self.batches: dict[str, ServerBatch] = {}
        self.executed: list[str] = []
        self.chats = 0
        self.scripts: list[list[Script]] = []
        self.answer: Callable[[Json], Json] = self.clean
        self.keep_metadata = True
        self.open_chat = False
        self._numbers = itertools.count(1)
        self.lock = threading.RLock()
        self.url = ""

    def clean(self, request: Json) -> Json:
        """Answer a request with the rules, as a chat completion that cost tokens."""
        answered: Json = answer_by_rules(request["body"])
        content = answered["body"]["choices"][0]["message"]["content"]
        return {"status_code": 200, "request_id": "r", "body": chat_body(content)}

    def line(self, request: Json) -> Json:
        answer = self.answer(request)
        base = {"id": "x", "custom_id": request["custom_id"]}
        if "status_code" in answer:
            return {**base, "response": answer, "error": None}
        return {**base, "response": None, "error": answer}

    def store(self, name: str, content: bytes) -> str:
        identity = f"file-{len(self.files) + 1}"
        self.files[identity] = (name, content)
        return identity

    def create(self, body: Json) -> ServerBatch:
        batch = ServerBatch(
            self, f"batch_{next(self._numbers)}", body["input_file_id"],
            body.get("metadata") if self.keep_metadata else None, time.time(),
        )  # fmt: skip
        batch.script = self.scripts.pop(0) if self.scripts else [complete]
        batch.counts["total"] = len(batch.requests())
        self.batches[batch.id] = batch
        return batch

    def handle(self, method: str, path: str, headers: Message, content: bytes) -> tuple[int, Any]:
        """Return the status and the body (bytes or JSON) of one request."""
        chat = path.endswith("/chat/completions")
        if not (chat and self.open_chat) and headers.get("authorization") != f"Bearer {KEY}":
            return 401, {"error": {"message": f"Incorrect API key: {headers['authorization']}"}}
        if chat:
            with self.lock:
                self.chats += 1
            answer = self.answer({"custom_id": "", "body": json.loads(content)})
            return answer["status_code"], answer["body"]
        with self.lock:
            return self._route(method, path, headers, content)

    def _route(self, method: str, path: str, headers: Message, content: bytes) -> tuple[int, Any]:
        _, *parts = path.strip("/").split("/")
        match (method, *parts):
            case ("POST", "files"):
                name, data = _multipart(headers, content)
                identity = self.store(name, data)
                return 200, _file(identity, name, data)
            case ("GET", "files"):
                listed = [_file(i, name, data) for i, (name, data) in self.files.items()]
                return 200, {"object": "list", "data": listed, "has_more": False}
            case ("GET", "files", identity, "content") if identity in self.files:
                return 200, self.files[identity][1]
            case ("POST", "batches"):
                return 200, self.create(json.loads(content)).describe()
            case ("GET", "batches"):
                newest = [b.describe() for b in reversed(self.batches.values())]
                return 200, {"object": "list", "data": newest, "has_more": False}
            case ("GET", "batches", identity) if identity in self.batches:
                batch = self.batches[identity]
                if batch.script:
                    batch.script.pop(0)(batch)
                return 200, batch.describe()
            case ("POST", "batches", identity, "cancel") if identity in self.batches:
                self.batches[identity].status = "cancelling"
                return 200, self.batches[identity].describe()
        return 404, {"error": {"message": f"No such thing: {path}"}}


@contextmanager
def running(server: BatchServer) -> Iterator[BatchServer]:
    """Serve on a free loopback port until the block ends."""
    with serving(type("Bound", (_Handler,), {"server_": server})) as port:
        server.url = f"http://127.0.0.1:{port}/v1"
        yield server


class _Handler(Handler):
    server_: BatchServer

    def answer(self, method: str, content: bytes) -> None:
        path = self.path.partition("?")[0]
        status, body = self.server_.handle(method, path, self.headers, content)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send(status, "application/json", data)


def _multipart(headers: Message, content: bytes) -> tuple[str, bytes]:
    head = f"content-type: {headers['content-type']}\r\n\r\n".encode()
    for part in BytesParser().parsebytes(head + content).get_payload():
        assert isinstance(part, Message)
        name = part.get_filename()
        if name:
            data = part.get_payload(decode=True)
            assert isinstance(data, bytes)
            return name, data
    raise AssertionError("no file in the upload")


def _file(identity: str, name: str, data: bytes) -> Json:
    return {
        "id": identity, "object": "file", "filename": name, "bytes": len(data),
        "created_at": 1, "purpose": "batch", "status": "processed",
    }  # fmt: skip
