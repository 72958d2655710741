"""Every fault of the Batch API that we know of, injected over real HTTP.

Each test checks what counts: every row accounted for, batches created, requests paid for.
"""

import csv
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from furnclip.cleaning import locking, submit
from furnclip.cleaning.api_client import BatchAPIClient
from furnclip.cleaning.backends import Backend, RemoteBatch
from furnclip.cleaning.service import Cleaner
from furnclip.errors import DataError, RemoteError, UsageError
from furnclip.state.cleaning_parts import list_batches
from furnclip.state.cleaning_results import anomalies
from tests.cleaning.batch_server import (
    KEY,
    BatchServer,
    Json,
    ServerBatch,
    chat_body,
    complete,
)
from tests.cleaning.conftest import MakeCleaner
from tests.cleaning.fault_proxy import Fault, FaultProxy

ROWS = 6


class Killed(BaseException):
    """Stands for kill -9: nothing of ours may catch it."""


class DyingClient(BatchAPIClient):
    """A real client whose process dies before or after a call."""

    def __init__(self, url: str, *, before: str = "", after: str = "") -> None:
        super().__init__(KEY, url)
        self._before, self._after = before, after

    def upload(self, path: Path, name: str) -> str:
        made = super().upload(path, name)
        self._die("upload")
        return made

    def create(self, file_id: str, metadata: dict[str, str]) -> RemoteBatch:
        if self._before == "create":
            raise Killed
        made = super().create(file_id, metadata)
        self._die("create")
        return made

    def _die(self, call: str) -> None:
        if self._after == call:
            raise Killed


@dataclass(frozen=True)
class DyingCleaner(Cleaner):
    dying: DyingClient | None = None

    def backend(self, name: str, base_url: str | None = None, *, quick: bool = False) -> Backend:
        assert self.dying is not None
        return self.dying


def killed(cleaner: Cleaner, server: BatchServer, **where: str) -> None:
    """Upload with a process that dies on the way."""
    dying = DyingCleaner(
        cleaner.store, cleaner.settings, cleaner.batches_dir, KEY, cleaner.sleep,
        DyingClient(server.url, **where),
    )  # fmt: skip
    with pytest.raises(Killed):
        dying.upload(cleaner.run())


def prepared(cleaner: Cleaner, catalogue: Path) -> Cleaner:
    assert cleaner.prepare(catalogue, catalogue.parent).requests == ROWS
    return cleaner


