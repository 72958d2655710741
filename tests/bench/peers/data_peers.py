"""open_clip's webdataset pipeline, and a PIL file and a ``CLIPProcessor`` a sample.

Runs in an environment that has open_clip: ``python data_peers.py TASK FOLDER KEY=VALUE...``. Prints
one JSON line.
"""

import json
import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def core_seconds() -> float:
    """Return the processor time of this process and of its children, running ones included."""
    used = sum(os.times()[:4])
    for task in Path("/proc/self/task").glob("*/children"):
        for child in task.read_text("ascii").split():
            fields = Path(f"/proc/{child}/stat").read_text("ascii").rpartition(")")[2].split()
            used += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return used


def rate(loader: Any, rows: Callable[[Any], int]) -> dict[str, float]:
    """Measure a second pass: the first one starts the workers and warms the files."""
    found: dict[str, float] = {}
    for _ in range(2):
        seen, start, used = 0, time.perf_counter(), core_seconds()
        for batch in loader:
            seen += rows(batch)
        found = {
            "per_second": seen / (time.perf_counter() - start),
            "per_core_second": seen / (core_seconds() - used),
        }
    return found


def open_clip_pipeline(folder: Path, workers: int, batch: int) -> dict[str, float]:
    """Its own ``get_wds_dataset`` with its training transform (random crop, no flip)."""
    import open_clip
    from open_clip_train.data import get_wds_dataset

    shards = sorted((folder / "shards").glob("*.tar"))
    count = json.loads((folder / "count.json").read_text())
    transform = open_clip.image_transform(224, is_train=True)
    pattern = f"{folder}/shards/train-{{000000..{len(shards) - 1:06d}}}.tar"
    args = Namespace(
        train_data=pattern, dataset_resampled=False, train_num_samples=count, seed=0,
        workers=workers, batch_size=batch, world_size=1,
        train_data_upsampling_factors=None, val_num_samples=0,
    )  # fmt: skip
    info = get_wds_dataset(args, transform, is_train=True, tokenizer=open_clip.SimpleTokenizer())
    return rate(info.dataloader, lambda batch: len(batch[0]))


class Files(torch.utils.data.Dataset[Any]):
    """One image file and one call of the processor a sample, as tutorials do."""

    def __init__(self, folder: Path, model: Path) -> None:
        from transformers import CLIPProcessor

        self.paths = sorted(folder.glob("*.jpg"))
        processor: Any = CLIPProcessor
        self.processor = processor.from_pretrained(model)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        from PIL import Image

        path = self.paths[row]
        image = Image.open(path).convert("RGB")
        found = self.processor(
            text=path.with_suffix(".txt").read_text("utf-8"), images=image, return_tensors="pt",
            padding="max_length", max_length=77, truncation=True,
        )  # fmt: skip
        return {name: values[0] for name, values in found.items()}


def files(folder: Path, workers: int, batch: int, which: str) -> dict[str, float]:
    data = Files(folder / which, folder / "model")
    loader = torch.utils.data.DataLoader(
        data, batch_size=batch, shuffle=True, num_workers=workers,
        persistent_workers=workers > 0,
    )  # fmt: skip
    return rate(loader, lambda batch: len(batch["pixel_values"]))


def main() -> None:
    task, folder = sys.argv[1], Path(sys.argv[2])
    options = dict(option.split("=") for option in sys.argv[3:])
    sizes = int(options["workers"]), int(options["batch"])
    found = (
        open_clip_pipeline(folder, *sizes) if task == "open_clip" else files(folder, *sizes, task)
    )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
