"""One optimiser step of open_clip and of sentence-transformers, through their own training code.

Runs in an environment that has them: ``python step_peers.py TASK FOLDER KEY=VALUE...``, where
FOLDER holds what ``bench_step`` prepared. Prints one JSON line.
"""

import json
import logging
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

TINY = {"width": 32, "layers": 2}


def peak_mib() -> float:
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", "ascii")


def measured(
    step: Callable[[], object], warm: Callable[[], object], pairs: int
) -> dict[str, float]:
    """Time one step after a small one; its peak memory is that of the whole process."""
    warm()
    forget_peak()
    start, used = time.perf_counter(), time.process_time()
    step()
    took, used = time.perf_counter() - start, time.process_time() - used
    return {
        "pairs_per_second": pairs / took,
        "pairs_per_core_second": pairs / used,
        "peak_mib": peak_mib(),
        "seconds": took,
    }


class Batches:
    """What open_clip's loop asks of its data loader."""

    def __init__(self, images: torch.Tensor, texts: torch.Tensor, micro: int) -> None:
        self.images, self.texts, self.micro = images, texts, micro
        self.num_samples = len(images)
        self.num_batches = len(images) // micro
        self.dataloader = self

    def set_epoch(self, epoch: int) -> None:
        """Nothing is shuffled."""

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        parts = (torch.split(each, self.micro) for each in (self.images, self.texts))
        return iter(zip(*parts, strict=True))


def open_clip_args(accumulate: int, micro: int, clip: float | None) -> Namespace:
    return Namespace(
        device="cpu", precision="fp32", distill=False, accum_freq=accumulate, skip_scheduler=True,
        horovod=False, grad_clip_norm=clip, rank=0, local_rank=0, world_size=1, wandb=False,
        log_every_n_steps=100, batch_size=micro, log_local=False,
    )  # fmt: skip


def open_clip_step(folder: Path, micro: int) -> dict[str, float]:
    """``--accum-freq`` as its own loop does it; all parameters, as it has no LoRA."""
    import open_clip
    from open_clip_train.train import train_one_epoch

    inputs = torch.load(folder / "inputs.pt", weights_only=True)
    model = open_clip.create_model("ViT-B-32-quickgelu", precision="fp32", output_dict=True)
    vectors = [p for p in model.parameters() if p.ndim < 2]
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    optimizer = torch.optim.AdamW(
        [{"params": vectors, "weight_decay": 0.0}, {"params": matrices, "weight_decay": 0.1}],
        lr=1e-4, betas=(0.9, 0.98), eps=1e-6,
    )  # fmt: skip
    images, ids = inputs["normalised"], inputs["ids"]

    def epoch(rows: int) -> None:
        data = {"train": Batches(images[:rows], ids[:rows], micro)}
        args = open_clip_args(max(1, rows // micro), micro, 1.0)
        loss = open_clip.ClipLoss()
        train_one_epoch(model, data, loss, 0, optimizer, None, None, None, args)

    trained = sum(p.numel() for p in model.parameters())
    found = measured(lambda: epoch(len(images)), lambda: epoch(micro), len(images))
    return found | {"trained": trained}


def sentence_transformer(folder: Path, scenario: str, dropout: float) -> Any:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer

    model = SentenceTransformer(modules=[Transformer(str(folder / "model"))], device="cpu")
    clip = model[0].model
    if scenario == "dual_lora":
        # What ``model.add_adapter`` calls; there transformers 5.24 asks for an unreleased peft.
        from peft import LoraConfig, inject_adapter_in_model

        targets = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]
        config = LoraConfig(r=16, lora_alpha=32, lora_dropout=dropout, target_modules=targets)
        inject_adapter_in_model(config, clip)
        for projection in (clip.visual_projection, clip.text_projection):
            projection.requires_grad_(requires_grad=True)
    clip.logit_scale.requires_grad = False  # the loss has a fixed scale
    model.train()
    return model


def columns(images: torch.Tensor, ids: torch.Tensor) -> list[dict[str, Any]]:
    """What its collator makes of a column of images and one of texts, padded to the longest."""
    mask = (
        torch.arange(ids.shape[1]) <= ids.argmax(dim=1)[:, None]
    ).long()  # the end token is last
    longest = int(mask.sum(dim=1).max())
    return [
        {"pixel_values": images, "modality": "image"},
        {
            "input_ids": ids[:, :longest],
            "attention_mask": mask[:, :longest],
            "modality": "text",
        },
    ]


def symmetric_loss(model: Any, scale: float, micro: int) -> Any:
    from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss

    return CachedMultipleNegativesRankingLoss(
        model,
        scale=scale,
        mini_batch_size=micro,
        directions=("query_to_doc", "doc_to_query"),
        partition_mode="per_direction",
    )


def sentence_transformers_step(folder: Path, micro: int, scenario: str) -> dict[str, float]:
    """Its cached loss; the trainer's other work (collating, logging) is left out of the time."""
    inputs = torch.load(folder / "inputs.pt", weights_only=True)
    model = sentence_transformer(folder, scenario, 0.05)
    loss = symmetric_loss(model, 14.3, micro)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)

    def step(rows: int) -> None:
        optimizer.zero_grad()
        features = columns(inputs["normalised"][:rows], inputs["ids"][:rows])
        torch.autograd.backward(loss(features, None))
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()

    pairs = len(inputs["ids"])
    found = measured(lambda: step(pairs), lambda: step(micro), pairs)
    return found | {"trained": sum(p.numel() for p in trained)}


