"""Backend ``endpoint``: furnclip runs the requests of a batch at a chat server itself."""

import itertools
from pathlib import Path

import pytest

from furnclip.cleaning.backends import TERMINAL
from furnclip.errors import ConfigError, RemoteError
from tests.cleaning.batch_server import BatchServer, Json
from tests.cleaning.conftest import MakeCleaner
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
