"""What a training run is made of: its names and folders, its data, its models."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from furnclip.config import TrainingSettings
from furnclip.errors import DataError, Interrupted, StateError, UsageError
from furnclip.files import sole_writer, write_text_atomic, writing_in
from furnclip.model_files import locate
from furnclip.shards import list_shards
from furnclip.state import StateStore
from furnclip.state.training import begin_run, end_run
from furnclip.training.checkpoint import check_same, write_settings
from furnclip.training.data import is_remote
from furnclip.training.distributed import World
from furnclip.training.recording import check_tracker

if TYPE_CHECKING:
    pass

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
