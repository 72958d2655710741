"""The whole path against aibrix 0.8.0, a real Files and Batches server over a chat endpoint.

It pins old libraries, so it lives in a virtual environment of its own, made once in the user's
cache folder (needs PyPI the first time).
"""

import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cleaning.batch_server import BatchServer, Json, chat_body
from tests.cleaning.conftest import MakeCleaner

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

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


def test_whole_path(
    aibrix: str,
    server: BatchServer,
    make_cleaner: MakeCleaner,
    catalogue: Path,
    tmp_path: Path,
) -> None:
    cleaner = replace(make_cleaner(base_url=aibrix, poll_seconds=0.5), sleep=None)
    cleaner.prepare(catalogue, catalogue.parent)
    uploaded = cleaner.upload(cleaner.run())
    assert len(uploaded.submitted) == 1
    assert cleaner.wait(cleaner.run(), timeout=300).finished
    done = cleaner.finalize(cleaner.run(), tmp_path / "cleaned.csv")
    assert (done.cleaned, done.failed, done.pending) == (6, 0, 0)
    assert server.chats == 6


def test_bad_answers_are_asked_again(
    aibrix: str,
    server: BatchServer,
    make_cleaner: MakeCleaner,
    catalogue: Path,
    tmp_path: Path,
) -> None:
    def first_round_broken(request: Json) -> Json:
        if server.chats <= 6:
            return {"status_code": 200, "body": chat_body("not JSON")}
        return server.clean(request)

    server.answer = first_round_broken
    cleaner = replace(make_cleaner(base_url=aibrix, poll_seconds=0.5), sleep=None)
    cleaner.prepare(catalogue, catalogue.parent)
    cleaner.upload(cleaner.run())
    result = cleaner.wait(cleaner.run(), timeout=300)
    assert (result.finished, result.counts.answered) == (True, 6)
    assert [batch.status for batch in result.batches] == ["completed", "completed"]


def test_cancelled_batch_is_harvested_and_the_rest_asked_again(
    aibrix: str,
    server: BatchServer,
    make_cleaner: MakeCleaner,
    catalogue: Path,
    tmp_path: Path,
) -> None:
    def slow(request: Json) -> Json:
        time.sleep(0.5)
        return server.clean(request)

    server.answer = slow
    cleaner = replace(make_cleaner(base_url=aibrix, poll_seconds=0.5), sleep=None)
    cleaner.prepare(catalogue, catalogue.parent)
    [batch_id] = cleaner.upload(cleaner.run()).submitted
    cleaner.cancel(batch_id)
    server.answer = server.clean
    assert cleaner.wait(cleaner.run(), timeout=300).finished
    done = cleaner.finalize(cleaner.run(), tmp_path / "cleaned.csv")
    assert (done.cleaned, done.pending) == (6, 0)
