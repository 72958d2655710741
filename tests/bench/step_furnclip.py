"""furnclip's side of ``bench_step``, in a process of its own; prints one JSON line."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from furnclip.config import TrainingSettings
from furnclip.training.augment import ImageTransform
from furnclip.training.cache import contrastive_backward
from furnclip.training.data import trimmed
from furnclip.training.distributed import World
from furnclip.training.loss import clip_loss
from furnclip.training.model import get_model
from furnclip.training.quick import quicken
from furnclip.training.towers import Inputs, Towers
from furnclip.training.trainer import Objective, Trainer
from tests.bench.bench_step import MEAN, STD
from tests.bench.peers.step_peers import flat, measured, relative


def read(folder: Path) -> Inputs:
    """Pixels as uint8 and captions trimmed, as furnclip's data have them."""
    saved = torch.load(folder / "inputs.pt", weights_only=True)
    ids = saved["ids"]
    return Inputs(saved["pixels"], trimmed(ids, ids.argmax(dim=1) + 1))


def step(folder: Path, *, micro: int, scenario: str) -> dict[str, float]:
    model, _ = get_model(
        "unfrozen_targets" if scenario == "full" else scenario,
        base=folder / "model",
        unfrozen_targets=(".*",),
    )
    quicken(model)
    towers = Towers(model, ImageTransform("none", MEAN, STD), device="cpu")
    inputs = read(folder)
    world = World(sizes=[len(inputs)])
    settings = TrainingSettings(micro_batch_size=micro)
    trainer = Trainer(towers, Objective(towers, "clip"), world, settings)
    few = inputs.chunks(micro)[0]
    found = measured(
        lambda: trainer.step(inputs, None, lr=1e-4),
        lambda: trainer.step(few, None, lr=1e-4),
        len(inputs),
    )
    return found | {"trained": sum(p.numel() for p in trainer.parameters.values())}


def error(folder: Path, *, micro: int) -> dict[str, float]:
    """Attention dropout and LoRA dropout 0.1, fp64."""
    torch.manual_seed(0)
    model, _ = get_model("dual_lora", base=folder / "model", lora_dropout=0.1)
    model.double()
    quicken(model)
    for name, parameter in model.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.1)
    towers = Towers(model, ImageTransform("none", MEAN, STD), device="cpu")
    towers.train()
    chunks = read(folder).chunks(micro)
    scale = towers.clip.logit_scale
    torch.manual_seed(1)
    contrastive_backward(
        chunks,
        (towers.encode_image, towers.encode_text),
        lambda image, text: clip_loss(image, text, scale),
        device=torch.device("cpu"),
        world=World(),
    )
    found = flat(model)
    model.zero_grad()
    torch.manual_seed(1)
    text = torch.cat([towers.encode_text(chunk) for chunk in chunks])
    image = torch.cat([towers.encode_image(chunk) for chunk in chunks])
    torch.autograd.backward(clip_loss(image, text, scale))
    return {"error": relative(found, flat(model))}


def main() -> None:
    task, folder = sys.argv[1], Path(sys.argv[2])
    options = dict(option.split("=") for option in sys.argv[3:])
    micro = int(options["micro"])
    tasks: dict[str, Callable[[], Any]] = {
        "step": lambda: step(folder, micro=micro, scenario=options["scenario"]),
        "error": lambda: error(folder, micro=micro),
    }
    print(json.dumps(tasks[task]()))


if __name__ == "__main__":
    main()
