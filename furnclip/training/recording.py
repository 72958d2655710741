"""Where a run's numbers go: the state file always, a tracker when asked for."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from furnclip.errors import StateLockedError, UsageError
from furnclip.progress import Task
from furnclip.state import StateStore
from furnclip.state.training import StepRow, epochs_of, record_epoch, record_steps, steps_of
from furnclip.training.validation import SELECTED_BY

_FLUSH_SECONDS = 5.0  # a transaction takes 60 ms; at this pace that is 1 % of the time
_log = logging.getLogger(__name__)


class Tracker(Protocol):
    """A service that draws curves."""

    def log(self, values: Mapping[str, float], *, step: int) -> None:
        """Record values at a step."""

    def close(self) -> None:
        """Send what is left."""


class Recorder:
    """Buffers steps, so that other commands get at the state file between two writes."""

    def __init__(self, store: StateStore, run_id: str, tracker: Tracker | None) -> None:
        self._store, self._run_id, self._tracker = store, run_id, tracker
        self._steps: list[StepRow] = []
        self._flushed = time.monotonic()

    def step(self, row: StepRow) -> None:
        """Record one step."""
        self._steps.append(row)
        if self._tracker is not None:
            values = {
                f"train/{name}": getattr(row, name)
                for name in StepRow.__dataclass_fields__
                if name not in {"step", "epoch"}
            }
            self._tracker.log(values, step=row.step)
        if time.monotonic() - self._flushed >= _FLUSH_SECONDS:
            self.flush()

    def epoch(self, epoch: int, step: int, metrics: Mapping[str, float]) -> None:
        """Record the validation metrics after an epoch (0: before training)."""
        self.flush()
        record_epoch(self._store, self._run_id, epoch=epoch, metrics=metrics)
        if self._tracker is not None:
            self._tracker.log({f"val/{k}": v for k, v in metrics.items()}, step=step)

    def draw_before(self, step: int, task: Task, *, loss: str, score: str) -> None:
        """Draw the curves up to ``step`` again, for a run that goes on."""
        for row in steps_of(self._store, self._run_id):
            if row.step < step:
                task.point(loss, row.loss)
        for _, metrics in epochs_of(self._store, self._run_id):
            task.point(score, metrics[SELECTED_BY])

    def flush(self) -> None:
        """Write the buffered steps; when the state file is busy they wait for the next time."""
        self._flushed = time.monotonic()
        try:
            record_steps(self._store, self._run_id, self._steps)
        except StateLockedError as error:
            _log.warning("%s; training goes on", error)
        else:
            self._steps = []


class _TensorBoard:
    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        writer: Any = SummaryWriter
        self._writer = writer(str(folder))

    def log(self, values: Mapping[str, float], *, step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _WeightsAndBiases:
    def __init__(self, folder: Path, run_id: str, settings: Mapping[str, Any]) -> None:
        import wandb

        self._run = wandb.init(
            project="furnclip",
            name=run_id,
            id=run_id,
            resume="allow",
            dir=str(folder),
            config=dict(settings),
        )

    def log(self, values: Mapping[str, float], *, step: int) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        import wandb

        self._run.finish()
        wandb.teardown()  # waits until its own process has written the file


def check_tracker(kind: str) -> None:
    """Raise ``UsageError`` when ``wandb`` or ``tensorboard`` is asked for and not installed."""
    if kind != "none" and find_spec(kind) is None:
        raise UsageError(f"{kind} is not installed", hint=f"pip install 'furnclip[{kind}]'")


def open_tracker(
    kind: str, folder: Path, run_id: str, *, settings: Mapping[str, Any]
) -> Tracker | None:
    """Start ``wandb`` or ``tensorboard``, writing under ``folder``; None for ``none``.

    A resumed run goes on under its own id. Raises ``UsageError`` when it is not installed.
    """
    if kind == "none":
        return None
    check_tracker(kind)
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "tensorboard":
        return _TensorBoard(folder)
    return _WeightsAndBiases(folder, run_id, settings)
