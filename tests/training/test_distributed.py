"""Several processes against one, in float64: real ranks over gloo."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from furnclip.training.cache import contrastive_backward
from furnclip.training.distributed import World, join_world
from furnclip.training.loss import clip_loss, positive_pairs
from tests.tiny import build_tiny_clip
from tests.training.shards import TEXTS, write_catalogue
from tests.training.test_cache import CAPTIONS, CPU, Towers, pairs

ROOT = Path(__file__).parents[2]
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone")
SIZES = {1: [11], 2: [6, 5]}


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def torchrun(ranks: int, *arguments: str) -> None:
    command = [*TORCHRUN, f"--nproc-per-node={ranks}", *arguments]
    subprocess.run(command, check=True, timeout=240, env=environment())


def three_steps(world: World, *, chunk: int, twice: bool = False) -> dict[str, Any]:
    """Train three steps on this rank's share of the pairs; products repeat across ranks.

    ``twice`` counts the gradient of ``logit_scale`` once a rank, as a control.
    """
    model = Towers()
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=0.01)
    world.sizes = SIZES[world.size]
    start = sum(world.sizes[: world.rank])
    image, text = (side[start : start + world.sizes[world.rank]] for side in pairs())
    positives = positive_pairs(torch.arange(len(CAPTIONS)), CAPTIONS)
    record: dict[str, Any] = {"losses": [], "gradients": []}
    for _ in range(3):
        optimizer.zero_grad()
        loss = contrastive_backward(
            list(zip(torch.split(image, chunk), torch.split(text, chunk), strict=True)),
            model.encode,
            lambda i, t: clip_loss(i, t, model.scale, positives=positives),
            device=CPU,
            world=world,
        )
        world.reduce_gradients(
            [p for p in parameters if p is not model.bias],
            replicated=[] if twice else [model.scale],
        )
        record["losses"].append(float(loss))
        record["gradients"].append(model.gradient().tolist())
        optimizer.step()
    record["weights"] = torch.cat([p.detach().flatten() for p in parameters]).tolist()
    return record


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [2, 64])
def test_two_ranks_give_loss_gradients_and_weights_of_one(tmp_path: Path, chunk: int) -> None:
    alone = three_steps(World(), chunk=chunk)
    torchrun(2, "-m", "tests.training.test_distributed", str(tmp_path), str(chunk))
    for rank in range(2):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        for name in ("losses", "gradients", "weights"):
            torch.testing.assert_close(
                torch.tensor(found[name], dtype=torch.float64),
                torch.tensor(alone[name], dtype=torch.float64),
                rtol=1e-12,
                atol=1e-14,
            )


@pytest.mark.slow
def test_training_under_torchrun_ends_where_one_process_does(tmp_path: Path) -> None:
    base = build_tiny_clip(tmp_path / "base", texts=TEXTS)
    data = write_catalogue(tmp_path / "shards", train=33, held_out=12)
    chosen = train_options(data, base)
    subprocess.run([sys.executable, "-m", *chosen, "--name", "one"], check=True, env=environment())
    torchrun(2, "-m", *chosen, "--name", "two")
    # No --name: two clocks, one folder. Killed in the middle, and begun again by torchrun.
    killed = subprocess.Popen(
        [*TORCHRUN, "--nproc-per-node=2", "--max-restarts=1", "-m", *chosen], env=environment()
    )
    kill_one_process_at(killed, step=5)
    assert killed.wait(timeout=240) == 0
    one, two, three = (weights_and_metrics(name) for name in ("one", "two", unnamed_run()))
    for found in (two, three):
        assert found[1]["tuned"] == pytest.approx(one[1]["tuned"], abs=1e-6)
        assert found[1]["validation"] == pytest.approx(one[1]["validation"], abs=1e-6)
        for name, value in one[0].items():
            torch.testing.assert_close(found[0][name], value, rtol=1e-6, atol=1e-7)


def train_options(data: Path, base: Path) -> list[str]:
    options = f"furnclip train --data {data} --base {base} --epochs 3 --effective-batch-size 16"
    exact = "--lr 1e-3 --lora-dropout 0 --workers 0 --precision fp64 --json"
    Path("furnclip.toml").write_text("[training]\ncheckpoint_steps = 2\n")
    return f"{options} {exact}".split()


def kill_one_process_at(torchrun: subprocess.Popen[bytes], *, step: int) -> None:
    """Send SIGKILL to the last of torchrun's processes once the new run is past ``step``."""
    begun = {path.name for path in Path("runs").iterdir()}
    while not any(
        int(path.name[5:]) >= step
        for path in Path("runs").glob("*/checkpoints/step-*")
        if path.parents[1].name not in begun
    ):
        assert torchrun.poll() is None, "it finished before it could be killed"
        time.sleep(0.002)
    os.kill(max(processes_of(torchrun.pid)), signal.SIGKILL)


def processes_of(parent: int) -> list[int]:
    tasks = Path(f"/proc/{parent}/task").glob("*/children")
    return [int(pid) for task in tasks for pid in task.read_text().split()]


def unnamed_run() -> str:
    (name,) = {path.name for path in Path("models").iterdir()} - {"one", "two"}
    return name


def weights_and_metrics(name: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    facts = json.loads(Path(f"models/{name}/furnclip.json").read_text())
    return load_file(f"models/{name}/model.safetensors"), facts["metrics"]


def test_one_process_is_its_own_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    world = join_world("cpu")
    rows = torch.randn(3, 2)
    assert (world.rank, world.size, world.leader) == (0, 1, True)
    assert world.gather_rows(rows) is rows
    assert world.own_rows(rows) is rows
    assert world.any(flag=True)
    assert not world.any(flag=False)
    assert world.smallest(7) == 7
    world.close()


def _rank() -> None:
    folder, chunk = Path(sys.argv[1]), int(sys.argv[2])
    world = join_world("cpu")
    record = three_steps(world, chunk=chunk, twice="twice" in sys.argv)
    (folder / f"{world.rank}.json").write_text(json.dumps(record))
    world.close()


if __name__ == "__main__":
    _rank()
