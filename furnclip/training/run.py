"""What a training run is made of: its names and folders, its data, its models."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from furnclip.config import TrainingSettings
from furnclip.errors import DataError, Interrupted, StateError, UsageError
from furnclip.files import sole_writer, write_text_atomic, writing_in
from furnclip.model_files import locate
from furnclip.progress import Progress
from furnclip.shards import list_shards
from furnclip.state import StateStore
from furnclip.state.training import begin_run, end_run
from furnclip.training.checkpoint import check_same, write_settings
from furnclip.training.data import fitted_batch_size, is_remote, read_pairs, steps_per_epoch
from furnclip.training.distributed import World
from furnclip.training.feeds import Feed, LocalFeed, RemoteFeed
from furnclip.training.pixels import image_size, open_pixels
from furnclip.training.recording import check_tracker
from furnclip.training.remote import RemoteShards, RemoteTrain
from furnclip.training.towers import Towers
from furnclip.training.validation import Split, pooled

if TYPE_CHECKING:
    from transformers import CLIPProcessor

_LAUNCH = "launch"  # in the run's folder: which torchrun began it
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunPlan:
    """A run's identity: everything that decides its result, and where it is kept."""

    run_id: str
    folder: Path
    model_path: Path
    settings: TrainingSettings
    data: Path | str
    base: str
    train_split: str
    resumed: bool

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints are."""
        return self.folder / "checkpoints"

    @property
    def curves(self) -> Path:
        """Where the picture of the loss goes."""
        return self.folder / "curves.png"

    @property
    def described(self) -> dict[str, Any]:
        """Return the settings with base, data and split, as kept beside the checkpoints."""
        return {
            **self.settings.model_dump(mode="json"),
            "base": self.base,
            "data": str(self.data),
            "train_split": self.train_split,
        }


def plan_run(
    settings: TrainingSettings,
    *,
    data: Path | str,
    base: str,
    runs_dir: Path,
    models_dir: Path,
    name: str | None,
    resume: str | None,
    train_split: str,
) -> RunPlan:
    """Name a new run, or check that a resumed one is the same.

    Raises ``UsageError`` for a name that is taken, a run that is not there, or settings that
    differ from the run's.
    """
    # Before torch is imported, a model loaded or a run recorded:
    if not is_remote(data):
        list_shards(Path(data) / train_split)
    locate(base)
    check_tracker(settings.track)
    resume = resume or restarted_run(runs_dir)
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    run_id = resume or name or f"{settings.scenario}-{stamp}"
    if Path(run_id).name != run_id or run_id.startswith("."):
        raise UsageError(f"{run_id!r} cannot be a run's name", hint="use letters, digits, - and _")
    plan = RunPlan(
        run_id=run_id,
        folder=runs_dir / run_id,
        model_path=models_dir / run_id,
        settings=settings,
        data=data,
        base=base,
        train_split=train_split,
        resumed=resume is not None,
    )
    if resume is not None:
        check_same(plan.folder, plan.described)
    elif os.environ.get("RANK", "0") != "0":
        pass  # the leader looks, before it makes the folder that this process might find
    elif plan.folder.exists():
        raise _taken(run_id)
    elif plan.model_path.exists():
        raise UsageError(f"{plan.model_path} is there already", hint="give another --name")
    return plan


def agreed(plan: RunPlan, world: World) -> RunPlan:
    """Return the plan under the leader's name: two clocks may give two names."""
    run_id = world.text_of_leader(plan.run_id)
    return replace(
        plan,
        run_id=run_id,
        folder=plan.folder.with_name(run_id),
        model_path=plan.model_path.with_name(run_id),
        resumed=bool(world.of_leader(float(plan.resumed))),
    )


def launch_id() -> str | None:
    """Return what is the same for all processes that one ``torchrun`` starts here, and restarts."""
    run = os.environ.get("TORCHELASTIC_RUN_ID")
    return None if run is None else f"{run} {os.getppid()}"


def restarted_run(runs_dir: Path) -> str | None:
    """Return the run that this ``torchrun`` began before it restarted its processes, if it did."""
    if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
        return None
    begun = [
        path for path in runs_dir.glob(f"*/{_LAUNCH}") if path.read_text("utf-8") == launch_id()
    ]
    newest = max(begun, key=lambda path: path.stat().st_mtime, default=None)
    return None if newest is None else newest.parent.name


@contextmanager
def recorded_run(plan: RunPlan, store: StateStore, world: World) -> Iterator[None]:
    """Keep the run's status in the state file right, whatever ends it.

    Turns Ctrl-C into ``Interrupted`` with the command that goes on. Raises ``UsageError`` when
    another process took the name meanwhile, ``DataError`` when one is training this very run.
    """
    with (
        _claimed(plan) if world.leader else nullcontext(),
        _recorded(plan, store, world),
        world.lost_processes_named(plan.run_id),
    ):
        yield


@contextmanager
def _claimed(plan: RunPlan) -> Iterator[None]:
    with writing_in(plan.folder.parent):
        try:
            plan.folder.mkdir(parents=True, exist_ok=plan.resumed)
        except FileExistsError as error:
            raise _taken(plan.run_id) from error
    with sole_writer(plan.folder):
        yield


def _taken(run_id: str) -> UsageError:
    return UsageError(
        f"there is a run called {run_id} already",
        hint=f"give another --name, or go on with --resume {run_id}",
    )


@contextmanager
def _recorded(plan: RunPlan, store: StateStore, world: World) -> Iterator[None]:
    from safetensors import SafetensorError

    if world.leader:
        write_settings(plan.folder, plan.described)
        write_text_atomic(plan.folder / _LAUNCH, launch_id() or "")
        begin_run(
            store,
            run_id=plan.run_id,
            scenario=plan.settings.scenario,
            base=plan.base,
            data=plan.data,
            device=world.device,
            settings=plan.described,
        )
    status = "failed"
    try:
        yield
        status = "finished"
    except (KeyboardInterrupt, Interrupted):
        status = "interrupted"
        kept = sorted(plan.checkpoints.glob("step-*"))
        what = f"step {int(kept[-1].name[5:])} is kept" if kept else "nothing was trained yet"
        raise Interrupted(
            f"training stopped; {what}", hint=f"furnclip train --resume {plan.run_id}"
        ) from None
    except (OSError, SafetensorError) as error:  # a full disk, mostly
        raise DataError(
            f"training stopped: {error}",
            hint=f"mend that, then go on with: furnclip train --resume {plan.run_id}",
        ) from error
    finally:
        if status != "finished" and world.leader:
            with suppress(StateError):  # the error that ended the run matters more
                end_run(store, plan.run_id, status)


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