def finish(cleaner: Cleaner, tmp_path: Path) -> list[dict[str, str]]:
    """Wait, finalize, and return the cleaned rows; every input row must be there, in order."""
    result = cleaner.wait(cleaner.run())
    assert result.finished
    cleaner.finalize(cleaner.run(), tmp_path / "cleaned.csv")
    with (tmp_path / "cleaned.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["product_id"] for row in rows] == [f"P{n}" for n in range(1, ROWS + 1)]
    return rows


def statuses(rows: list[dict[str, str]]) -> Counter[str]:
    return Counter(row["clean_status"] for row in rows)


def paid(server: BatchServer) -> int:
    return len(server.executed)


def test_undisturbed_run_asks_every_row_once(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path, tmp_path: Path
) -> None:
    cleaner = prepared(make_cleaner(), catalogue)
    cleaner.upload(cleaner.run())
    rows = finish(cleaner, tmp_path)
    assert statuses(rows) == {"ok": ROWS}
    assert rows[0]["object_type"] == "Coffee table"
    assert (len(server.batches), paid(server)) == (1, ROWS)
    [batch] = list_batches(cleaner.store)
    # 900 prompt and 60 answer tokens a row at gpt-6-luna's batch prices
    assert batch.usd == pytest.approx(ROWS * (900 * 0.05e-6 + 60 * 0.25e-6))


def test_kill_before_the_call_creates_one_batch(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path, tmp_path: Path
) -> None:
    cleaner = prepared(make_cleaner(), catalogue)
    killed(cleaner, server, before="create")
    assert statuses(finish(cleaner, tmp_path)) == {"ok": ROWS}
    assert (len(server.files) - len(server.batches), len(server.batches)) == (1, 1)


def test_kill_between_upload_and_create_reuses_the_file(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path, tmp_path: Path
) -> None:
    cleaner = prepared(make_cleaner(), catalogue)
    killed(cleaner, server, after="upload")
    cleaner.upload(cleaner.run())
    assert len(server.files) == 1
    assert statuses(finish(cleaner, tmp_path)) == {"ok": ROWS}
    assert len(server.batches) == 1


def test_kill_after_create_adopts_the_batch(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path, tmp_path: Path
) -> None:
    cleaner = prepared(make_cleaner(), catalogue)
    killed(cleaner, server, after="create")
    assert statuses(finish(cleaner, tmp_path)) == {"ok": ROWS}
    assert (len(server.batches), paid(server)) == (1, ROWS)


def test_batch_without_metadata_is_adopted_by_its_input_file(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path, tmp_path: Path
) -> None:
    server.keep_metadata = False
    cleaner = prepared(make_cleaner(), catalogue)
    killed(cleaner, server, after="create")
    assert statuses(finish(cleaner, tmp_path)) == {"ok": ROWS}
    assert len(server.batches) == 1


def test_lost_answer_on_create_is_reconciled(
    make_cleaner: MakeCleaner,
    server: BatchServer,
    proxy: FaultProxy,
    catalogue: Path,
    tmp_path: Path,
) -> None:
    proxy.faults.append(Fault("POST", "/v1/batches", drop=True))
    cleaner = prepared(make_cleaner(), catalogue)
    cleaner.upload(cleaner.run())
    assert statuses(finish(cleaner, tmp_path)) == {"ok": ROWS}
    assert (len(server.batches), paid(server)) == (1, ROWS)


@pytest.mark.parametrize("status", [500, 503])
def test_server_error_on_create_is_never_repeated_by_the_sdk(
    status: int,
    make_cleaner: MakeCleaner,
    server: BatchServer,
    proxy: FaultProxy,
    catalogue: Path,
    tmp_path: Path,
) -> None:
    proxy.faults.append(Fault("POST", "/v1/batches", status=status))
    cleaner = prepared(make_cleaner(), catalogue)
    cleaner.upload(cleaner.run())
    assert statuses(finish(cleaner, tmp_path)) == {"ok": ROWS}
    assert len(server.batches) == 1


def test_absent_batch_is_created_again_only_after_two_listings(
    make_cleaner: MakeCleaner, server: BatchServer, proxy: FaultProxy, catalogue: Path
) -> None:
    waits: list[float] = []
    proxy.faults.append(Fault("POST", "/v1/batches", status=500))
    cleaner = prepared(make_cleaner(reconcile_seconds=60.0), catalogue)
    patient = Cleaner(cleaner.store, cleaner.settings, cleaner.batches_dir, KEY, sleep=waits.append)
    patient.upload(cleaner.run())
    assert waits == [60.0]
    assert len(server.batches) == 1


def test_fresh_file_unknown_for_a_moment_is_not_uploaded_again(
    make_cleaner: MakeCleaner,
    server: BatchServer,
    proxy: FaultProxy,
    catalogue: Path,
    tmp_path: Path,
) -> None:
    message = {"error": {"message": "Cannot find file file-1"}}
    proxy.faults.append(Fault("POST", "/v1/batches", times=2, status=404, body=message))
    cleaner = prepared(make_cleaner(), catalogue)
    cleaner.upload(cleaner.run())
    assert len(server.files) == 1
    assert statuses(finish(cleaner, tmp_path)) == {"ok": ROWS}


def test_full_queue_leaves_the_part_waiting_and_costs_no_attempt(
    make_cleaner: MakeCleaner,
    server: BatchServer,
    proxy: FaultProxy,
    catalogue: Path,
    tmp_path: Path,
) -> None:
    body = {"error": {"message": "enqueued token limit", "code": "token_limit_exceeded"}}
    proxy.faults.append(Fault("POST", "/v1/batches", times=2, status=429, body=body))
    cleaner = prepared(make_cleaner(max_attempts=1), catalogue)
    result = cleaner.upload(cleaner.run())
    assert (result.submitted, result.waiting) == ((), 1)
    assert statuses(finish(cleaner, tmp_path)) == {"ok": ROWS}
    assert (len(server.batches), paid(server)) == (1, ROWS)


def test_token_limit_found_later_submits_the_same_file_again(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path, tmp_path: Path
) -> None:
    def too_full(batch: ServerBatch) -> None:
        batch.status = "failed"
        batch.errors = [{"code": "token_limit_exceeded", "message": "queue full", "line": None}]

    server.scripts.append([too_full])
    cleaner = prepared(make_cleaner(max_attempts=1), catalogue)
    cleaner.upload(cleaner.run())
    assert statuses(finish(cleaner, tmp_path)) == {"ok": ROWS}
    assert len({batch.input_file_id for batch in server.batches.values()}) == 1
    assert paid(server) == ROWS


def test_failed_validation_quarantines_only_the_named_lines(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path, tmp_path: Path
) -> None:
    def invalid(batch: ServerBatch) -> None:
        batch.status = "failed"
        batch.errors = [{"code": "invalid_json_line", "message": "not valid", "line": 2}]

    server.scripts.append([invalid])
    cleaner = prepared(make_cleaner(), catalogue)
    cleaner.upload(cleaner.run())
    rows = finish(cleaner, tmp_path)
    assert statuses(rows) == {"ok": ROWS - 1, "failed": 1}
    assert "invalid_json_line" in rows[1]["clean_error"]
    assert paid(server) == ROWS - 1


@pytest.mark.parametrize("status", ["expired", "cancelled"])
def test_partial_batch_keeps_what_it_finished_and_asks_the_rest(
    status: str, make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path, tmp_path: Path
) -> None:
    def half(batch: ServerBatch) -> None:
        requests = batch.requests()
        good, _ = batch.execute(requests[:3])
        error = {"code": f"batch_{status}", "message": "not executed in time"}
        bad = [
            {"id": "x", "custom_id": r["custom_id"], "response": None, "error": error}
            for r in requests[3:5]
        ]
        batch.finish(status, good, bad)

    server.scripts.append([half])
    cleaner = prepared(make_cleaner(), catalogue)
    cleaner.upload(cleaner.run())
    assert statuses(finish(cleaner, tmp_path)) == {"ok": ROWS}
    assert (len(server.batches), paid(server)) == (2, ROWS)


def test_lagging_output_file_is_waited_for(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path, tmp_path: Path
) -> None:
    hidden: list[str | None] = []

    def without_file(batch: ServerBatch) -> None:
        complete(batch)
        hidden.append(batch.output_file_id)
        batch.output_file_id = None

    def file_appears(batch: ServerBatch) -> None:
        batch.output_file_id = hidden[0]

    server.scripts.append([without_file, file_appears])
    cleaner = prepared(make_cleaner(), catalogue)
    cleaner.upload(cleaner.run())
    assert statuses(finish(cleaner, tmp_path)) == {"ok": ROWS}
    assert (len(server.batches), paid(server)) == (1, ROWS)


def test_completed_with_errors_only_gives_every_row_its_reason(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path, tmp_path: Path
) -> None:
    refused = {"status_code": 400, "body": {"error": {"message": "image too strange"}}}
    server.answer = lambda request: refused
    cleaner = prepared(make_cleaner(), catalogue)
    cleaner.upload(cleaner.run())
    rows = finish(cleaner, tmp_path)
    assert statuses(rows) == {"failed": ROWS}
    assert all("image too strange" in row["clean_error"] for row in rows)
    assert len(server.batches) == 1


def test_missing_lines_are_asked_again_whatever_the_counts_say(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path, tmp_path: Path
) -> None:
    def lying(batch: ServerBatch) -> None:
        good, bad = batch.execute(batch.requests()[:4])
        batch.finish("completed", good, bad)
        batch.counts = {"total": ROWS, "completed": ROWS, "failed": 0}

    server.scripts.append([lying])
    cleaner = prepared(make_cleaner(), catalogue)
    cleaner.upload(cleaner.run())
    assert statuses(finish(cleaner, tmp_path)) == {"ok": ROWS}
    assert paid(server) == ROWS


def test_duplicate_and_unknown_ids_become_anomalies(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path, tmp_path: Path
) -> None:
    def doubled(batch: ServerBatch) -> None:
        good, bad = batch.execute(batch.requests())
        other = {"status_code": 200, "body": chat_body('{"clean_title": "Another answer"}')}
        again = {**good[0], "response": other}
        batch.finish("completed", [*good, again, {**again, "custom_id": "who?"}], bad)

    server.scripts.append([doubled])
    cleaner = prepared(make_cleaner(), catalogue)
    cleaner.upload(cleaner.run())
    rows = finish(cleaner, tmp_path)
    assert statuses(rows) == {"ok": ROWS}
    assert rows[0]["clean_title"] == "Modern Oak Coffee Table"
    kinds = Counter(kind for _, kind, _ in anomalies(cleaner.store, "batch_1"))
    assert kinds == {"duplicate_id": 1, "unknown_id": 1}


OK = '{"clean_title": "Chair", "style": null, "material": null, "color": null, "object_type": null}'


@pytest.mark.parametrize(
    ("first", "second_try"),
    [
        ({"status_code": 200, "body": chat_body('{"clean_title": ')}, True),
        ({"status_code": 200, "body": chat_body('{"clean_title": 5}')}, True),
        ({"status_code": 200, "body": chat_body("")}, True),
        ({"status_code": 200, "body": chat_body('{"cl', finish_reason="length")}, True),
        ({"status_code": 429, "body": {"error": {"message": "slow down"}}}, True),
        ({"status_code": 500, "body": {"error": {"message": "oops"}}}, True),
        ({"status_code": 200, "body": {"surprise": 1}}, True),
        ({"status_code": 200, "body": chat_body(None, refusal="I will not")}, False),
        ({"status_code": 400, "body": {"error": {"message": "bad image"}}}, False),
    ],
    ids=["json", "fields", "empty", "length", "429", "500", "shape", "refusal", "400"],
)
def test_bad_answer_of_one_row_is_retried_or_final(
    first: Json,
    *,
    second_try: bool,
    make_cleaner: MakeCleaner,
    server: BatchServer,
    catalogue: Path,
    tmp_path: Path,
) -> None:
    asked: list[Json] = []

    def answer(request: Json) -> Json:
        if "bench" not in str(request["body"]["messages"][1]["content"][0]):
            return server.clean(request)
        asked.append(request["body"])
        return first if len(asked) == 1 else {"status_code": 200, "body": chat_body(OK)}

    server.answer = answer
    cleaner = prepared(make_cleaner(), catalogue)
    cleaner.upload(cleaner.run())
    rows = finish(cleaner, tmp_path)
    assert rows[5]["clean_status"] == ("ok" if second_try else "failed")
    assert paid(server) == ROWS + second_try
    caps = [body["max_completion_tokens"] for body in asked]
    doubled = "finish_reason" in str(first) and "length" in str(first)
    assert caps == ([512, 1024] if doubled else [512] * (1 + second_try))


def test_row_that_never_succeeds_fails_after_the_last_attempt(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path, tmp_path: Path
) -> None:
    oops: Json = {"status_code": 500, "body": {"error": {"message": "oops"}}}
    server.answer = lambda request: oops
    cleaner = prepared(make_cleaner(max_attempts=2), catalogue)
    cleaner.upload(cleaner.run())
    assert statuses(finish(cleaner, tmp_path)) == {"failed": ROWS}
    assert paid(server) == 2 * ROWS
    server.answer = server.clean
    assert cleaner.retry(cleaner.run()) == ROWS
    assert statuses(finish(cleaner, tmp_path)) == {"ok": ROWS}


def test_cut_download_is_fetched_again(
    make_cleaner: MakeCleaner,
    server: BatchServer,
    proxy: FaultProxy,
    catalogue: Path,
    tmp_path: Path,
) -> None:
    proxy.faults.append(Fault("GET", "/v1/files/file-2/content", cut=True))
    cleaner = prepared(make_cleaner(), catalogue)
    cleaner.upload(cleaner.run())
    assert statuses(finish(cleaner, tmp_path)) == {"ok": ROWS}
    assert paid(server) == ROWS


def test_batch_the_server_does_not_know_is_orphaned_and_not_resubmitted(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path, tmp_path: Path
) -> None:
    cleaner = prepared(make_cleaner(), catalogue)
    cleaner.upload(cleaner.run())
    lost = server.batches.pop("batch_1")
    assert not cleaner.wait(cleaner.run()).finished
    assert [b.status for b in cleaner.status().batches] == ["orphaned"]
    assert (server.batches, lost.status) == ({}, "validating")
    with pytest.raises(DataError, match="6 of 6 rows have no answer"):
        cleaner.finalize(cleaner.run(), tmp_path / "cleaned.csv")


def test_unknown_status_is_waited_for(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path, tmp_path: Path
) -> None:
    def scheduling(batch: ServerBatch) -> None:
        batch.status = "scheduling"

    server.scripts.append([scheduling, scheduling, complete])
    cleaner = prepared(make_cleaner(), catalogue)
    cleaner.upload(cleaner.run())
    assert statuses(finish(cleaner, tmp_path)) == {"ok": ROWS}
    assert len(server.batches) == 1


def test_unusable_photo_is_reported_and_the_others_proceed(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path, tmp_path: Path
) -> None:
    (catalogue.parent / "images" / "2.png").unlink()
    (catalogue.parent / "images" / "3.png").write_bytes(b"not an image")
    cleaner = make_cleaner()
    assert cleaner.prepare(catalogue, catalogue.parent).rejected == 2
    cleaner.upload(cleaner.run())
    rows = finish(cleaner, tmp_path)
    assert statuses(rows) == {"ok": ROWS - 2, "image_error": 2}
    assert rows[1]["clean_error"].startswith("missing: ")
    assert paid(server) == ROWS - 2


def test_refused_key_stops_with_a_remote_error_and_does_not_show_the_key(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path
) -> None:
    cleaner = prepared(make_cleaner(), catalogue)
    wrong = Cleaner(cleaner.store, cleaner.settings, cleaner.batches_dir, "sk-wrong-secret")
    with pytest.raises(RemoteError, match="does not accept the API key") as raised:
        wrong.upload(wrong.run())
    assert "sk-wrong-secret" not in str(raised.value)
    assert server.batches == {}


def test_unreachable_server_stops_at_once_and_nothing_is_lost(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path, tmp_path: Path
) -> None:
    cleaner = prepared(make_cleaner(), catalogue)
    away = make_cleaner(base_url="http://127.0.0.1:9/v1")
    with pytest.raises(RemoteError, match="cannot reach"):
        away.upload(away.run())
    assert statuses(finish(cleaner, tmp_path)) == {"ok": ROWS}
    assert len(server.batches) == 1


def test_finalize_with_open_rows_needs_allow_partial(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path, tmp_path: Path
) -> None:
    cleaner = prepared(make_cleaner(), catalogue)
    with pytest.raises(DataError, match="no answer yet"):
        cleaner.finalize(cleaner.run(), tmp_path / "cleaned.csv")
    done = cleaner.finalize(cleaner.run(), tmp_path / "cleaned.csv", allow_partial=True)
    assert (done.pending, done.cleaned) == (ROWS, 0)


def test_key_is_nowhere_on_disk(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path, tmp_path: Path
) -> None:
    cleaner = prepared(make_cleaner(), catalogue)
    cleaner.upload(cleaner.run())
    finish(cleaner, tmp_path)
    found: list[Any] = [
        path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()
    ]
    assert found == []


def test_server_trouble_while_waiting_is_waited_out(
    make_cleaner: MakeCleaner,
    server: BatchServer,
    proxy: FaultProxy,
    catalogue: Path,
    tmp_path: Path,
) -> None:
    cleaner = prepared(make_cleaner(), catalogue)
    cleaner.upload(cleaner.run())
    # three calls: the SDK itself tries a GET three times
    proxy.faults.append(Fault("GET", "/v1/batches/batch_1", times=3, status=503))
    assert statuses(finish(cleaner, tmp_path)) == {"ok": ROWS}


def test_orphaned_rows_are_asked_again_only_when_told_to(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path, tmp_path: Path
) -> None:
    cleaner = prepared(make_cleaner(), catalogue)
    cleaner.upload(cleaner.run())
    server.batches.clear()
    assert not cleaner.wait(cleaner.run()).finished
    assert cleaner.retry(cleaner.run()) == ROWS
    assert statuses(finish(cleaner, tmp_path)) == {"ok": ROWS}
    assert len(server.batches) == 1


def test_window_lets_one_part_in_at_a_time(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path, tmp_path: Path
) -> None:
    cleaner = make_cleaner(max_requests_per_part=2, max_enqueued_tokens=2500)
    assert prepared(cleaner, catalogue).estimate(cleaner.run()) is not None
    result = cleaner.upload(cleaner.run())
    assert (len(result.submitted), result.waiting) == (1, 2)
    assert statuses(finish(cleaner, tmp_path)) == {"ok": ROWS}
    assert (len(server.batches), paid(server)) == (3, ROWS)


def test_two_cleaners_on_one_run_submit_it_once(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path, tmp_path: Path
) -> None:
    cleaner = prepared(make_cleaner(), catalogue)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: cleaner.upload(cleaner.run()), range(2)))
    assert statuses(finish(cleaner, tmp_path)) == {"ok": ROWS}
    assert (len(server.batches), paid(server)) == (1, ROWS)


