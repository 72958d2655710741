"""The training loop: epochs, checkpoints, validation, early stopping."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path

from furnclip.errors import Interrupted
from furnclip.files import atomic_path
from furnclip.progress import Progress, Task
from furnclip.state.training import StepRow
from furnclip.training.checkpoint import (
    Position,
    contiguous,
    load_checkpoint,
    restore,
    save_checkpoint,
)
from furnclip.training.data import fitted_batch_size, steps_per_epoch
from furnclip.training.distributed import World
from furnclip.training.feeds import Feed
from furnclip.training.memory import fitting_micro_batch, used_mib
from furnclip.training.recording import Recorder
from furnclip.training.run import RunPlan
from furnclip.training.schedule import learning_rate, warmup_length
from furnclip.training.stopping import StopRequest
from furnclip.training.towers import Towers
from furnclip.training.trainer import Trainer
from furnclip.training.validation import SELECTED_BY, Split, evaluate

_FEW_STEPS = 40
_SCORE = "validation nDCG@10"
_log = logging.getLogger(__name__)


@dataclass
class Session:
    """One run in progress; ``train`` leaves the best weights in the model."""

    plan: RunPlan
    towers: Towers
    feed: Feed
    val: Split | None
    trainer: Trainer
    recorder: Recorder | None
    world: World
    progress: Progress

    def train(self) -> Position:
        """Train to the last epoch or until validation stops getting better.

        Goes on from the newest checkpoint when there is one. Raises ``Interrupted`` after a
        signal, with everything up to the last whole step saved.
        """
        settings = self.plan.settings
        total = steps_per_epoch(len(self.feed), self.batch_size) * settings.epochs
        self._warn_of_few_steps(total)
        warmup = warmup_length(
            total, fraction=settings.warmup_fraction, steps=settings.warmup_steps
        )
        pairs = len(self.feed) * settings.epochs
        with (
            StopRequest() as stop,
            self.progress.task("training", total=pairs, unit="pairs") as task,
        ):
            position = self._resumed(task) or self._begin(task)
            began = time.monotonic() - position.seconds
            task.advance(pairs * position.step / total)
            while position.epoch <= settings.epochs and not self._stale(position):
                for inputs, positives in self.feed.batches(position):
                    # One step on every pair of the batch, whatever fits in memory.
                    started = time.monotonic()
                    lr = learning_rate(
                        position.step, total_steps=total, warmup=warmup, peak=settings.lr
                    )
                    done = self.trainer.step(inputs, positives, lr=lr)
                    now = time.monotonic()
                    batch = sum(self.world.sizes)
                    row = StepRow(
                        step=position.step,
                        epoch=position.epoch,
                        loss=done.loss,
                        lr=lr,
                        grad_norm=done.grad_norm,
                        logit_scale=done.logit_scale,
                        pairs_per_second=batch / max(now - started, 1e-9),
                        memory_mib=used_mib(self.towers.device),
                    )
                    position = replace(
                        position,
                        step=position.step + 1,
                        step_in_epoch=position.step_in_epoch + 1,
                        micro_batch_size=self.trainer.micro_batch_size,
                        seconds=now - began,
                    )
                    self._report(row)
                    task.advance(batch)
                    task.point("loss", row.loss)
                    task.note(_note(row, position, total=total, epochs=settings.epochs))
                    # A signal is obeyed between two steps, by all ranks at the same one.
                    if self.world.any(flag=stop.asked):
                        self._save(position)
                        raise Interrupted("stopped")
                    if position.step % settings.checkpoint_steps == 0:
                        self._save(position)
                position = replace(position, seconds=time.monotonic() - began)
                position = self._end_epoch(position, task)
                self._save(position)
                if self.world.any(flag=stop.asked):  # while validating
                    raise Interrupted("stopped")
        self._restore_best(position)
        return position

    @property
    def batch_size(self) -> int:
        """Pairs of all ranks in one step, at the most."""
        return fitted_batch_size(len(self.feed), self.plan.settings.effective_batch_size)

    def _warn_of_few_steps(self, total: int) -> None:
        if total < _FEW_STEPS:
            _log.warning(
                "only %d steps of %d pairs: a smaller --effective-batch-size or more --epochs "
                "would teach more",
                total,
                self.batch_size,
            )

    def _begin(self, task: Task) -> Position:
        """Measure the base on validation and find out how much fits in memory."""
        if self.val is not None:
            metrics = evaluate(self.val, self.towers, batch_size=self.plan.settings.val_batch_size)
            task.point(_SCORE, metrics[SELECTED_BY])
            if self.recorder is not None:
                self.recorder.epoch(0, 0, metrics)
        if not self.trainer.micro_batch_size:
            inputs, _ = next(self.feed.batches(Position()))
            fitting = fitting_micro_batch(self.towers, inputs)
            self.trainer.micro_batch_size = self.world.smallest(fitting)
        return Position(micro_batch_size=self.trainer.micro_batch_size)

    def _resumed(self, task: Task) -> Position | None:
        if not self.plan.resumed:
            return None
        position = load_checkpoint(
            self.plan.checkpoints,
            parameters=self.trainer.parameters,
            optimizer=self.trainer.optimizer,
            world=self.world,
        )
        if position is not None:
            self.trainer.micro_batch_size = position.micro_batch_size
            self.trainer.scaler.load_state_dict(position.grad_scale)
            if self.recorder is not None:
                self.recorder.draw_before(position.step, task, loss="loss", score=_SCORE)
        return position

    def _end_epoch(self, position: Position, task: Task) -> Position:
        """Validate, keep the weights when they are the best yet, and move to the next epoch."""
        following = replace(position, epoch=position.epoch + 1, step_in_epoch=0)
        if self.val is None:
            return following
        metrics = evaluate(self.val, self.towers, batch_size=self.plan.settings.val_batch_size)
        task.point(_SCORE, metrics[SELECTED_BY])
        if self.recorder is not None:
            self.recorder.epoch(position.epoch, position.step, metrics)
        score = self.world.of_leader(metrics[SELECTED_BY])
        if score <= position.best_score:
            return replace(following, stale=position.stale + 1)
        if self.world.leader:
            self._write_best(position.epoch)
        return replace(following, best_score=score, best_epoch=position.epoch, stale=0)

    def _stale(self, position: Position) -> bool:
        patience = self.plan.settings.patience
        return patience > 0 and position.stale >= patience

    def _save(self, position: Position) -> None:
        """Write a checkpoint; then the best weights of earlier epochs are of no more use."""
        if self.recorder is not None:
            self.recorder.flush()
        save_checkpoint(
            self.plan.checkpoints,
            replace(position, grad_scale=self.trainer.scaler.state_dict()),
            parameters=self.trainer.parameters,
            optimizer=self.trainer.optimizer,
            world=self.world,
        )
        if self.world.leader:
            for path in self.plan.folder.glob("best-*.safetensors"):
                if path != self._best(position.best_epoch):
                    path.unlink()

    def _best(self, epoch: int) -> Path:
        return self.plan.folder / f"best-{epoch:04d}.safetensors"

    def _write_best(self, epoch: int) -> None:
        from safetensors.torch import save_file

        with atomic_path(self._best(epoch)) as temporary:
            save_file(contiguous(self.trainer.parameters), temporary)

    def _restore_best(self, position: Position) -> None:
        from safetensors.torch import load_file

        path = self._best(position.best_epoch)
        if position.best_epoch and path.is_file():
            restore(self.trainer.parameters, load_file(path), source=path)

    def _report(self, row: StepRow) -> None:
        if self.recorder is not None:
            self.recorder.step(row)


def _note(row: StepRow, position: Position, *, total: int, epochs: int) -> str:
    parts = [
        f"epoch {row.epoch}/{epochs}",
        f"step {position.step}/{total}",
        f"loss {row.loss:.3f}",
        f"lr {row.lr:.1e}",
        f"scale {row.logit_scale:.1f}",
        f"{row.memory_mib / 1024:.2f} GiB",
    ]
    if position.best_epoch:
        parts.append(f"best nDCG@10 {position.best_score:.3f} after epoch {position.best_epoch}")
    return " · ".join(parts)
