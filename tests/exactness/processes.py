"""Several processes against one, and processes that are killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from furnclip.demo.project import open_project
from furnclip.training.distributed import World
from tests.exactness.check import Check
from tests.tiny import build_tiny_clip
from tests.training import test_distributed as ranks
from tests.training.shards import TEXTS, write_catalogue

BROKEN = "tests.exactness.broken"


def two_ranks(*arguments: str) -> float:
    """Loss, every gradient and the weights of three steps; equal captions on both ranks."""
    alone = ranks.three_steps(World(), chunk=2)
    folder = Path("ranks")
    folder.mkdir(exist_ok=True)
    ranks.torchrun(
        2, "-m", "tests.training.test_distributed", str(folder.resolve()), "2", *arguments
    )
    worst = 0.0
    for rank in range(2):
        found = json.loads((folder / f"{rank}.json").read_text())
        for name in ("losses", "gradients", "weights"):
            mine, other = (torch.tensor(each[name], dtype=torch.float64) for each in (found, alone))
            worst = max(worst, float((mine - other).norm() / other.norm()))
    return worst


@cache
def interrupted() -> None:
    """Train one run to the end and kill another in the middle of an epoch."""
    base = build_tiny_clip(Path("base-resume"), texts=TEXTS)
    data = write_catalogue(Path("resume-shards"), train=60, held_out=12)
    Path("furnclip.toml").write_text(
        "[training]\ncheckpoint_steps = 3\neffective_batch_size = 8\nepochs = 4\nworkers = 0\n"
    )
    chosen = ["-m", "furnclip", "train", "--data", str(data), "--base", str(base), "--name"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    run = [sys.executable, *chosen]
    subprocess.run([*run, "whole"], check=True, env=ranks.environment(), **quiet)  # type: ignore[call-overload]
    with subprocess.Popen([*run, "cut"], env=ranks.environment(), **quiet) as process:  # type: ignore[call-overload]
        while not Path("runs/cut/checkpoints/step-00000012").exists():
            assert process.poll() is None, "it finished before it could be killed"
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    shutil.copytree("runs/cut", "runs/cut.kept")


def resumed(*program: str) -> float:
    """The largest difference of a weight between a run never stopped and one that was."""
    interrupted()
    for path in ("runs/cut", "models/cut"):
        shutil.rmtree(path, ignore_errors=True)
    shutil.copytree("runs/cut.kept", "runs/cut")
    subprocess.run([sys.executable, "-c", _FORGET], check=True, env=ranks.environment())
    command = [sys.executable, "-m", *(program or ("furnclip",)), "train", "--resume", "cut"]
    subprocess.run(command, check=True, env=ranks.environment(), capture_output=True)
    whole, cut = (load_file(f"models/{name}/model.safetensors") for name in ("whole", "cut"))
    return max(float((value - cut[name]).abs().max()) for name, value in whole.items())


_FORGET = """
from pathlib import Path
from furnclip.state import StateStore
from furnclip.state.training import end_run
end_run(StateStore(Path('.furnclip/state.duckdb')), 'cut', 'interrupted')
"""


@cache
def demo() -> list[str]:
    """Draw the demo's catalogue, clean and shard it, and train one process on it."""
    from furnclip.demo.pipeline import run_demo

    project = open_project(Path("demo"))
    toml = project.folder / "furnclip.toml"
    toml.write_text(toml.read_text().replace("epochs = 24", "epochs = 2"))
    run_demo(open_project(Path("demo")), products=160)
    toml.write_text(toml.read_text() + "checkpoint_steps = 2\n")
    options = "train --lora-dropout 0 --workers 0 --precision fp64 --epochs 3 --json"
    subprocess.run(
        [sys.executable, "-m", "furnclip", *options.split(), "--name", "one"],
        check=True, cwd="demo", env=ranks.environment(), capture_output=True,
    )  # fmt: skip
    return options.split()


def difference(name: str) -> float:
    """The largest difference of a final metric or a validation score to one process."""
    one, found = (
        json.loads(Path(f"demo/models/{each}/furnclip.json").read_text())["metrics"]
        for each in ("one", name)
    )
    pairs = [(one[kind], found[kind]) for kind in ("tuned", "validation")]
    return float(max(abs(a[key] - b[key]) for a, b in pairs for key in a))


def two_processes(
    name: str, *, program: str = "furnclip", mechanism: tuple[str, ...] = ()
) -> float:
    command = [*ranks.TORCHRUN, "--nproc-per-node=2", "-m", program, *mechanism, *demo()]
    subprocess.run(
        [*command, "--name", name],
        check=True, cwd="demo", env=ranks.environment(), capture_output=True,
    )  # fmt: skip
    return difference(name)


def one_of_two_killed() -> float:
    """``kill -9`` one of two processes; torchrun starts both again and they go on."""
    command = [*ranks.TORCHRUN, "--nproc-per-node=2", "--max-restarts=1", "-m", "furnclip", *demo()]
    with subprocess.Popen(
        [*command, "--name", "killed"], cwd="demo", env=ranks.environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        checkpoints = Path("demo/runs/killed/checkpoints")
        while not any(int(path.name[5:]) >= 3 for path in checkpoints.glob("step-*")):
            assert process.poll() is None, "it finished before it could be killed"
            time.sleep(0.002)
        os.kill(max(ranks.processes_of(process.pid)), signal.SIGKILL)
        assert process.wait() == 0, "it did not finish"
    return difference("killed")


def checks() -> Iterator[Check]:
    yield Check(
        "two ranks = one: loss, gradients, weights, fp64",
        "relative error",
        1e-12,
        two_ranks,
        "logit_scale's gradient counted by both",
        lambda: two_ranks("twice"),
    )
    yield Check(
        "kill -9 in mid-epoch and resume = never stopped",
        "largest difference of a weight",
        0,
        resumed,
        "random state not restored",
        lambda: resumed(BROKEN, "random_state"),
    )
    broken: Any = lambda: two_processes("torn", program=BROKEN, mechanism=("reduce",))  # noqa: E731
    metric = "largest difference of a metric"
    yield Check(
        "two processes under torchrun = one, demo catalogue, fp64",
        metric,
        1e-6,
        lambda: two_processes("two"),
        "gradients not summed",
        broken,
    )
    yield Check(
        "one of them killed with -9: restarted, the same result",
        metric,
        1e-6,
        one_of_two_killed,
        "gradients not summed",
        lambda: difference("torn"),
    )