def test_recording_the_intent_after_the_call_would_pay_twice(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The control: with the protocol broken, the fault of the test above costs money."""
    monkeypatch.setattr(submit, "begin_attempt", lambda store, part, attempt: None)
    cleaner = prepared(make_cleaner(), catalogue)
    killed(cleaner, server, after="create")
    cleaner.upload(cleaner.run())
    assert len(server.batches) == 2


def test_answer_that_comes_after_the_timeout_is_found_by_the_second_listing(
    make_cleaner: MakeCleaner,
    server: BatchServer,
    proxy: FaultProxy,
    catalogue: Path,
    tmp_path: Path,
) -> None:
    class Impatient(Cleaner):
        def backend(
            self, name: str, base_url: str | None = None, *, quick: bool = False
        ) -> Backend:
            return BatchAPIClient(KEY, proxy.url, timeout=0.3)

    proxy.faults.append(Fault("POST", "/v1/batches", delay=1.0))
    cleaner = prepared(make_cleaner(reconcile_seconds=1.5), catalogue)
    hasty = Impatient(cleaner.store, cleaner.settings, cleaner.batches_dir, KEY)
    hasty.upload(hasty.run())
    assert statuses(finish(cleaner, tmp_path)) == {"ok": ROWS}
    assert (len(server.batches), paid(server)) == (1, ROWS)


def test_clock_that_is_hours_wrong_does_not_hide_the_batch(
    make_cleaner: MakeCleaner,
    server: BatchServer,
    proxy: FaultProxy,
    catalogue: Path,
    tmp_path: Path,
) -> None:
    def earlier(listing: Json) -> Json:
        for batch in listing["data"]:
            batch["created_at"] -= 14 * 3600
        return listing

    proxy.faults.append(Fault("POST", "/v1/batches", drop=True))
    proxy.faults.append(Fault("GET", "/v1/batches", times=9, rewrite=earlier))
    cleaner = prepared(make_cleaner(), catalogue)
    cleaner.upload(cleaner.run())
    assert statuses(finish(cleaner, tmp_path)) == {"ok": ROWS}
    assert (len(server.batches), paid(server)) == (1, ROWS)


def test_part_larger_than_the_queue_is_split_as_the_refusal_says(
    make_cleaner: MakeCleaner,
    server: BatchServer,
    proxy: FaultProxy,
    catalogue: Path,
    tmp_path: Path,
) -> None:
    # about 940 prompt tokens a row: two rows at once are within 80% of the limit
    message = "Enqueued token limit reached for m. Limit: 2,600 enqueued tokens. Try again later."
    body = {"error": {"message": message, "code": "token_limit_exceeded"}}
    proxy.faults.append(Fault("POST", "/v1/batches", status=429, body=body))
    cleaner = prepared(make_cleaner(max_attempts=1), catalogue)
    assert cleaner.upload(cleaner.run()).submitted == ()
    result = cleaner.upload(cleaner.run())
    assert (len(result.submitted), result.waiting) == (1, 2)
    assert statuses(finish(cleaner, tmp_path)) == {"ok": ROWS}
    sizes = [batch.counts["total"] for batch in server.batches.values()]
    assert (sizes, paid(server)) == ([2, 2, 2], ROWS)


def test_batch_that_is_ours_already_is_not_adopted_again(
    make_cleaner: MakeCleaner,
    server: BatchServer,
    proxy: FaultProxy,
    catalogue: Path,
    tmp_path: Path,
) -> None:
    """Without metadata only the input file tells, and a refused batch had the same one."""

    def too_full(batch: ServerBatch) -> None:
        batch.status = "failed"
        batch.errors = [{"code": "token_limit_exceeded", "message": "queue full", "line": None}]

    server.keep_metadata = False
    server.scripts.append([too_full])
    cleaner = prepared(make_cleaner(), catalogue)
    cleaner.upload(cleaner.run())
    cleaner.collect(cleaner.run())
    proxy.faults.append(Fault("POST", "/v1/batches", drop=True))
    cleaner.upload(cleaner.run())
    assert [batch.batch_id for batch in cleaner.status(ask=False).batches] == ["batch_1", "batch_2"]
    assert statuses(finish(cleaner, tmp_path)) == {"ok": ROWS}
    assert (len(server.batches), paid(server)) == (2, ROWS)


def test_orphaned_batch_comes_back_with_the_right_key(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path, tmp_path: Path
) -> None:
    cleaner = prepared(make_cleaner(), catalogue)
    cleaner.upload(cleaner.run())
    hidden = server.batches.copy()
    server.batches.clear()
    assert not cleaner.wait(cleaner.run()).finished
    server.batches.update(hidden)
    assert statuses(finish(cleaner, tmp_path)) == {"ok": ROWS}
    assert (len(server.batches), paid(server)) == (1, ROWS)


def test_results_that_are_gone_leave_the_rows_open_and_the_other_batches_alone(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path, tmp_path: Path
) -> None:
    cleaner = prepared(make_cleaner(max_requests_per_part=3), catalogue)

    def vanished(batch: ServerBatch) -> None:
        complete(batch)
        batch.output_file_id = "file-gone"

    server.scripts.append([vanished])
    cleaner.upload(cleaner.run())
    result = cleaner.wait(cleaner.run())
    assert (result.finished, result.counts.answered, result.counts.pending) == (False, 3, 3)
    assert (len(server.batches), paid(server)) == (2, ROWS)
    cleaner.retry(cleaner.run())
    assert statuses(finish(cleaner, tmp_path)) == {"ok": ROWS}


def test_download_that_breaks_off_is_fetched_again(
    make_cleaner: MakeCleaner,
    server: BatchServer,
    proxy: FaultProxy,
    catalogue: Path,
    tmp_path: Path,
) -> None:
    proxy.faults.append(Fault("GET", "/v1/files/file-2/content", times=2, abort=True))
    cleaner = prepared(make_cleaner(), catalogue)
    cleaner.upload(cleaner.run())
    assert statuses(finish(cleaner, tmp_path)) == {"ok": ROWS}
    assert paid(server) == ROWS
    assert not list(tmp_path.rglob(".*.tmp"))


def test_trouble_with_one_batch_does_not_hide_the_answers_of_another(
    make_cleaner: MakeCleaner, proxy: FaultProxy, server: BatchServer, catalogue: Path
) -> None:
    cleaner = prepared(make_cleaner(max_requests_per_part=3), catalogue)
    cleaner.upload(cleaner.run())
    proxy.faults.append(Fault("GET", "/v1/batches/batch_1", times=9, status=500))
    with pytest.raises(RemoteError):
        cleaner.collect(cleaner.run())
    assert cleaner.counts(cleaner.run()).answered == 3


def test_waiting_goes_on_while_another_command_holds_the_lock(
    make_cleaner: MakeCleaner,
    server: BatchServer,
    catalogue: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(locking, "_WAIT_SECONDS", 0.05)
    cleaner = prepared(make_cleaner(), catalogue)
    cleaner.upload(cleaner.run())
    held = FileLock(f"{cleaner.store.path}.clean.lock", thread_local=False)
    held.acquire()
    waits = iter(range(100))

    def sleep(_seconds: float) -> None:
        if next(waits) == 2:
            held.release()

    patient = Cleaner(cleaner.store, cleaner.settings, cleaner.batches_dir, KEY, sleep=sleep)
    assert patient.wait(patient.run()).finished
    assert next(waits) >= 3


def test_budget_counts_what_was_sent_before(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path
) -> None:
    whole = prepared(make_cleaner(max_requests_per_part=3, max_enqueued_tokens=3000), catalogue)
    estimate = whole.estimate(whole.run())
    assert estimate is not None
    assert whole.upload(whole.run()).waiting == 1
    poor = make_cleaner(max_usd=estimate * 0.75)
    with pytest.raises(UsageError, match=r"after \$.* for what was sent already"):
        poor.upload(poor.run())
    assert len(server.batches) == 1
