"""Training on a GPU: ``python -m tests.bench.bench_gpu [--batches 1024 8192] [--compile both]``.

ViT-B/32 with random weights, dual_lora, bf16 where the device has it: samples/s, peak memory and
model FLOPs utilisation at each effective batch, with and without ``torch.compile``, and how many
samples/s the data loader could give. On a CPU the same code runs; ``--tiny`` makes it seconds.

    MFU = samples/s x F x 2 / peak,   F = sum over both towers of
          layers x tokens x (2 x (4 d^2 + 2 d f) + 4 x tokens x d) + 2 x patches x d x 3 p^2

F is a pair's forward pass in FLOPs (a multiply and an add are two; d: width, f: MLP width). A step
needs F forward and F for the gradients of activations; with LoRA the gradients of weights are
next to nothing, so the factor is 2 (3 for ``--scenario full``). The second forward pass of gradient
caching is work that no model needs: it is left out, and so lowers the figure. ``--peak-tflops`` is
the device's dense peak in the precision used; a CPU's is measured with a matrix product.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from transformers import CLIPConfig, CLIPModel

from furnclip.config import TrainingSettings
from furnclip.encoder import pick_device
from furnclip.shards import ShardReader, list_shards
from furnclip.training.augment import ImageTransform
from furnclip.training.data import epoch_batches
from furnclip.training.distributed import World
from furnclip.training.memory import fitting_micro_batch, used_mib
from furnclip.training.model import _unfreeze, _with_lora
from furnclip.training.pixels import Decoding
from furnclip.training.quick import quicken
from furnclip.training.towers import Inputs, Towers, training_precision
from furnclip.training.trainer import Objective, Trainer
from tests.bench.bench_step import MEAN, STD
from tests.training.shards import write_split

# Dense bf16 peaks of the data sheets, in TFLOP/s.
PEAKS = {"H200": 989.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "L4": 121.0, "A10": 125.0}
TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")


def forward_flops(config: Any, *, tokens: int) -> float:
    """Return F of the docstring for captions of ``tokens`` tokens."""
    vision, text = config.vision_config, config.text_config
    patches = int(vision.image_size // vision.patch_size) ** 2
    flops: float = 2.0 * patches * vision.hidden_size * 3 * vision.patch_size**2
    for tower, length in ((vision, patches + 1), (text, tokens)):
        d, f = tower.hidden_size, tower.intermediate_size
        layer = length * (2 * (4 * d * d + 2 * d * f) + 4 * length * d)
        flops += float(tower.num_hidden_layers * layer)
    return flops


def peak_tflops(device: str, given: float | None) -> float:
    if given is not None:
        return given
    if device.startswith("cuda"):
        name = torch.cuda.get_device_name()
        found = next((peak for key, peak in PEAKS.items() if key in name), None)
        if found is None:
            sys.exit(f"the peak of {name} is not known: give --peak-tflops")
        return found
    a = torch.randn(1024, 1024)
    a @ a
    start = time.perf_counter()
    for _ in range(10):
        a @ a
    return 10 * 2 * 1024**3 / (time.perf_counter() - start) / 1e12


def build(args: argparse.Namespace, device: str) -> Any:
    config = CLIPConfig()
    if args.tiny:
        tower = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
                 "num_attention_heads": 2, "projection_dim": 32}  # fmt: skip
        vision = {**tower, "image_size": 64, "patch_size": 16}
        config = CLIPConfig(text_config=tower, vision_config=vision, projection_dim=32)
    clip = CLIPModel(config)
    clip.requires_grad_(requires_grad=False)
    if args.scenario == "full":
        _unfreeze(clip, [".*"])
        return clip.to(device)  # type: ignore[arg-type]
    towers = ("vision_model", "text_model")
    return _with_lora(clip, towers, TARGETS, r=16, alpha=32, dropout=0.05).to(device)


def measure(args: argparse.Namespace, device: str, batch: int, *, compiled: bool) -> None:
    model = build(args, device)
    if not compiled:
        quicken(model)
    precision = training_precision(args.precision, device)
    towers = Towers(
        model,
        ImageTransform("simple", MEAN, STD),
        device=device,
        precision=precision,
        compiled=compiled,
    )
    settings = TrainingSettings(micro_batch_size=args.micro)
    trainer = Trainer(towers, Objective(towers, "clip"), World(device=device), settings)
    config = towers.clip.config
    side = config.vision_config.image_size
    ids = torch.randint(0, config.text_config.vocab_size - 2, (batch, args.tokens))
    ids[:, -1] = config.text_config.eos_token_id
    inputs = Inputs(
        torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8).to(device),
        ids.to(device),
        torch.rand(batch, 12).to(device),
    )
    trainer.micro_batch_size = args.micro or fitting_micro_batch(towers, inputs)
    for _ in range(args.warm):
        trainer.step(inputs, None, lr=1e-4)
    _wait(device)
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    for _ in range(args.steps):
        trainer.step(inputs, None, lr=1e-4)
    _wait(device)
    rate = args.steps * batch / (time.perf_counter() - start)
    factor = 3 if args.scenario == "full" else 2
    needed = rate * factor * forward_flops(config, tokens=args.tokens) / 1e12
    print(
        f"batch {batch:>6} micro {trainer.micro_batch_size:>5} {precision} "
        f"{'compiled' if compiled else 'eager':8} {rate:>10,.1f} samples/s "
        f"{used_mib(towers.device):>8,.0f} MiB  MFU {needed / args.peak:.1%} of {args.peak:.3g}",
        flush=True,
    )


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def loader_ceiling(args: argparse.Namespace, device: str) -> None:
    """How many samples a second the reader decodes and hands to the device."""
    with tempfile.TemporaryDirectory() as folder:
        split = write_split(Path(folder) / "train", products=args.samples, size=224)
        reader = ShardReader(list_shards(split))
        pin = device.startswith("cuda")
        for workers in (2, os.cpu_count() or 2):
            source = Decoding(reader, size=224, workers=workers, pin=pin)
            batches = epoch_batches(args.samples, 256, seed=0, epoch=1)

            def run(source: Decoding = source, batches: Any = batches) -> None:
                for pixels in source.stream(batches):
                    pixels.to(device, non_blocking=True)
                _wait(device)

            took = seconds(run)
            print(
                f"data loader, {workers} workers: {args.samples / took:,.0f} samples/s", flush=True
            )


def seconds(work: Callable[[], object]) -> float:
    work()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description="Training speed on this device.")
    parser.add_argument("--batches", type=int, nargs="+", default=[1024, 8192])
    parser.add_argument("--micro", type=int, default=0, help="0: as many as fit")
    parser.add_argument("--tokens", type=int, default=16, help="length of the captions")
    parser.add_argument("--scenario", choices=("dual_lora", "full"), default="dual_lora")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--compile", choices=("no", "yes", "both"), default="both")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warm", type=int, default=2)
    parser.add_argument("--samples", type=int, default=4000, help="of the data loader")
    parser.add_argument("--peak-tflops", type=float, dest="peak")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args()
    device = pick_device(args.device)
    args.peak = peak_tflops(device, args.peak)
    kinds = {"no": (False,), "yes": (True,), "both": (False, True)}[args.compile]
    for batch in args.batches:
        for compiled in kinds:
            measure(args, device, batch, compiled=compiled)
    loader_ceiling(args, device)


if __name__ == "__main__":
    main()