def flat(model: torch.nn.Module, *, without: str = "-") -> torch.Tensor:
    found = [
        p.grad.flatten()
        for name, p in model.named_parameters()
        if p.grad is not None and name != without
    ]
    return torch.cat(found)


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def open_clip_error(dropout: float, micro: int, *, pairs: int = 32) -> dict[str, float]:
    """Against one graph over all pairs, fp64; its own random regulariser is patch dropout.

    Its two passes draw different patches. The full batch is taken with those of the first pass and
    with those of the second; the smaller error counts.
    """
    import open_clip
    from open_clip_train.train import train_one_epoch

    torch.manual_seed(0)
    model = open_clip.CLIP(
        embed_dim=16,
        output_dict=True,
        vision_cfg={**TINY, "image_size": 32, "patch_size": 8, "head_width": 16,
                    "patch_dropout": dropout},
        text_cfg={**TINY, "context_length": 16, "vocab_size": 300, "heads": 2},
    ).double()  # fmt: skip
    images = torch.randn(pairs, 3, 32, 32, dtype=torch.float64)
    ids = torch.randint(1, 299, (pairs, 16))
    ids[:, -1] = 299
    loss = open_clip.ClipLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    torch.manual_seed(1)
    args = open_clip_args(pairs // micro, micro, None)
    data = {"train": Batches(images, ids, micro)}
    train_one_epoch(model, data, loss, 0, optimizer, None, None, None, args)
    found, towers = flat(model), flat(model, without="logit_scale")
    torch.manual_seed(1)
    errors = []
    for _ in range(2):
        model.zero_grad()
        parts = [model(i, t) for i, t in Batches(images, ids, micro)]
        image, text = (
            torch.cat([p[k] for p in parts]) for k in ("image_features", "text_features")
        )
        torch.autograd.backward(loss(image, text, parts[0]["logit_scale"]))
        errors.append(
            (relative(found, flat(model)), relative(towers, flat(model, without="logit_scale")))
        )
    return {"error": min(e[0] for e in errors), "towers_error": min(e[1] for e in errors)}


def sentence_transformers_error(folder: Path, dropout: float, micro: int) -> dict[str, float]:
    inputs = torch.load(folder / "inputs.pt", weights_only=True)
    images, ids = inputs["normalised"].double(), inputs["ids"]
    model = sentence_transformer(folder, "full", dropout).double()
    loss = symmetric_loss(model, 14.3, micro)
    torch.manual_seed(1)
    torch.autograd.backward(loss(columns(images, ids), None))
    found = flat(model)
    model.zero_grad()
    torch.manual_seed(1)
    pictures, texts = columns(images, ids)
    clip = model[0].model
    image = torch.cat([clip.get_image_features(x).pooler_output for x in images.split(micro)])
    widths = zip(texts["input_ids"].split(micro), texts["attention_mask"].split(micro), strict=True)
    text = torch.cat(
        [
            clip.get_text_features(
                i[:, : int(m.sum(dim=1).max())], attention_mask=m[:, : int(m.sum(dim=1).max())]
            ).pooler_output
            for i, m in widths
        ]
    )
    del pictures
    unit = torch.nn.functional.normalize
    logits = unit(image) @ unit(text).T * 14.3
    right = torch.arange(len(logits))
    entropy = torch.nn.functional.cross_entropy
    torch.autograd.backward((entropy(logits, right) + entropy(logits.T, right)) / 2)
    error = relative(found, flat(model))
    return {"error": error, "towers_error": error}


def tokens(folder: Path) -> dict[str, str]:
    """Tokenise real captions with CLIP's own vocabulary, which open_clip carries."""
    import open_clip

    texts = json.loads((folder / "captions.json").read_text("utf-8"))
    torch.save(open_clip.SimpleTokenizer()(texts), folder / "ids.pt")
    return {}


def versions() -> dict[str, str]:
    import open_clip
    import sentence_transformers

    return {
        "torch": torch.__version__,
        "open_clip": open_clip.__version__,
        "sentence_transformers": sentence_transformers.__version__,
    }


def main() -> None:
    logging.disable(logging.WARNING)
    task, folder = sys.argv[1], Path(sys.argv[2])
    options = dict(option.split("=") for option in sys.argv[3:])
    micro, dropout = int(options.get("micro", 16)), float(options.get("dropout", 0))
    tasks: dict[str, Callable[[], Any]] = {
        "tokens": lambda: tokens(folder),
        "versions": versions,
        "open_clip": lambda: open_clip_step(folder, micro),
        "sentence_transformers": lambda: sentence_transformers_step(
            folder, micro, options["scenario"]
        ),
        "open_clip_error": lambda: open_clip_error(dropout, micro),
        "sentence_transformers_error": lambda: sentence_transformers_error(folder, dropout, micro),
    }
    print(json.dumps(tasks[task]()))


if __name__ == "__main__":
    main()
