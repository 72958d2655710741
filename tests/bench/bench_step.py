"""One optimiser step, side by side: ``python -m tests.bench.bench_step --peers PYTHON``.

ViT-B/32 with random weights, an effective batch in micro-batches, the same captions and pictures,
fp32: furnclip, open_clip's ``--accum-freq`` through its own training loop, and
sentence-transformers' cached loss. Each runs in a process of its own, one after another, for some
rounds, of which the fastest counts: the speed of a shared machine changes by a third between one
minute and the next. Then the gradient error of each against one graph over the whole batch, in
fp64 on a tiny model.

PYTHON (or ``FURNCLIP_BENCH_PEERS``) is the interpreter of an environment with the peers, since
open_clip needs torchvision, which must match its torch:

    python -m venv peers
    peers/bin/pip install torch==2.9.1 torchvision==0.24.1 \
        open_clip_torch 'sentence-transformers>=6' peft webdataset==0.2.86 pandas

What cannot be made equal: open_clip has no LoRA and pads captions to 77 tokens, so it trains all
parameters; sentence-transformers learns no ``logit_scale``. ``--scenario full`` trains all of them
in all three.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
PEERS = Path(__file__).parent / "peers" / "step_peers.py"
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def captions(path: str | None, count: int) -> list[str]:
    """Return real captions: a column ``name`` of a CSV, else the drawn catalogue's titles."""
    if path is not None:
        from furnclip.catalogue import read_rows

        found = [row.values["name"] for row in read_rows(Path(path))]
    else:
        from furnclip.demo.catalogue import products

        found = [product.title for product in products(count, 0)]
    return [found[i % len(found)] for i in range(count)]


def write_inputs(folder: Path, peers: str, texts: list[str], *, tiny: bool) -> None:
    import torch

    (folder / "captions.json").write_text(json.dumps(texts), "utf-8")
    generator = torch.Generator().manual_seed(0)
    side = 32 if tiny else 224
    pixels = torch.randint(
        0, 256, (len(texts), 3, side, side), dtype=torch.uint8, generator=generator
    )
    if tiny:
        ids = torch.zeros(len(texts), 32, dtype=torch.long)
        for row, length in enumerate(torch.randint(4, 20, (len(texts),), generator=generator)):
            ids[row, :length] = torch.randint(5, 60, (int(length),), generator=generator)
            ids[row, length] = 63
    else:
        peer(peers, "tokens", folder)
        ids = torch.load(folder / "ids.pt", weights_only=True)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    normalised = (pixels / 255 - mean) / std
    torch.save({"pixels": pixels, "ids": ids, "normalised": normalised}, folder / "inputs.pt")


