"""``furnclip clean`` as users run it: several processes at once, and a key that shows nowhere."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.cleaning.batch_server import KEY, BatchServer, Json, ServerBatch, complete
from tests.cleaning.fault_proxy import Fault, FaultProxy

Process = subprocess.Popen[str]


@pytest.fixture
def environment(proxy: FaultProxy) -> dict[str, str]:
    return {
        **os.environ,
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": proxy.url,
        "FURNCLIP_CLEANING__RECONCILE_SECONDS": "0.2",
        "COLUMNS": "120",
    }


def start(folder: Path, environment: dict[str, str], *words: str) -> Process:
    return subprocess.Popen(
        [sys.executable, "-m", "furnclip", "--verbose", "clean", *words], cwd=folder,
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(folder: Path, environment: dict[str, str], *words: str) -> str:
    """Run a command to its end; returns what it printed on both streams."""
    process = start(folder, environment, *words)
    out, err = process.communicate(timeout=120)
    return out + err


def test_commands_at_once_submit_a_run_once_and_status_answers(
    environment: dict[str, str],
    server: BatchServer,
    proxy: FaultProxy,
    catalogue: Path,
    tmp_path: Path,
) -> None:
    def working(batch: ServerBatch) -> None:
        batch.status = "in_progress"

    server.scripts.append([*[working] * 40, complete])
    proxy.faults.append(Fault("POST", "/v1/batches", delay=1.0))
    images = str(catalogue.parent)
    run(tmp_path, environment, "prepare", str(catalogue), "--images", images)
    uploads = [start(tmp_path, environment, "upload") for _ in range(2)]
    statuses = [start(tmp_path, environment, "status", "--no-refresh", "--json") for _ in range(2)]
    assert [process.wait(60) for process in statuses] == [0, 0]
    assert [process.wait(60) for process in uploads] == [0, 0]
    waits = [start(tmp_path, environment, "wait", "--poll", "0.1") for _ in range(2)]
    again = [
        start(tmp_path, environment, "prepare", str(catalogue), "--images", images),
        start(tmp_path, environment, "status"),
    ]
    assert [process.wait(120) for process in (*waits, *again)] == [0, 0, 0, 0]
    for process in (*uploads, *statuses, *waits, *again):
        process.communicate()
    assert (len(server.batches), len(server.files)) == (1, 2)
    assert set(Counter(server.executed).values()) == {1}


_CRASH = """
import sys
from furnclip.__main__ import main
import furnclip.cleaning.poll as poll

def broken(*args, **kwargs):
    key = args[2]  # the settings, in a local of the frame that fails
    raise RuntimeError("a bug")

poll.collect = broken
sys.argv = ["furnclip", "--verbose", "clean", "wait"]
main()
"""


def test_key_is_in_no_file_log_traceback_or_page(
    environment: dict[str, str],
    server: BatchServer,
    proxy: FaultProxy,
    catalogue: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / ".env").write_text("", "utf-8")
    echo: Json = {"error": {"message": f"Incorrect API key provided: {KEY}"}}
    proxy.faults.append(Fault("POST", "/v1/files", status=401, body=echo))
    proxy.faults.append(Fault("POST", "/v1/batches", drop=True))
    said = [
        run(tmp_path, environment, "prepare", str(catalogue), "--images", str(catalogue.parent)),
        run(tmp_path, environment, "upload"),
        run(tmp_path, environment, "upload"),
        subprocess.run(
            [sys.executable, "-c", _CRASH], cwd=tmp_path, env=environment, capture_output=True,
            text=True, check=False,
        ).stderr,
        run(tmp_path, environment, "wait"),
        run(tmp_path, environment, "finalize"),
        run(tmp_path, environment, "inspect"),
        run(tmp_path, environment, "status", "--json"),
        run(tmp_path, environment, "list", "--json"),
    ]  # fmt: skip
    assert "does not accept the API key" in said[1]
    assert "RuntimeError: a bug" in said[3]
    assert "6 cleaned" in said[5]
    assert [text for text in said if KEY in text] == []
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"cleaned.csv", "inspect.html", "state.duckdb"} <= {path.name for path in files}
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []
