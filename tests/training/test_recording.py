import logging
from collections.abc import Mapping
from pathlib import Path

import pytest
from filelock import FileLock

from furnclip.errors import UsageError
from furnclip.state import StateStore
from furnclip.state.training import (
    StepRow,
    begin_run,
    end_run,
    epochs_of,
    finish_run,
    latest_run,
    list_runs,
    record_epoch,
    record_steps,
    steps_of,
)
from furnclip.training.recording import Recorder, open_tracker


def step(number: int, epoch: int = 1) -> StepRow:
    return StepRow(number, epoch, 1.0 / (number + 1), 1e-4, 2.0, 14.3, 100.0, 512.0)


@pytest.fixture
def store() -> StateStore:
    return StateStore(Path(".furnclip/state.duckdb"), budget_seconds=0.2)


def begin(store: StateStore, run_id: str = "a") -> None:
    begin_run(
        store,
        run_id=run_id,
        scenario="dual_lora",
        base="some/base",
        data=Path("data/shards"),
        device="cpu",
        settings={"lr": 1e-4},
    )


def test_run_goes_from_running_to_finished(store: StateStore) -> None:
    begin(store)
    assert [(r.status, r.settings, r.metrics) for r in list_runs(store)] == [
        ("running", {"lr": 1e-4}, {})
    ]
    assert latest_run(store) is None
    finish_run(store, "a", seconds=2.0, best_epoch=1, model_path=Path("models/a"), metrics={"x": 1})
    run = latest_run(store)
    assert run is not None
    assert (run.model_path, run.metrics, run.best_epoch) == (Path("models/a"), {"x": 1}, 1)
    assert run.data == Path("data/shards")
    assert run.base == "some/base"


def test_latest_run_is_the_one_that_finished_last_with_a_model(store: StateStore) -> None:
    for name in ("a", "b", "c", "d"):
        begin(store, name)
    for name, path in (("b", "models/b"), ("a", "models/a"), ("c", None)):
        model = None if path is None else Path(path)
        finish_run(store, name, seconds=1.0, best_epoch=None, model_path=model, metrics={})
    end_run(store, "d", "failed")
    run = latest_run(store)
    assert run is not None
    assert run.run_id == "a"


def test_paths_follow_the_project_when_it_moves(
    store: StateStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    (project / "base").mkdir(parents=True)
    monkeypatch.chdir(project)
    begin_run(
        store, run_id="a", scenario="x", base="base", data=Path("d"), device="cpu", settings={}
    )
    finish_run(store, "a", seconds=1.0, best_epoch=1, model_path=Path("models/a"), metrics={})
    monkeypatch.chdir(tmp_path)
    moved = project.rename(tmp_path / "moved")
    run = latest_run(StateStore(moved / ".furnclip/state.duckdb"))
    assert run is not None
    assert (run.base, run.model_path) == ("moved/base", Path("moved/models/a"))


def test_steps_run_again_after_a_resume_replace_the_old_ones(store: StateStore) -> None:
    record_steps(store, "a", [step(n) for n in range(5)])
    record_steps(store, "a", [step(3, epoch=2), step(4, epoch=2)])
    record_steps(store, "b", [step(0)])
    assert [(s.step, s.epoch) for s in steps_of(store, "a")] == [
        (0, 1), (1, 1), (2, 1), (3, 2), (4, 2),
    ]  # fmt: skip
    record_epoch(store, "a", epoch=1, metrics={"m": 0.5})
    record_epoch(store, "a", epoch=1, metrics={"m": 0.6})
    assert epochs_of(store, "a") == [(1, {"m": 0.6})]


def test_busy_state_file_delays_records_and_loses_none(
    store: StateStore, caplog: pytest.LogCaptureFixture
) -> None:
    begin(store)
    recorder = Recorder(store, "a", None)
    recorder.step(step(0))
    with FileLock(f"{store.path}.lock"), caplog.at_level(logging.WARNING):
        recorder.flush()
    assert "training goes on" in caplog.text
    assert steps_of(store, "a") == []
    recorder.step(step(1))
    recorder.flush()
    assert [s.step for s in steps_of(store, "a")] == [0, 1]


def test_tracker_gets_steps_and_validation(store: StateStore) -> None:
    class Seen:
        def __init__(self) -> None:
            self.calls: list[tuple[int, set[str]]] = []

        def log(self, values: Mapping[str, float], *, step: int) -> None:
            self.calls.append((step, set(values)))

        def close(self) -> None:
            """Nothing to send."""

    begin(store)
    seen = Seen()
    recorder = Recorder(store, "a", seen)
    recorder.step(step(0))
    recorder.epoch(1, 1, {"text_to_image.mrr": 0.5})
    assert seen.calls[0][0] == 0
    assert {"train/loss", "train/lr", "train/grad_norm"} <= seen.calls[0][1]
    assert seen.calls[1] == (1, {"val/text_to_image.mrr"})


@pytest.mark.parametrize("kind", ["wandb", "tensorboard"])
def test_tracker_that_is_not_installed_names_its_extra(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    for name in ("wandb", "tensorboard", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=f"{kind} is not installed") as caught:
        open_tracker(kind, tmp_path, "a", settings={})
    assert f"furnclip[{kind}]" in str(caught.value.hint)


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_gets_the_values(tmp_path: Path) -> None:
    tracker = open_tracker("tensorboard", tmp_path / "t", "a", settings={})
    assert tracker is not None
    tracker.log({"train/loss": 1.5}, step=0)
    tracker.log({"train/loss": 0.5}, step=1)
    tracker.close()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(tmp_path / "t"))
    found.Reload()
    assert [(e.step, e.value) for e in found.Scalars("train/loss")] == [(0, 1.5), (1, 0.5)]


@pytest.mark.filterwarnings("ignore")
def test_wandb_writes_a_run_without_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("WANDB_MODE", "offline"), ("WANDB_SILENT", "true")):
        monkeypatch.setenv(name, value)
    tracker = open_tracker("wandb", tmp_path / "t", "run-a", settings={"lr": 1e-4})
    assert tracker is not None
    tracker.log({"train/loss": 1.5}, step=0)
    tracker.close()
    (folder,) = (tmp_path / "t" / "wandb").glob("offline-run-*-run-a")
    (record,) = folder.glob("*.wandb")
    content = record.read_bytes()
    assert b"train/loss" in content
    assert b"lr" in content
