"""The whole path against aibrix 0.8.0, a real Files and Batches server over a chat endpoint.

It pins old libraries, so it lives in a virtual environment of its own, made once in the user's
cache folder (needs PyPI the first time).
"""

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from furnclip.cleaning.poll import WaitResult
from furnclip.cleaning.prompts import read_question
from furnclip.cleaning.service import Cleaner
from tests.cleaning.batch_server import BatchServer, Json, chat_body
from tests.cleaning.conftest import MakeCleaner
from tests.cleaning.fault_proxy import Fault, FaultProxy, proxied

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

_VERSION = "0.8.0"
_PYTHONS = ("python3.12", "python3.11", "python3.10")


@pytest.fixture(scope="session")
def aibrix_python() -> Path:
    home = Path.home() / ".cache" / "furnclip-tests" / f"aibrix-{_VERSION}"
    python = home / "bin" / "python"
    if not (home / "installed").exists():
        candidates = [sys.executable] if sys.version_info < (3, 13) else []
        candidates += [found for name in _PYTHONS if (found := shutil.which(name))]
        if not candidates:
            pytest.skip("aibrix needs Python 3.10 to 3.12")
        subprocess.run([candidates[0], "-m", "venv", str(home)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", f"aibrix=={_VERSION}"]
        subprocess.run(install, check=True)
        (home / "installed").touch()
    return python


@pytest.fixture
def aibrix(aibrix_python: Path, server: BatchServer, tmp_path: Path) -> Iterator[str]:
    """Start aibrix before our chat server; returns its API root."""
    server.open_chat = True
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = Path(__file__).with_name("aibrix_server.py")
    folder = tmp_path / "aibrix"
    folder.mkdir()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(aibrix_python), str(script), str(port), server.url.removesuffix("/v1")],
            cwd=folder, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            url = f"http://127.0.0.1:{port}/v1"
            _await(f"{url}/batches", process, folder / "log")
            yield url
        finally:
            process.terminate()
            process.wait()


def _await(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return
    raise AssertionError(log.read_text("utf-8", "replace")[-3000:])


def fast(request: Json) -> Json:
    title, _ = read_question(request["body"])
    return {"status_code": 200, "body": chat_body(json.dumps({"clean_title": title[:100]}))}


def slow(request: Json) -> Json:
    time.sleep(0.5)
    return fast(request)


@dataclass(frozen=True)
class Shop:
    """A prepared catalogue and a cleaner that asks aibrix through the proxy."""

    cleaner: Cleaner
    rows: int
    proxy: FaultProxy
    server: BatchServer

    def finish(self, output: Path) -> WaitResult:
        """Wait and finalize; every row must be cleaned."""
        result = self.cleaner.wait(self.cleaner.run(), timeout=600)
        assert result.finished
        done = self.cleaner.finalize(self.cleaner.run(), output)
        assert (done.cleaned, done.failed, done.pending) == (self.rows, 0, 0)
        return result

    def batches_made(self) -> int:
        return self.proxy.passed["POST", "/v1/batches"]


@pytest.fixture
def shop(
    aibrix: str, server: BatchServer, make_cleaner: MakeCleaner, any_catalogue: Path
) -> Iterator[Shop]:
    with proxied(aibrix) as proxy:
        plain = make_cleaner(base_url=proxy.url, poll_seconds=0.5, reconcile_seconds=2.0)
        cleaner = replace(plain, sleep=None)
        rows = cleaner.prepare(any_catalogue, any_catalogue.parent).rows
        server.answer = fast
        yield Shop(cleaner, rows, proxy, server)


def test_whole_path(shop: Shop, tmp_path: Path) -> None:
    assert len(shop.cleaner.upload(shop.cleaner.run()).submitted) == 1
    shop.finish(tmp_path / "cleaned.csv")
    assert (shop.server.chats, shop.batches_made()) == (shop.rows, 1)


def test_lost_answer_on_create_adopts_the_batch(shop: Shop, tmp_path: Path) -> None:
    shop.proxy.faults.append(Fault("POST", "/v1/batches", drop=True))
    assert len(shop.cleaner.upload(shop.cleaner.run()).submitted) == 1
    shop.finish(tmp_path / "cleaned.csv")
    assert (shop.server.chats, shop.batches_made()) == (shop.rows, 1)


def test_bad_answers_are_asked_again(shop: Shop, tmp_path: Path) -> None:
    def first_round_broken(request: Json) -> Json:
        if shop.server.chats <= shop.rows:
            return {"status_code": 200, "body": chat_body("not JSON")}
        return fast(request)

    shop.server.answer = first_round_broken
    shop.cleaner.upload(shop.cleaner.run())
    result = shop.finish(tmp_path / "cleaned.csv")
    assert [batch.status for batch in result.batches] == ["completed", "completed"]
    assert shop.server.chats == 2 * shop.rows


def test_cancelled_batch_is_harvested_and_the_rest_asked_again(shop: Shop, tmp_path: Path) -> None:
    shop.server.answer = slow
    [batch_id] = shop.cleaner.upload(shop.cleaner.run()).submitted
    while shop.server.chats < 3:
        time.sleep(0.1)
    shop.cleaner.cancel(batch_id)
    shop.server.answer = fast
    result = shop.finish(tmp_path / "cleaned.csv")
    assert [batch.status for batch in result.batches] == ["cancelled", "completed"]
    assert result.batches[1].total < shop.rows


def test_expired_batch_is_harvested_and_the_rest_asked_again(shop: Shop, tmp_path: Path) -> None:
    """The shortest window that aibrix knows is a minute; some requests hang for longer."""
    shop.proxy.faults.append(
        Fault("POST", "/v1/batches", ask=lambda body: {**body, "completion_window": "1m"})
    )
    over = threading.Event()

    def some_hang(request: Json) -> Json:
        if shop.server.chats > shop.rows // 2:
            over.wait(120)
        return fast(request)

    shop.server.answer = some_hang
    shop.cleaner.upload(shop.cleaner.run())
    try:
        while shop.cleaner.status().batches[0].status != "expired":
            time.sleep(0.5)
    finally:
        over.set()
    shop.server.answer = fast
    result = shop.finish(tmp_path / "cleaned.csv")
    assert [batch.status for batch in result.batches] == ["expired", "completed"]
    assert result.batches[1].total < shop.rows
