"""kill -9 at many moments of prepare → upload → wait → finalize, then run it again.

Whatever the moment: one answer per product, every request paid once, one batch, and a cleaned CSV
that is byte for byte that of an undisturbed run.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.cleaning.batch_server import KEY, BatchServer, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

_KILLS = 12
_STEPS = ("prepare", "upload", "wait", "finalize")
_DRIVER = """
import sys
from furnclip.__main__ import main

csv, images, *steps = sys.argv[1:]
print("started", flush=True)
for step in steps:
    extra = {"prepare": [csv, "--images", images], "upload": ["--yes"], "wait": ["--poll", "0.05"]}
    sys.argv = ["furnclip", "--quiet", "clean", step, *extra.get(step, [])]
    try:
        main()
    except SystemExit as stop:
        if stop.code:
            raise
print("done", flush=True)
"""


def run_steps(
    csv: Path,
    folder: Path,
    server: BatchServer,
    *,
    kill_after: float | None,
    steps: tuple[str, ...],
) -> float:
    """Run the steps in a process of their own, killed after so many seconds; returns its time."""
    command = [sys.executable, "-c", _DRIVER, str(csv), str(csv.parent), *steps]
    with subprocess.Popen(
        command, cwd=folder, env=_environment(server), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        begun = time.monotonic()
        if kill_after is None:
            assert process.stdout.read().endswith("done\n")
            assert process.wait() == 0
        else:
            time.sleep(kill_after)
            process.send_signal(signal.SIGKILL)
            process.wait()
    return time.monotonic() - begun


def _environment(server: BatchServer) -> Mapping[str, str]:
    return {
        **os.environ,
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": server.url,
        "FURNCLIP_CLEANING__RECONCILE_SECONDS": "0.2",
    }


def check(folder: Path, server: BatchServer, expected: bytes, note: str) -> None:
    assert (folder / "data/processed/cleaned.csv").read_bytes() == expected, note
    assert len(server.batches) == 1, note
    assert set(Counter(server.executed).values()) == {1}, note


def test_killed_at_random_moments_and_run_again(catalogue: Path, tmp_path: Path) -> None:
    moments = random.Random(0)
    folder = tmp_path / "undisturbed"
    folder.mkdir()
    with running(BatchServer()) as server:
        seconds = run_steps(catalogue, folder, server, kill_after=None, steps=_STEPS)
        expected = (folder / "data/processed/cleaned.csv").read_bytes()
        check(folder, server, expected, "undisturbed")
    for number in range(_KILLS):
        moment = moments.uniform(0, seconds)
        folder = tmp_path / f"killed-{number}"
        folder.mkdir()
        with running(BatchServer()) as server:
            run_steps(catalogue, folder, server, kill_after=moment, steps=_STEPS)
            run_steps(catalogue, folder, server, kill_after=None, steps=_STEPS)
            check(folder, server, expected, f"killed after {moment:.3f} of {seconds:.3f} s")


def test_killed_at_every_step_boundary_and_run_again(catalogue: Path, tmp_path: Path) -> None:
    contents = set()
    for done in range(1, len(_STEPS) + 1):
        folder = tmp_path / f"after-{done}"
        folder.mkdir()
        with running(BatchServer()) as server:
            run_steps(catalogue, folder, server, kill_after=None, steps=_STEPS[:done])
            run_steps(catalogue, folder, server, kill_after=None, steps=_STEPS)
            contents.add((folder / "data/processed/cleaned.csv").read_bytes())
            assert len(server.batches) == 1
            assert set(Counter(server.executed).values()) == {1}
    assert len(contents) == 1
