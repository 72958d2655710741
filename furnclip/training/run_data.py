"""The splits of a run: local shards indexed and decoded, remote ones streamed or copied."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from furnclip.errors import DataError
from furnclip.files import write_text_atomic
from furnclip.progress import Progress
from furnclip.training.data import fitted_batch_size, is_remote, read_pairs, steps_per_epoch
from furnclip.training.distributed import World
from furnclip.training.feeds import Feed, LocalFeed, RemoteFeed
from furnclip.training.pixels import image_size, open_pixels
from furnclip.training.remote import RemoteShards, RemoteTrain
from furnclip.training.run import RunPlan
from furnclip.training.towers import Towers
from furnclip.training.validation import Split, pooled

if TYPE_CHECKING:
    from transformers import CLIPProcessor

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunData:
    """The splits of a run; ``val`` and ``test`` are None when there are none.

    ``train`` is rows of local shards, or a remote place to stream them from.
    """

    train: Split | RemoteTrain
    val: Split | None
    test: Split | None


def open_data(
    plan: RunPlan, processor: CLIPProcessor, towers: Towers, world: World, *, progress: Progress
) -> RunData:
    """Index the splits and decode what fits in memory; frozen towers run over them once.

    The text tower's features are kept whenever it is frozen, the vision tower's when nothing
    augments the images. ``linear_probe`` never augments, because its speed is its point.
    ``zero_shot`` only counts the training pairs. Of remote shards ``val`` and ``test`` are copied.
    """
    folder, train = Path(plan.data), None
    if is_remote(plan.data):
        remote = RemoteShards.at(str(plan.data))
        train, folder = remote.train(plan.train_split), plan.folder / "held-out"
        if world.leader:
            for name in ("val", "test"):
                remote.copy(name, folder, progress=progress)
        world.any(flag=False)  # nobody reads before all is copied
    room = plan.settings.cache_mib * 2**20
    splits: dict[str, Split] = {}
    for name in ("val", "test") if train else (plan.train_split, "val", "test"):
        if name != plan.train_split and not any((folder / name).glob("*.tar")):
            _log.warning("no shards in %s: %s", folder / name, _WITHOUT[name])
            continue
        split = _open_split(plan, folder / name, processor, towers, room=room, progress=progress)
        room -= held_bytes(split.images)
        splits[name] = _pooled(plan, name, split, towers)
    return RunData(train or splits[plan.train_split], splits.get("val"), splits.get("test"))


def _open_split(
    plan: RunPlan,
    folder: Path,
    processor: CLIPProcessor,
    towers: Towers,
    *,
    room: int,
    progress: Progress,
) -> Split:
    with progress.task(f"reading {folder.name}") as task:
        table = read_pairs(
            folder,
            processor,
            max_length=towers.clip.config.text_config.max_position_embeddings,
        )
        task.total(len(table))
        task.advance(len(table))
    images = open_pixels(
        table.reader,
        size=image_size(processor),
        cache_bytes=0 if _idle(plan, folder.name) else room,
        workers=plan.settings.workers,
        pin=towers.device.type == "cuda",
        progress=progress,
    )
    return Split(table, images)


def _pooled(plan: RunPlan, name: str, split: Split, towers: Towers) -> Split:
    if name == "test" or _idle(plan, name):
        return split
    augmented = name == plan.train_split and towers.transform.kind != "none"
    return pooled(
        split,
        towers,
        batch_size=plan.settings.val_batch_size,
        images=towers.image_frozen and not augmented,
        text=towers.text_frozen,
    )


def _idle(plan: RunPlan, name: str) -> bool:
    """Tell whether a split is only counted."""
    return name == plan.train_split and plan.settings.scenario == "zero_shot"


def open_feed(
    plan: RunPlan, data: RunData, processor: CLIPProcessor, towers: Towers, world: World
) -> Feed:
    """Return the training split as steps."""
    settings = plan.settings
    batch_size = fitted_batch_size(len(data.train), settings.effective_batch_size)
    if isinstance(data.train, Split):
        return LocalFeed(data.train, towers, world, batch_size, settings.seed)
    return RemoteFeed(
        data.train, towers, processor, world, batch_size, settings.seed, settings.workers
    )


_WITHOUT = {
    "val": "no early stopping, and the last weights are published as they are",
    "test": "the final metrics are taken on the validation split",
}


def held_bytes(images: object) -> int:
    """Return the memory a row source holds."""
    rows: Any = getattr(images, "rows", None)
    return 0 if rows is None else rows.numel() * rows.element_size()


def check_data(plan: RunPlan, data: RunData, world: World) -> None:
    """Refuse to resume on other data than the run began with; note it down for a new run.

    Raises ``DataError`` also when a batch would leave a process without pairs.
    """
    parts = [
        split.table.fingerprint if isinstance(split, Split) else split.fingerprint
        for split in (data.train, data.val)
        if split is not None
    ]
    fingerprint = hashlib.blake2b("".join(parts).encode(), digest_size=8).hexdigest()
    path = plan.folder / "data.json"
    if path.is_file():
        saved: Mapping[str, Any] = json.loads(path.read_text("utf-8"))
        if saved["fingerprint"] != fingerprint:
            raise DataError(
                f"the shards in {plan.data} changed since {plan.run_id} began",
                hint="start a new run without --resume",
            )
    elif world.leader:
        write_text_atomic(path, json.dumps({"fingerprint": fingerprint, "pairs": len(data.train)}))
    batch_size = fitted_batch_size(len(data.train), plan.settings.effective_batch_size)
    smallest = len(data.train) // steps_per_epoch(len(data.train), batch_size)
    if plan.settings.scenario != "zero_shot" and smallest < 2 * world.size:
        raise DataError(
            f"{len(data.train)} training pairs in batches of {smallest} are too few "
            f"for {world.size} processes",
            hint="a contrastive loss needs at least two pairs a batch and process",
        )
