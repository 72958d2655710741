"""Backend ``endpoint``: furnclip runs the requests of a batch at a chat server itself."""

import csv
import itertools
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from furnclip.cleaning.backends import TERMINAL
from furnclip.errors import ConfigError, RemoteError
from tests.cleaning.batch_server import BatchServer, Json, chat_body
from tests.cleaning.conftest import MakeCleaner, write_rows
from tests.cleaning.fault_proxy import Fault, FaultProxy


def test_every_row_is_answered_at_the_chat_server(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path, tmp_path: Path
) -> None:
    cleaner = make_cleaner(backend="endpoint", model="local-vlm", concurrency=3)
    cleaner.prepare(catalogue, catalogue.parent)
    cleaner.upload(cleaner.run())
    done = cleaner.finalize(cleaner.run(), tmp_path / "cleaned.csv")
    assert (done.cleaned, server.chats, server.batches) == (6, 6, {})


def test_failing_requests_are_retried_or_reported(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path, tmp_path: Path
) -> None:
    count = itertools.count()

    def flaky(request: Json) -> Json:
        if "bench" in str(request["body"]["messages"][1]["content"][0]):
            return {"status_code": 400, "body": {"error": {"message": "cannot see it"}}}
        if next(count) == 1:
            return {"status_code": 200, "body": {"choices": []}}
        return server.clean(request)

    server.answer = flaky
    cleaner = make_cleaner(backend="endpoint", concurrency=2)
    cleaner.prepare(catalogue, catalogue.parent)
    cleaner.upload(cleaner.run())
    assert cleaner.wait(cleaner.run()).finished
    done = cleaner.finalize(cleaner.run(), tmp_path / "cleaned.csv")
    assert (done.cleaned, done.failed, done.pending) == (5, 1, 0)
    assert "cannot see it" in (tmp_path / "cleaned.csv").read_text("utf-8")


def test_server_that_goes_away_keeps_the_answers_and_resumes(
    make_cleaner: MakeCleaner,
    server: BatchServer,
    proxy: FaultProxy,
    catalogue: Path,
    tmp_path: Path,
) -> None:
    cleaner = make_cleaner(backend="endpoint", concurrency=1)
    cleaner.prepare(catalogue, catalogue.parent)
    answered = itertools.count(1)

    def dies_after_three(request: Json) -> Json:
        if next(answered) == 3:
            proxy.faults.append(Fault("POST", "/v1/chat/completions", times=100, drop=True))
        return server.clean(request)

    server.answer = dies_after_three
    with pytest.raises(RemoteError, match="does not answer"):
        cleaner.upload(cleaner.run())
    [batch] = cleaner.status().batches
    assert batch.completed == 3
    assert batch.status not in TERMINAL
    proxy.faults.clear()
    server.answer, server.chats = server.clean, 0
    assert cleaner.wait(cleaner.run()).finished
    assert server.chats == 3
    assert cleaner.finalize(cleaner.run(), tmp_path / "cleaned.csv").cleaned == 6


def test_line_cut_by_a_crash_is_asked_again(
    make_cleaner: MakeCleaner,
    server: BatchServer,
    proxy: FaultProxy,
    catalogue: Path,
    tmp_path: Path,
) -> None:
    cleaner = make_cleaner(backend="endpoint", concurrency=1)
    cleaner.prepare(catalogue, catalogue.parent)
    proxy.faults.append(Fault("POST", "/v1/chat/completions", times=100, drop=True))
    with pytest.raises(RemoteError):
        cleaner.upload(cleaner.run())
    [partial] = (tmp_path / "batches" / "local").glob("*.part")
    partial.write_bytes(b'{"custom_id": "fc-cut')
    proxy.faults.clear()
    server.chats = 0
    assert cleaner.wait(cleaner.run()).finished
    assert server.chats == 6


def test_cancelled_batch_keeps_its_answers(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path, tmp_path: Path
) -> None:
    cleaner = make_cleaner(backend="endpoint", concurrency=1)
    cleaner.prepare(catalogue, catalogue.parent)
    seen = itertools.count(1)

    def cancels_at_two(request: Json) -> Json:
        if next(seen) == 2:
            cleaner.cancel(cleaner.status(ask=False).batches[0].batch_id)
        return server.clean(request)

    server.answer = cancels_at_two
    cleaner.upload(cleaner.run())
    done = cleaner.finalize(cleaner.run(), tmp_path / "cleaned.csv", allow_partial=True)
    assert (done.cleaned, done.pending) == (2, 4)
    assert cleaner.wait(cleaner.run()).finished
    assert server.chats == 6


