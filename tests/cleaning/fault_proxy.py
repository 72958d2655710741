"""An HTTP proxy on loopback that breaks what passes through it, in front of any server.

It stands between the real SDK and a real server, so a fault hits both: a dropped answer leaves the
server with its work done and the client without a word.
"""

import http.client
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.cleaning.loopback import Handler, serving

Json = dict[str, Any]
_HOP_BY_HOP = {
    "connection", "host", "keep-alive", "transfer-encoding", "accept-encoding", "content-length"
}  # fmt: skip


@dataclass
class Fault:
    """Breaks the next ``times`` requests whose method and path (a whole regex) match.

    ``delay`` waits first. ``status`` answers instead of the server; ``drop`` closes the connection
    after the server has done the work; ``cut`` sends half of the body as if it were all, ``abort``
    half of it under the length of the whole; ``ask`` changes the JSON of the request, ``rewrite``
    that of the answer.
    """

    method: str
    path: str
    times: int = 1
    status: int | None = None
    body: Json = field(default_factory=dict)
    drop: bool = False
    cut: bool = False
    abort: bool = False
    delay: float = 0.0
    ask: Callable[[Json], Json] | None = None
    rewrite: Callable[[Json], Json] | None = None

    def matches(self, method: str, path: str) -> bool:
        return self.times > 0 and method == self.method and bool(re.fullmatch(self.path, path))


class FaultProxy:
    """``passed`` counts what the server carried out, by method and path."""

    def __init__(self, upstream: str) -> None:
        self.upstream = urlsplit(upstream)
        self.faults: list[Fault] = []
        self.passed: Counter[tuple[str, str]] = Counter()
        self.url = ""
        self._lock = threading.Lock()

    def fault(self, method: str, path: str) -> Fault:
        """Take the fault for a request; one that does nothing when none is due."""
        with self._lock:
            for fault in self.faults:
                if fault.matches(method, path):
                    fault.times -= 1
                    return fault
        return Fault(method, path)

    def forward(
        self, method: str, path: str, headers: dict[str, str], content: bytes
    ) -> tuple[int, str, bytes]:
        """Have the server answer; returns status, content type and body."""
        connection = http.client.HTTPConnection(
            str(self.upstream.hostname), self.upstream.port, timeout=120
        )
        try:
            connection.request(method, path, content, headers)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status < 400:
            with self._lock:
                self.passed[method, path.partition("?")[0]] += 1
        return answer.status, answer.getheader("content-type") or "", body


@contextmanager
def proxied(upstream: str) -> Iterator[FaultProxy]:
    """Serve before ``upstream`` (an API root) on a free loopback port until the block ends."""
    proxy = FaultProxy(upstream)
    with serving(type("Bound", (_Handler,), {"proxy": proxy})) as port:
        proxy.url = f"http://127.0.0.1:{port}{proxy.upstream.path}"
        yield proxy


class _Handler(Handler):
    proxy: FaultProxy

    def answer(self, method: str, content: bytes) -> None:
        fault = self.proxy.fault(method, self.path.partition("?")[0])
        time.sleep(fault.delay)
        if fault.status is not None:
            self.send(fault.status, "application/json", json.dumps(fault.body).encode())
            return
        if fault.ask is not None:
            content = json.dumps(fault.ask(json.loads(content))).encode()
        headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP_BY_HOP}
        status, kind, body = self.proxy.forward(method, self.path, headers, content)
        if fault.drop:
            self.close_connection = True
            return
        if fault.rewrite is not None:
            body = json.dumps(fault.rewrite(json.loads(body))).encode()
        if fault.cut:
            body = body[: len(body) // 2]
        self.send(status, kind, body, sent=len(body) // 2 if fault.abort else None)
