"""kill -9 at many moments of prepare → upload → wait → finalize, then run it again.

Whatever the moment: one answer per product, every request paid once, one batch, and a cleaned CSV
that is byte for byte that of an undisturbed run.

FURNCLIP_TEST_CATALOGUE names a catalogue to take (else six drawn products), FURNCLIP_TEST_KILLS
the number of random moments.
"""

import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from furnclip.cleaning.prompts import read_question
from tests.cleaning.batch_server import KEY, BatchServer, Json, chat_body, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

_KILLS = int(os.environ.get("FURNCLIP_TEST_KILLS", "12"))
_STEPS = ("prepare", "upload", "wait", "finalize")
# Counts what the process commits to its state file, and dies before or after the n-th commit.
_DRIVER = """
import os, signal, sys
from contextlib import contextmanager
from furnclip.__main__ import main
from furnclip.state import StateStore

csv, moment, number, *steps = sys.argv[1:]
plain, commits = StateStore.transaction, 0

def die_at(where):
    if (where, commits) == (moment, int(number)):
        os.kill(os.getpid(), signal.SIGKILL)

@contextmanager
def counted(store):
    global commits
    with plain(store) as connection:
        yield connection
        commits += 1
        die_at("before")
    die_at("after")

StateStore.transaction = counted
images = os.path.dirname(csv)
print("started", flush=True)
for step in steps:
    extra = {"prepare": [csv, "--images", images], "upload": ["--yes"], "wait": ["--poll", "0.05"]}
    sys.argv = ["furnclip", "--quiet", "clean", step, *extra.get(step, [])]
    try:
        main()
    except SystemExit as stop:
        if stop.code:
            raise
print("commits", commits, flush=True)
"""


@dataclass(frozen=True)
class Undisturbed:
    csv: Path
    seconds: float
    commits: int
    content: bytes


def answer(request: Json) -> Json:
    """Answer fast and always alike, so that the server is not what takes the time."""
    title, _ = read_question(request["body"])
    number = hashlib.sha256(title.encode()).hexdigest()[:8]
    return {"status_code": 200, "body": chat_body(f'{{"clean_title": "Product {number}"}}')}


def start(
    csv: Path, folder: Path, server: BatchServer, *steps: str, moment: str = "", number: int = 0
) -> "subprocess.Popen[str]":
    environment = {
        **os.environ,
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": server.url,
        "FURNCLIP_CLEANING__RECONCILE_SECONDS": "0.2",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", _DRIVER, str(csv), moment, str(number), *steps],
        cwd=folder, env=environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    return process


def run_to_the_end(csv: Path, folder: Path, server: BatchServer, *steps: str) -> int:
    """Return the number of commits."""
    out, _ = start(csv, folder, server, *(steps or _STEPS)).communicate()
    word, commits = out.splitlines()[-1].split()
    assert word == "commits"
    return int(commits)


@pytest.fixture
def undisturbed(any_catalogue: Path, tmp_path: Path) -> Undisturbed:
    csv = any_catalogue
    folder = tmp_path / "undisturbed"
    folder.mkdir()
    with fast_server() as server:
        begun = time.monotonic()
        commits = run_to_the_end(csv, folder, server)
        seconds = time.monotonic() - begun
        content = (folder / "data/processed/cleaned.csv").read_bytes()
        check(folder, server, content, "undisturbed")
    assert content.count(b",ok,") == content.count(b"\n") - 1
    return Undisturbed(csv, seconds, commits, content)


def fast_server() -> contextlib.AbstractContextManager[BatchServer]:
    server = BatchServer()
    server.answer = answer
    return running(server)


def check(folder: Path, server: BatchServer, expected: bytes, note: str) -> None:
    assert (folder / "data/processed/cleaned.csv").read_bytes() == expected, note
    assert len(server.batches) == 1, note
    assert set(Counter(server.executed).values()) == {1}, note


def test_killed_at_random_moments_and_run_again(undisturbed: Undisturbed, tmp_path: Path) -> None:
    moments = random.Random(0)
    died = 0
    for number in range(_KILLS):
        moment = moments.uniform(0, undisturbed.seconds)
        folder = tmp_path / f"killed-{number}"
        folder.mkdir()
        with fast_server() as server:
            process = start(undisturbed.csv, folder, server, *_STEPS)
            time.sleep(moment)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            died += process.returncode == -signal.SIGKILL
            run_to_the_end(undisturbed.csv, folder, server)
            check(folder, server, undisturbed.content, f"killed after {moment:.3f} s")
    rows = undisturbed.content.count(b"\n") - 1
    print(f"{died} of {_KILLS} killed before their end, {rows} rows")
    assert died > _KILLS // 2


def test_killed_around_every_commit_and_run_again(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """The state file is where steps begin and end: before and after each commit is every border."""
    for number in range(1, undisturbed.commits + 1):
        for moment in ("before", "after"):
            folder = tmp_path / f"{moment}-{number}"
            folder.mkdir()
            with fast_server() as server:
                process = start(
                    undisturbed.csv, folder, server, *_STEPS, moment=moment, number=number
                )
                process.communicate()
                assert process.returncode == -signal.SIGKILL
                run_to_the_end(undisturbed.csv, folder, server)
                check(folder, server, undisturbed.content, f"{moment} commit {number}")
    rows = undisturbed.content.count(b"\n") - 1
    print(f"{2 * undisturbed.commits} kills around {undisturbed.commits} commits, {rows} rows")


def test_every_command_in_a_process_of_its_own_gives_the_same(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    folder = tmp_path / "apart"
    folder.mkdir()
    with fast_server() as server:
        for step in _STEPS:
            run_to_the_end(undisturbed.csv, folder, server, step)
            run_to_the_end(undisturbed.csv, folder, server, step)
        check(folder, server, undisturbed.content, "apart")
