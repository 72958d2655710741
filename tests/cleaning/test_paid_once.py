"""What a row costs: answered rows are not asked again, whatever two commands or servers do."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from furnclip.cleaning import cleaner as documented
from furnclip.cleaning import harvest
from furnclip.cleaning.api_client import BatchAPIClient
from furnclip.cleaning.local_batches import LocalBatches
from furnclip.cleaning.service import Cleaner
from furnclip.errors import RemoteError, UsageError
from furnclip.progress import SILENT
from furnclip.state.cleaning import RunRow
from furnclip.state.cleaning_parts import list_batches, parts_of_run
from tests.cleaning.batch_server import KEY, BatchServer, Json, ServerBatch, complete, jsonl
from tests.cleaning.conftest import MakeCleaner
from tests.cleaning.fault_proxy import Fault, FaultProxy

ROWS = 6


def prepared(cleaner: Cleaner, csv: Path, **options: int) -> RunRow:
    run = cleaner.prepare(csv, csv.parent, **options).run  # type: ignore[arg-type]
    return cleaner.run(run)


def queue_full(batch: ServerBatch) -> None:
    message = "Enqueued token limit reached. Limit: 2,000,000 enqueued tokens."
    batch.status = "failed"
    batch.errors = [{"code": "token_limit_exceeded", "message": message, "line": None}]


def answered_file(cleaner: Cleaner, run: RunRow, server: BatchServer, path: Path) -> list[Json]:
    [part] = parts_of_run(cleaner.store, run.run, ["ready"])
    lines = [server.line(json.loads(line)) for line in part.path.read_bytes().splitlines()]
    path.write_bytes(jsonl(lines))
    return lines


def test_one_file_uploaded_twice_at_once_is_one_batch(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleaner = make_cleaner()
    run = prepared(cleaner, catalogue)
    [part] = parts_of_run(cleaner.store, run.run, ["ready"])
    monkeypatch.setattr(documented, "_cleaner", lambda: cleaner)
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(documented.upload_batch, [part.path] * 2))
    assert made == ["batch_1", "batch_1"]
    assert len(server.batches) == 1


def test_rows_answered_by_a_file_from_elsewhere_are_not_sent(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path, tmp_path: Path
) -> None:
    cleaner = make_cleaner()
    run = prepared(cleaner, catalogue)
    lines = answered_file(cleaner, run, server, tmp_path / "made.jsonl")
    lines[0]["response"] = {"status_code": 500, "body": {"error": "overloaded"}}
    (tmp_path / "made.jsonl").write_bytes(jsonl(lines))
    assert cleaner.import_output(run, tmp_path / "made.jsonl") == ROWS - 1
    assert cleaner.wait(run).finished
    assert server.executed == [lines[0]["custom_id"]]
    assert cleaner.finalize(run, tmp_path / "cleaned.csv").cost == pytest.approx(6e-05)


def test_one_file_answers_two_runs(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path, tmp_path: Path
) -> None:
    cleaner = make_cleaner()
    whole = prepared(cleaner, catalogue)
    answered_file(cleaner, whole, server, tmp_path / "made.jsonl")
    first = prepared(cleaner, catalogue, limit=2)
    assert cleaner.import_output(first, tmp_path / "made.jsonl") == 2
    assert cleaner.import_output(whole, tmp_path / "made.jsonl") == ROWS - 2


def test_retry_leaves_what_is_on_its_way_alone(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path
) -> None:
    cleaner = make_cleaner()
    run = prepared(cleaner, catalogue)
    cleaner.upload(run)
    server.batches.clear()
    cleaner.wait(run)
    assert cleaner.retry(run) == ROWS
    cleaner.upload(run)
    assert cleaner.retry(run) == 0
    assert cleaner.wait(run).finished
    assert len(server.executed) == ROWS


@pytest.mark.parametrize("status", ["expired", "cancelled"])
def test_output_that_lags_behind_the_end_is_waited_for(
    status: str, make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path
) -> None:
    hidden: list[str | None] = []

    def ends(batch: ServerBatch) -> None:
        batch.finish(status, *batch.execute(batch.requests()))
        hidden.append(batch.output_file_id)
        batch.output_file_id = None

    def file_appears(batch: ServerBatch) -> None:
        batch.output_file_id = hidden[0]

    server.scripts.append([ends, file_appears])
    cleaner = make_cleaner()
    run = prepared(cleaner, catalogue)
    cleaner.upload(run)
    assert cleaner.wait(run).finished
    assert len(server.executed) == ROWS


@pytest.mark.parametrize("newest_first", [True, False])
def test_lost_batch_is_found_among_many_in_either_order(
    newest_first: bool,  # noqa: FBT001  a parameter of the test
    make_cleaner: MakeCleaner,
    server: BatchServer,
    proxy: FaultProxy,
    catalogue: Path,
) -> None:
    def listing(answer: Json) -> Json:
        [made] = answer["data"]
        old = [
            {**made, "id": f"old_{n}", "metadata": None, "input_file_id": "file-old",
             "created_at": made["created_at"] - 10**6 + n}
            for n in range(150)
        ]  # fmt: skip
        ordered = [*old, made]
        return {**answer, "data": ordered[::-1] if newest_first else ordered}

    proxy.faults.append(Fault("POST", "/v1/batches", drop=True))
    proxy.faults.append(Fault("GET", "/v1/batches", times=9, rewrite=listing))
    cleaner = make_cleaner()
    cleaner.upload(prepared(cleaner, catalogue))
    assert len(server.batches) == 1


def test_crash_while_a_refusal_is_written_down_loses_no_row(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise SystemExit

    server.scripts.append([queue_full])
    cleaner = make_cleaner()
    run = prepared(cleaner, catalogue)
    cleaner.upload(run)
    with monkeypatch.context() as broken:
        broken.setattr(harvest, "refuse_part", dies)
        with pytest.raises(SystemExit):
            cleaner.collect(run)
    assert cleaner.wait(run).finished
    assert len(server.executed) == ROWS


def test_refused_batch_costs_nothing(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path, tmp_path: Path
) -> None:
    server.scripts.append([queue_full])
    cleaner = make_cleaner()
    run = prepared(cleaner, catalogue)
    cleaner.upload(run)
    cleaner.wait(run)
    assert [batch.usd == 0 for batch in list_batches(cleaner.store)] == [True, False]
    assert cleaner.finalize(run, tmp_path / "cleaned.csv").cost is not None


def test_part_that_an_empty_queue_refuses_again_and_again_is_halved(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path
) -> None:
    """The provider's count of tokens may be far from ours."""

    def picky(batch: ServerBatch) -> None:
        if len(batch.requests()) > 2:
            queue_full(batch)
        else:
            complete(batch)

    server.scripts += [[picky] for _ in range(50)]
    cleaner = make_cleaner()
    run = prepared(cleaner, catalogue)
    assert cleaner.wait(run, timeout=240).finished
    assert len(server.executed) == ROWS


