"""Several processes against one, in float64: real ranks over gloo."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from furnclip.training.cache import contrastive_backward
from furnclip.training.distributed import World, join_world
from furnclip.training.loss import clip_loss, positive_pairs
from tests.tiny import build_tiny_clip
from tests.training.shards import TEXTS, write_catalogue
from tests.training.test_cache import CAPTIONS, CPU, Towers, pairs

ROOT = Path(__file__).parents[2]
SIZES = {1: [11], 2: [6, 5]}


def torchrun(ranks: int, *arguments: str) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={ranks}"]
    subprocess.run(
        [*command, "--standalone", *arguments],
        check=True,
        timeout=240,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )


def three_steps(world: World, *, chunk: int) -> dict[str, Any]:
    """Train three steps on this rank's share of the pairs; products repeat across ranks."""
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
            model,
            lambda i, t: clip_loss(i, t, model.scale, positives=positives),
            device=CPU,
            world=world,
        )
        world.reduce_gradients(
            [p for p in parameters if p is not model.bias], replicated=[model.scale]
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
    options = f"train --data {data} --base {base} --epochs 3 --effective-batch-size 16 --lr 1e-3"
    chosen = [*options.split(), "--lora-dropout", "0", "--workers", "0", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-m", "furnclip", *chosen, "--name", "one"], check=True, env=environment
    )
    torchrun(2, "-m", "furnclip", *chosen, "--name", "two")
    one, two = (
        json.loads(Path(f"models/{name}/furnclip.json").read_text())["metrics"]
        for name in ("one", "two")
    )
    assert two["tuned"] == pytest.approx(one["tuned"], abs=1e-6)
    assert two["validation"] == pytest.approx(one["validation"], abs=1e-6)


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
    record = three_steps(world, chunk=chunk)
    (folder / f"{world.rank}.json").write_text(json.dumps(record))
    world.close()


if __name__ == "__main__":
    _rank()