def write_model(folder: Path, *, tiny: bool) -> None:
    """Write a random ViT-B/32, or a tiny one with dropout, as a ``transformers`` folder."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

    from furnclip.demo.tiny_clip import train_tokenizer

    config: Any = CLIPConfig()
    if tiny:
        # fmt: off
        tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
                 "num_attention_heads": 2, "attention_dropout": 0.1, "projection_dim": 16}
        text = {**tower, "vocab_size": 64, "max_position_embeddings": 32, "eos_token_id": 63,
                "bos_token_id": 1, "pad_token_id": 0}
        # fmt: on
        vision = {**tower, "image_size": 32, "patch_size": 8}
        config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(folder)
    side = config.vision_config.image_size
    images = CLIPImageProcessor(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}
    )
    processor: Any = CLIPProcessor
    tokenizer = train_tokenizer(["a red sofa"], merges=8, context=32)
    processor(image_processor=images, tokenizer=tokenizer).save_pretrained(folder)


def peer(python: str, task: str, folder: Path, **options: object) -> dict[str, Any]:
    """Run a task of ``peers/step_peers.py`` and return what it printed."""
    settings = [f"{key}={value}" for key, value in options.items()]
    return _json([python, str(PEERS), task, str(folder), *settings])


def ours(task: str, folder: Path, **options: object) -> dict[str, Any]:
    """Run a task of this file in a process of its own."""
    settings = [f"{key}={value}" for key, value in options.items()]
    return _json([sys.executable, "-m", "tests.bench.step_furnclip", task, str(folder), *settings])


def _json(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def steps(args: argparse.Namespace, folder: Path) -> None:
    write_model(folder / "model", tiny=False)
    write_inputs(folder, args.peers, captions(args.captions, args.effective), tiny=False)
    micro = {"micro": args.micro}
    runs: dict[str, Callable[[], dict[str, Any]]] = {
        f"furnclip, {args.scenario}": lambda: ours("step", folder, scenario=args.scenario, **micro),
        f"sentence-transformers, {args.scenario}": lambda: peer(
            args.peers, "sentence_transformers", folder, scenario=args.scenario, **micro
        ),
        "open_clip --accum-freq, all": lambda: peer(args.peers, "open_clip", folder, **micro),
    }
    rounds: list[dict[str, dict[str, Any]]] = []
    for _ in range(args.rounds):
        rounds.append({name: run() for name, run in runs.items()})
        took = (f"{name} {row['seconds']:.1f} s" for name, row in rounds[-1].items())
        print("; ".join(took), flush=True)
    found = {
        name: min((each[name] for each in rounds), key=lambda row: row["seconds"]) for name in runs
    }
    print(f"one step of ViT-B/32, batch {args.effective} in micro-batches of {args.micro}, fp32")
    print(f"{'':36}{'trained':>12}{'s':>8}{'samples/s':>11}{'a core-s':>10}{'peak MiB':>10}")
    for name, row in found.items():
        print(
            f"{name:36}{row['trained']:>12,}{row['seconds']:>8.1f}"
            f"{row['pairs_per_second']:>11.2f}{row['pairs_per_core_second']:>10.2f}"
            f"{row['peak_mib']:>10,.0f}",
            flush=True,
        )
    mine, *others = found.values()
    best = max(others, key=lambda row: row["pairs_per_second"])
    least = min(row["peak_mib"] for row in others)
    faster = mine["pairs_per_second"] / best["pairs_per_second"]
    leaner = mine["pairs_per_core_second"] / max(row["pairs_per_core_second"] for row in others)
    print(
        f"furnclip / best peer: samples/s x{faster:.2f} (aim 1.2), a core-second x{leaner:.2f}, "
        f"memory x{mine['peak_mib'] / best['peak_mib']:.2f} of the fastest peer's, "
        f"x{mine['peak_mib'] / least:.2f} of the leanest's (aim 0.8)",
        flush=True,
    )


def errors(args: argparse.Namespace, folder: Path) -> None:
    write_model(folder / "model", tiny=True)
    write_inputs(folder, args.peers, ["-"] * 32, tiny=True)
    print("gradient against one graph over the whole batch, fp64, tiny model, 32 pairs in 4 chunks")
    for dropout in (0.0, 0.1):
        clip = peer(args.peers, "open_clip_error", folder, dropout=dropout, micro=8)
        if dropout:  # the tiny model has attention dropout 0.1 built in
            other = peer(args.peers, "sentence_transformers_error", folder, dropout=0.1, micro=8)
            print(f"  sentence-transformers, dropout 0.1       {other['error']:.1e}")
            mine = ours("error", folder, micro=8)
            print(f"  furnclip, dropout 0.1                    {mine['error']:.1e}")
            ratio = clip["towers_error"] / max(mine["error"], 1e-17)
            print(f"  open_clip / furnclip                     x{ratio:.1e} (aim 100)")
        print(
            f"  open_clip, patch dropout {dropout}             {clip['error']:.1e}, "
            f"without logit_scale {clip['towers_error']:.1e}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="One optimiser step against the peers.")
    parser.add_argument("--peers", default=os.environ.get("FURNCLIP_BENCH_PEERS", sys.executable))
    parser.add_argument("--effective", type=int, default=128)
    parser.add_argument("--micro", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--scenario", choices=("dual_lora", "full"), default="dual_lora")
    parser.add_argument("--captions", help="a CSV with a column `name`")
    parser.add_argument("--only", choices=("steps", "errors"))
    args = parser.parse_args()
    print("peers:", peer(args.peers, "versions", Path()))
    with tempfile.TemporaryDirectory() as folder:
        if args.only != "errors":
            (Path(folder) / "full").mkdir()
            steps(args, Path(folder) / "full")
        if args.only != "steps":
            (Path(folder) / "tiny").mkdir()
            errors(args, Path(folder) / "tiny")


if __name__ == "__main__":
    main()