def test_batch_that_fails_for_lines_it_does_not_have_is_given_up(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path
) -> None:
    def blames_line_0(batch: ServerBatch) -> None:
        batch.status = "failed"
        batch.errors = [{"code": "invalid_json_line", "message": "bad", "line": 0}]

    server.scripts += [[blames_line_0] for _ in range(50)]
    cleaner = make_cleaner(max_attempts=3)
    run = prepared(cleaner, catalogue)
    cleaner.upload(run)
    result = cleaner.wait(run, timeout=240)
    assert (result.counts.failed, len(server.batches)) == (ROWS, 3)


def test_queue_filled_by_another_run_is_emptied_for_this_one(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path
) -> None:
    cleaner = make_cleaner()
    first = prepared(cleaner, catalogue, limit=3)
    cleaner.upload(first)
    other = catalogue.with_name("other.csv")
    other.write_text(catalogue.read_text("utf-8").replace("table", "bench table"), "utf-8")
    second = prepared(cleaner, other)
    server.scripts.append([queue_full])
    cleaner.upload(second)
    assert cleaner.wait(second, timeout=240).finished


def test_two_runs_in_one_folder_keep_their_files(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path, tmp_path: Path
) -> None:
    cleaner = make_cleaner()
    cleaner.prepare(catalogue, catalogue.parent, folder=tmp_path / "out")
    with catalogue.open("a", encoding="utf-8") as file:
        file.write("P7,New lamp,images/1.png,x\n")
    made = cleaner.prepare(catalogue, catalogue.parent, folder=tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "batch_input_001.jsonl",
        "batch_input_002.jsonl",
    ]
    assert cleaner.wait(cleaner.run(made.run)).finished
    assert len(server.executed) == ROWS + 1


