"""A training process killed with SIGKILL in the middle of an epoch, and resumed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from furnclip.state import StateStore
from furnclip.state.training import list_runs, steps_of
from tests.tiny import build_tiny_clip
from tests.training.shards import TEXTS, write_catalogue

ROOT = Path(__file__).parents[2]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "furnclip", "train", *arguments]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_run_resumes_bit_identically(tmp_path: Path, workers: int) -> None:
    base = build_tiny_clip(tmp_path / "base", texts=TEXTS)
    data = write_catalogue(tmp_path / "shards", train=60, held_out=12)
    Path("furnclip.toml").write_text(
        "[training]\ncheckpoint_steps = 3\neffective_batch_size = 8\nepochs = 4\n"
        f"cache_mib = 0\nworkers = {workers}\n"
    )
    chosen = ["--data", str(data), "--base", str(base)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(command(*chosen, "--name", "whole"), check=True, env=environment)
    process = subprocess.Popen(command(*chosen, "--name", "cut"), env=environment)
    checkpoint = Path("runs/cut/checkpoints/step-00000012")  # of 32; an epoch has 8
    while not checkpoint.exists():
        assert process.poll() is None, "it finished before it could be killed"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not Path("models/cut").exists()
    subprocess.run(command("--resume", "cut"), check=True, env=environment)
    whole, cut = (load_file(f"models/{name}/model.safetensors") for name in ("whole", "cut"))
    assert all(value.equal(cut[name]) for name, value in whole.items())
    store = StateStore(Path(".furnclip/state.duckdb"))
    assert {run.status for run in list_runs(store)} == {"finished"}
    losses = {s.step: s.loss for s in steps_of(store, "whole")}
    resumed = {s.step: s.loss for s in steps_of(store, "cut")}
    assert resumed.items() <= losses.items()
    assert max(resumed) == max(losses) == 31
