"""Training runs in the state file: what ran, how each step went, what came out.

Paths are kept relative to the state file's folder, so that a project may be moved and commands
may run from anywhere.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from furnclip.state.store import StateStore

_COLUMNS = (
    "run_id, scenario, base, data, device, settings, status, started_at, finished_at, seconds, "
    "best_epoch, model_path, metrics"
)


@dataclass(frozen=True)
class RunRow:
    """One training run; ``status`` is running, finished, interrupted or failed."""

    run_id: str
    scenario: str
    base: str
    data: Path | str
    device: str
    settings: dict[str, Any]
    status: str
    started_at: datetime
    finished_at: datetime | None
    seconds: float | None
    best_epoch: int | None
    model_path: Path | None
    metrics: dict[str, Any]


@dataclass(frozen=True)
class StepRow:
    """One optimiser step: ``step`` from 0 over the whole run, ``epoch`` from 1."""

    step: int
    epoch: int
    loss: float
    lr: float
    grad_norm: float
    logit_scale: float
    pairs_per_second: float
    memory_mib: float


def begin_run(
    store: StateStore,
    *,
    run_id: str,
    scenario: str,
    base: str,
    data: Path | str,
    device: str,
    settings: Mapping[str, Any],
) -> None:
    """Record a run as running; one that is resumed keeps its first start time."""
    with store.transaction() as connection:
        connection.execute(
            """INSERT INTO training_run (run_id, scenario, base, data, device, settings, status)
            VALUES (?, ?, ?, ?, ?, ?, 'running') ON CONFLICT (run_id) DO UPDATE
            SET status = 'running', device = excluded.device, updated_at = now()""",
            [
                run_id,
                scenario,
                _stored(store, base) if Path(base).is_dir() else base,
                str(data) if "://" in str(data) else _stored(store, data),
                device,
                json.dumps(dict(settings)),
            ],
        )


def record_steps(store: StateStore, run_id: str, steps: Sequence[StepRow]) -> None:
    """Append steps in one transaction; a step run again after a resume replaces the old one."""
    if not steps:
        return
    with store.transaction() as connection:
        connection.execute(
            "DELETE FROM training_step WHERE run_id = ? AND step >= ?", [run_id, steps[0].step]
        )
        connection.executemany(
            "INSERT INTO training_step VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [[run_id, *astuple(step)] for step in steps],
        )
        connection.execute("UPDATE training_run SET updated_at = now() WHERE run_id = ?", [run_id])


def record_epoch(
    store: StateStore, run_id: str, *, epoch: int, metrics: Mapping[str, float]
) -> None:
    """Record the validation metrics after ``epoch`` (0: before training)."""
    with store.transaction() as connection:
        connection.execute(
            "DELETE FROM training_epoch WHERE run_id = ? AND epoch >= ?", [run_id, epoch]
        )
        connection.execute(
            "INSERT INTO training_epoch VALUES (?, ?, ?)",
            [run_id, epoch, json.dumps(dict(metrics))],
        )


def finish_run(
    store: StateStore,
    run_id: str,
    *,
    seconds: float,
    best_epoch: int | None,
    model_path: Path | None,
    metrics: Mapping[str, Any],
) -> None:
    """Record the result; ``model_path`` is None for a run that only evaluates."""
    with store.transaction() as connection:
        connection.execute(
            """UPDATE training_run SET status = 'finished', finished_at = now(),
            updated_at = now(), seconds = ?, best_epoch = ?, model_path = ?, metrics = ?
            WHERE run_id = ?""",
            [
                seconds,
                best_epoch,
                None if model_path is None else _stored(store, model_path),
                json.dumps(dict(metrics)),
                run_id,
            ],
        )


def end_run(store: StateStore, run_id: str, status: str) -> None:
    """Record that a run was ``interrupted`` or ``failed``."""
    with store.transaction() as connection:
        connection.execute(
            "UPDATE training_run SET status = ?, updated_at = now() WHERE run_id = ?",
            [status, run_id],
        )


def list_runs(store: StateStore) -> list[RunRow]:
    """Return all runs, the newest first."""
    with store.transaction() as connection:
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM training_run ORDER BY started_at DESC, run_id DESC"  # noqa: S608
        ).fetchall()
    return [_run(store, row) for row in rows]


def latest_run(store: StateStore) -> RunRow | None:
    """Return the finished run that ended last and left a model, or None."""
    done = [run for run in list_runs(store) if run.status == "finished" and run.model_path]
    return max(done, key=lambda run: (run.finished_at or run.started_at, run.run_id), default=None)


def find_run(store: StateStore, run_id: str) -> RunRow | None:
    """Return a run by its id, or None."""
    return next((run for run in list_runs(store) if run.run_id == run_id), None)


def steps_of(store: StateStore, run_id: str) -> list[StepRow]:
    """Return the recorded steps of a run in order."""
    with store.transaction() as connection:
        rows = connection.execute(
            """SELECT step, epoch, loss, lr, grad_norm, logit_scale, pairs_per_second, memory_mib
            FROM training_step WHERE run_id = ? ORDER BY step""",
            [run_id],
        ).fetchall()
    return [StepRow(*row) for row in rows]


def epochs_of(store: StateStore, run_id: str) -> list[tuple[int, dict[str, float]]]:
    """Return (epoch, validation metrics) of a run in order."""
    with store.transaction() as connection:
        rows = connection.execute(
            "SELECT epoch, metrics FROM training_epoch WHERE run_id = ? ORDER BY epoch", [run_id]
        ).fetchall()
    return [(epoch, json.loads(metrics)) for epoch, metrics in rows]


def _run(store: StateStore, row: tuple[Any, ...]) -> RunRow:
    values = dict(zip(_COLUMNS.split(", "), row, strict=True))
    base = _restored(store, values["base"])
    return RunRow(
        **values
        | {
            "base": str(base) if base.is_dir() else values["base"],
            "data": values["data"] if "://" in values["data"] else _restored(store, values["data"]),
            "settings": json.loads(values["settings"]),
            "model_path": values["model_path"] and _restored(store, values["model_path"]),
            "metrics": json.loads(values["metrics"] or "{}"),
        }
    )


def _stored(store: StateStore, path: str | Path) -> str:
    return Path(os.path.relpath(Path(path).resolve(), store.path.parent.resolve())).as_posix()


def _restored(store: StateStore, stored: str) -> Path:
    """Return the path relative to the current folder where that is shorter to read."""
    path = Path(os.path.normpath(store.path.parent.resolve() / stored))
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
