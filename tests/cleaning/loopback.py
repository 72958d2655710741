"""A real HTTP server on loopback in a thread, for what answers in place of a provider."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, method: str, content: bytes) -> None:
        """Answer one request with ``send``."""
        raise NotImplementedError

    def send(self, status: int, kind: str, body: bytes, *, sent: int | None = None) -> None:
        """Send an answer; with ``sent``, only so many bytes of it before the line goes dead."""
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.send_header("content-type", kind)
        self.end_headers()
        try:
            self.wfile.write(body[:sent])
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        if sent is not None:
            self.close_connection = True

    def do_GET(self) -> None:
        self._read("GET")

    def do_POST(self) -> None:
        self._read("POST")

    def _read(self, method: str) -> None:
        self.answer(method, self.rfile.read(int(self.headers.get("content-length") or 0)))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep the test output clean."""


@contextmanager
def serving(handler: type[Handler]) -> Iterator[int]:
    """Serve on a free port, which is given, until the block ends."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield http.server_port
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
