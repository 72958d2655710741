"""Commands of several terminals share one state file."""

import json
import multiprocessing
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from furnclip.state import StateStore
from furnclip.state.events import record_event

STATE = Path(".furnclip/state.duckdb")


def write_in_a_loop(writer: int, count: int) -> None:
    store = StateStore(STATE, budget_seconds=120)
    for number in range(count):
        with store.transaction() as connection:
            record_event(connection, "test", "write", subject=f"{writer}-{number}")


@pytest.mark.slow
def test_a_thousand_interleaved_writes_are_kept_and_status_answers_meanwhile() -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_in_a_loop, args=(n, 500)) for n in range(2)]
    for writer in writers:
        writer.start()
    answers = 0
    longest = 0.0
    while any(writer.is_alive() for writer in writers):
        began = time.monotonic()
        command = [sys.executable, "-m", "furnclip", "clean", "status", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        longest = max(longest, time.monotonic() - began)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["batches"] == []
        answers += 1
    for writer in writers:
        writer.join()
    print(f"{answers} answers of clean status, the slowest after {longest:.2f} s")
    assert answers > 0
    with StateStore(STATE).transaction() as connection:
        rows = connection.execute("SELECT subject FROM event WHERE stage = 'test'").fetchall()
    assert sorted(subject for (subject,) in rows) == sorted(
        f"{writer}-{number}" for writer in range(2) for number in range(500)
    )


def test_threads_of_one_process_take_turns() -> None:
    threads = [threading.Thread(target=write_in_a_loop, args=(n, 10)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with StateStore(STATE).transaction() as connection:
        row = connection.execute("SELECT count(*), count(DISTINCT subject) FROM event").fetchone()
    assert row == (40, 40)