def test_endpoint_without_address_says_how_to_give_one(
    make_cleaner: MakeCleaner, catalogue: Path
) -> None:
    cleaner = make_cleaner(backend="endpoint", base_url=None)
    cleaner.prepare(catalogue, catalogue.parent)
    with pytest.raises(ConfigError, match="address of a chat server"):
        cleaner.upload(cleaner.run())


@pytest.mark.parametrize(
    ("status", "message"), [(401, "does not accept the API key"), (404, "answers 404")]
)
def test_what_would_fail_every_row_stops_at_once_and_fails_none(
    status: int, message: str, make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path
) -> None:
    body = {"error": {"message": "no such model"}}
    server.answer = lambda request: {"status_code": status, "body": body}
    cleaner = make_cleaner(backend="endpoint", concurrency=2)
    cleaner.prepare(catalogue, catalogue.parent)
    with pytest.raises(RemoteError, match=message):
        cleaner.upload(cleaner.run())
    assert server.chats <= 2
    server.answer = server.clean
    assert cleaner.wait(cleaner.run()).counts.answered == 6


def test_answers_under_way_are_kept_when_another_request_fails(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path
) -> None:
    together = threading.Barrier(3)

    def one_of_three_fails(request: Json) -> Json:
        together.wait(10)
        if "bench" in str(request["body"]["messages"][1]["content"][0]):
            return {"status_code": 401, "body": {"error": {"message": "expired"}}}
        return server.clean(request)

    server.answer = one_of_three_fails
    cleaner = make_cleaner(backend="endpoint", concurrency=3)
    cleaner.prepare(catalogue, catalogue.parent)
    with pytest.raises(RemoteError, match="does not accept"):
        cleaner.upload(cleaner.run())
    assert cleaner.status().batches[0].completed == 5


@pytest.mark.slow
def test_flaky_server_and_kill_leave_every_row_answered_or_reported(
    server: BatchServer, catalogue: Path, tmp_path: Path
) -> None:
    """A process is killed among 200 requests of which one in twenty fails; another finishes."""
    server.open_chat = True
    draw = random.Random(0)
    third = threading.Event()

    def flaky(request: Json) -> Json:
        if server.chats == 70:
            third.set()
        if "hopeless" in str(request["body"]["messages"][1]["content"][0]):
            return {"status_code": 400, "body": {"error": {"message": "cannot see it"}}}
        if draw.random() < 0.05:
            overloaded = {"status_code": 500, "body": {"error": {"message": "overloaded"}}}
            return draw.choice([overloaded, {"status_code": 200, "body": chat_body("half a")}])
        return {"status_code": 200, "body": chat_body('{"clean_title": "Chair"}')}

    server.answer = flaky
    hopeless = {7, 42, 150}
    rows = [
        (f"P{n}", f"Chair {n}{' hopeless' * (n in hopeless)}", f"images/{n % 6 + 1}.png", "")
        for n in range(200)
    ]
    write_rows(catalogue, rows)
    environment = {**os.environ, "FURNCLIP_CLEANING__CONCURRENCY": "4"}

    def start(*words: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "furnclip", "clean", *words]
        return subprocess.Popen(command, cwd=tmp_path, env=environment)

    prepare = ("prepare", str(catalogue), "--images", str(catalogue.parent))
    options = ("--backend", "endpoint", "--base-url", server.url, "--model", "local-vlm")
    assert start(*prepare, *options).wait() == 0
    with start("upload") as process:
        assert third.wait(60)
        process.kill()
    assert process.returncode == -9
    before = server.chats
    assert start("wait").wait() == 0
    assert start("finalize").wait() == 0
    with (tmp_path / "data/processed/cleaned.csv").open(encoding="utf-8") as file:
        cleaned = list(csv.DictReader(file))
    assert [row["product_id"] for row in cleaned] == [f"P{n}" for n in range(200)]
    failed = {n for n, row in enumerate(cleaned) if row["clean_status"] != "ok"}
    assert failed == hopeless
    assert all(bool(row["clean_title"]) != bool(row["clean_error"]) for row in cleaned)
    # what was answered before the kill is not asked again: only retries and those under way are
    assert server.chats - before < 200 - before + 4 + 30
