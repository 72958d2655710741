import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import duckdb
import pytest

from furnclip.errors import StateError, StateLockedError
from furnclip.state import StateStore
from furnclip.state.events import record_event

PATH = Path("state/state.duckdb")


def _count(store: StateStore) -> int:
    with store.transaction() as connection:
        row = connection.execute("SELECT count(*) FROM event").fetchone()
    assert row is not None
    return int(row[0])


def _write(writer: int, count: int) -> None:
    store = StateStore(PATH, budget_seconds=120)
    for number in range(count):
        with store.transaction() as connection:
            record_event(connection, "test", "write", subject=f"{writer}-{number}")


def test_commit_keeps_and_exception_rolls_back() -> None:
    store = StateStore(PATH)
    with store.transaction() as connection:
        record_event(connection, "test", "kept", detail={"n": 1})
    with pytest.raises(RuntimeError, match="boom"), store.transaction() as connection:
        record_event(connection, "test", "lost")
        raise RuntimeError("boom")
    assert _count(store) == 1


def test_interleaved_writes_of_processes_and_threads_are_all_kept() -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write, args=(n, 30)) for n in range(2)]
    threads = [threading.Thread(target=_write, args=(n + 2, 30)) for n in range(2)]
    for process in processes:
        process.start()
    for thread in threads:
        thread.start()
    for process in processes:
        process.join()
    for thread in threads:
        thread.join()
    assert [process.exitcode for process in processes] == [0, 0]
    with StateStore(PATH).transaction() as connection:
        rows = connection.execute("SELECT subject FROM event").fetchall()
    assert sorted(subject for (subject,) in rows) == sorted(
        f"{writer}-{number}" for writer in range(4) for number in range(30)
    )


def test_locked_state_says_who_holds_it() -> None:
    inside = threading.Event()
    leave = threading.Event()

    def hold() -> None:
        with StateStore(PATH).transaction():
            inside.set()
            leave.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    inside.wait(30)
    try:
        with (
            pytest.raises(StateLockedError, match=f"process {os.getpid()} on "),
            StateStore(PATH, budget_seconds=0.2).transaction(),
        ):
            pass
    finally:
        leave.set()
        holder.join()


def test_a_foreign_program_that_has_the_file_open_is_named() -> None:
    _count(StateStore(PATH))
    code = f"import duckdb; c=duckdb.connect({str(PATH)!r}); print('open', flush=True); input()"
    foreign = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert foreign.stdout is not None
    assert foreign.stdin is not None
    foreign.stdout.readline()
    try:
        with (
            pytest.raises(StateLockedError, match=f"process {foreign.pid}"),
            StateStore(PATH, budget_seconds=0.3).transaction(),
        ):
            pass
    finally:
        foreign.communicate(b"\n")
    assert _count(StateStore(PATH)) == 0


def test_killed_writer_leaves_a_readable_file_with_its_committed_rows() -> None:
    code = (
        "import os, signal\nfrom pathlib import Path\nfrom furnclip.state import StateStore\n"
        "from furnclip.state.events import record_event\n"
        f"store = StateStore(Path({str(PATH)!r}))\n"
        "with store.transaction() as c: record_event(c, 'test', 'committed')\n"
        "with store.transaction() as c:\n"
        "    record_event(c, 'test', 'uncommitted')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert _count(StateStore(PATH)) == 1


def test_a_waiter_is_not_starved_by_a_process_that_writes_in_a_loop() -> None:
    writer = multiprocessing.get_context("spawn").Process(target=_write, args=(0, 60))
    writer.start()
    try:
        store = StateStore(PATH, budget_seconds=5)
        counts = []
        while writer.is_alive():
            counts.append(_count(store))
    finally:
        writer.join()
    # Fair turns: about one read between two writes, not a handful in the whole loop.
    assert len(counts) > 20
    assert counts == sorted(counts)


def test_file_of_a_newer_version_and_a_foreign_file_are_refused() -> None:
    _count(StateStore(PATH))
    with duckdb.connect(str(PATH)) as connection:
        connection.execute("INSERT INTO schema_migration (number, name) VALUES (9999, 'later')")
    with pytest.raises(StateError, match=r"newer furnclip \(schema 9999\)"):
        _count(StateStore(PATH))
    other = Path("other.duckdb")
    other.write_bytes(b"not a database" * 1000)
    with pytest.raises(StateError, match=r"other\.duckdb"):
        _count(StateStore(other))


def test_nested_transactions_are_a_programming_error() -> None:
    store = StateStore(PATH)
    with store.transaction(), pytest.raises(RuntimeError, match="nest"), store.transaction():
        pass