def test_another_backend_asks_for_itself(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path
) -> None:
    prepared(make_cleaner(model="qwen"), catalogue)
    local = make_cleaner(model="qwen", backend="endpoint")
    run = prepared(local, catalogue)
    assert local.upload(run).counts.answered == ROWS
    assert (server.chats, server.batches) == (ROWS, {})


def test_limit_cannot_be_kept_without_a_price(make_cleaner: MakeCleaner, catalogue: Path) -> None:
    cleaner = make_cleaner(model="mystery", max_usd=5.0)
    with pytest.raises(UsageError, match="price is not known"):
        cleaner.upload(prepared(cleaner, catalogue))


def test_retries_are_in_the_estimate(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path
) -> None:
    oops: Json = {"status_code": 400, "body": {"error": {"message": "oops"}}}
    server.answer = lambda request: oops
    cleaner = make_cleaner()
    run = prepared(cleaner, catalogue)
    before = cleaner.estimate(run)
    cleaner.upload(run)
    cleaner.wait(run)
    assert cleaner.estimate(run) == 0
    cleaner.retry(run)
    assert cleaner.estimate(run) == pytest.approx(before)


def test_cancelling_while_a_local_batch_starts_is_not_lost(tmp_path: Path) -> None:
    requests = tmp_path / "requests.jsonl"
    requests.write_text('{"custom_id": "a", "body": {}}\n{"custom_id": "b", "body": {}}\n', "utf-8")
    asked = threading.Event()
    go_on = threading.Event()

    def slow(_: Json) -> Json:
        asked.set()
        go_on.wait(10)
        return {"status_code": 200}

    batches = LocalBatches(tmp_path / "local", slow, name="endpoint", concurrency=2)
    made = batches.create(str(requests), {"attempt": "1" * 16}).batch_id
    with ThreadPoolExecutor(1) as pool:
        driven = pool.submit(batches.drive, made, SILENT)
        assert asked.wait(10)
        batches.cancel(made)
        go_on.set()
        driven.result(10)
    ended = batches.retrieve(made)
    assert (ended.status, ended.completed) == ("cancelled", 2)


def test_page_that_is_no_api_is_named(
    make_cleaner: MakeCleaner, proxy: FaultProxy, server: BatchServer
) -> None:
    proxy.faults.append(Fault("GET", "/v1/batches/batch_9", rewrite=lambda _: "a page"))  # type: ignore[arg-type, return-value]
    server.create({"input_file_id": server.store("x", b"")})
    server.batches["batch_9"] = server.batches["batch_1"]
    with pytest.raises(RemoteError, match="not what the Batch API says"):
        BatchAPIClient(KEY, proxy.url).retrieve("batch_9")


def test_key_that_a_server_echoes_is_struck_out(
    make_cleaner: MakeCleaner, server: BatchServer, catalogue: Path, tmp_path: Path
) -> None:
    echo: Json = {"status_code": 400, "body": {"error": {"message": f"bad request with {KEY}"}}}
    server.answer = lambda request: echo
    cleaner = make_cleaner(backend="endpoint")
    run = prepared(cleaner, catalogue)
    cleaner.upload(run)
    cleaner.finalize(run, tmp_path / "cleaned.csv")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert "bad request with ***" in (tmp_path / "cleaned.csv").read_text("utf-8")
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []
