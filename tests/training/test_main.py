"""Whole runs of a tiny CLIP on drawn squares."""

import errno
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import CLIPModel, CLIPProcessor

from furnclip.config import TrainingSettings
from furnclip.encoder import load_model
from furnclip.errors import DataError, FurnclipError, Interrupted, UsageError
from furnclip.files import sole_writer
from furnclip.progress import SILENT, Progress
from furnclip.state import StateStore
from furnclip.state.training import epochs_of, latest_run, list_runs, steps_of
from furnclip.training import main as main_module
from furnclip.training import publish, session
from furnclip.training.main import main, parse_args, run_training
from furnclip.training.model import get_model
from furnclip.training.results import TrainingResult
from furnclip.training.trainer import StepOutcome, Trainer
from furnclip.training.validation import evaluate
from tests.tiny import build_tiny_clip
from tests.training.shards import TEXTS, write_catalogue

EVERYTHING = (".*",)


@pytest.fixture
def store() -> StateStore:
    return StateStore(Path(".furnclip/state.duckdb"))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_clip(tmp_path_factory.mktemp("base"), texts=TEXTS)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_catalogue(tmp_path_factory.mktemp("shards"), train=48, held_out=12)


Train = Callable[..., TrainingResult]


@pytest.fixture
def train(store: StateStore, base: Path, shards: Path) -> Train:
    def run(
        *,
        data: Path = shards,
        name: str | None = None,
        resume: str | None = None,
        progress: Progress = SILENT,
        train_split: str = "train",
        **settings: Any,
    ) -> TrainingResult:
        chosen = {
            "epochs": 2,
            "effective_batch_size": 16,
            "lr": 1e-3,
            "workers": 0,
            "patience": 0,
        } | settings
        return run_training(
            TrainingSettings(**chosen),
            data=data,
            base=str(base),
            runs_dir=Path("runs"),
            models_dir=Path("models"),
            state=store,
            name=name,
            resume=resume,
            progress=progress,
            train_split=train_split,
        )

    return run


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_training_from_scratch_learns_and_is_recorded(train: Train, store: StateStore) -> None:
    result = train(
        scenario="unfrozen_targets",
        unfrozen_targets=EVERYTHING,
        epochs=20,
        lr=4e-3,
        augmentation="none",
    )
    base, tuned = (result.metrics[which]["text_to_image.hit@5"] for which in ("base", "tuned"))
    assert base < 0.6
    assert tuned > 0.8
    assert result.trained_parameters == result.parameters
    run = latest_run(store)
    assert run is not None
    assert run.run_id == result.run_id
    assert run.model_path == result.model_path
    assert run.metrics == result.metrics
    assert [step.step for step in steps_of(store, run.run_id)] == list(range(60))
    assert [epoch for epoch, _ in epochs_of(store, run.run_id)] == list(range(21))


@pytest.mark.parametrize("scenario", ["linear_probe", "vision_lora", "text_lora", "dual_lora"])
def test_frozen_parameters_stay_bit_identical(train: Train, base: Path, scenario: str) -> None:
    result = train(scenario=scenario, epochs=3)
    assert result.model_path is not None
    before, after = weights(base), weights(result.model_path)
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    towers = {"vision_lora": {"vision_model"}, "text_lora": {"text_model"}, "linear_probe": set()}
    expected = towers.get(scenario, {"vision_model", "text_model"})
    assert changed == expected | {"visual_projection", "text_projection", "logit_scale"}
    assert not any(
        "norm" in name or "embedding" in name
        for name in before
        if not torch.equal(before[name], after[name])
    )


def test_result_is_a_plain_model_folder_with_card_and_facts(train: Train, base: Path) -> None:
    result = train(scenario="dual_lora", name="mine")
    folder = Path("models/mine")
    assert result.model_path == folder
    model = CLIPModel.from_pretrained(folder)
    processor = CLIPProcessor.from_pretrained(folder)
    assert processor.tokenizer("a red sofa") == CLIPProcessor.from_pretrained(base).tokenizer(
        "a red sofa"
    )
    facts = json.loads((folder / "furnclip.json").read_text())
    assert facts["run"] == "mine"
    assert facts["base"] == str(base)
    assert facts["scenario"] == "dual_lora"
    assert facts["alpha"] == result.alpha
    card = (folder / "README.md").read_text()
    assert "# mine" in card
    assert "text_to_image.ndcg@10" in card
    assert not list(Path("models").glob(".*"))
    assert not model.training


def test_adapter_round_trip_keeps_the_logits(train: Train, tmp_path: Path) -> None:
    data = write_catalogue(tmp_path / "data", train=32, held_out=0)  # no sweep: alpha is 1
    result = train(scenario="dual_lora", epochs=4, lr=5e-3, name="mine", data=data)
    adapted: Any = load_model(Path("runs/mine/adapter"))[0]
    merged: Any = CLIPModel.from_pretrained(Path("models/mine"))
    assert result.alpha == 1.0
    batch = {
        "input_ids": torch.tensor([[0, 5, 9, 1], [0, 7, 8, 1]]),
        "pixel_values": torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)),
    }
    adapted.eval()
    with torch.no_grad():
        found, expected = (m(**batch).logits_per_image for m in (merged, adapted))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert adapted.logit_scale == merged.logit_scale


def test_adapter_is_interpolated_as_the_published_model_is(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "sweep_alpha", lambda score: (0.3, {0.3: score(0.3)}))
    train(scenario="dual_lora", epochs=4, lr=5e-3, name="mine")
    adapted: Any = load_model(Path("runs/mine/adapter"))[0]
    merged: Any = load_model(Path("models/mine"))[0]
    batch = {
        "input_ids": torch.tensor([[0, 5, 9, 1], [0, 7, 8, 1]]),
        "pixel_values": torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)),
    }
    with torch.no_grad():
        found, expected = (m.eval()(**batch).logits_per_image for m in (adapted, merged))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert adapted.logit_scale == merged.logit_scale


def test_zero_shot_measures_and_writes_no_model(train: Train, store: StateStore) -> None:
    result = train(scenario="zero_shot")
    assert result.model_path is None
    assert result.metrics["base"] == result.metrics["tuned"]
    assert not Path("models").exists()
    assert latest_run(store) is None
    assert list_runs(store)[0].status == "finished"


def test_micro_batches_do_not_change_the_result(train: Train) -> None:
    chosen = {"scenario": "unfrozen_targets", "unfrozen_targets": EVERYTHING, "epochs": 1}
    whole = train(name="whole", micro_batch_size=16, **chosen)
    parts = train(name="parts", micro_batch_size=5, **chosen)
    assert whole.model_path is not None
    assert parts.model_path is not None
    for name, value in weights(whole.model_path).items():
        torch.testing.assert_close(weights(parts.model_path)[name], value, rtol=0, atol=3e-5)


def test_loader_processes_and_the_image_cache_do_not_change_the_result(train: Train) -> None:
    held = train(name="held")
    decoded = train(name="decoded", cache_mib=0, workers=2)
    assert held.model_path is not None
    assert decoded.model_path is not None
    assert same(weights(held.model_path), weights(decoded.model_path))


def test_seed_decides_the_result(train: Train) -> None:
    paths = [
        train(name=name, seed=seed).model_path for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    first, again, other = (weights(path) for path in paths if path is not None)
    assert same(first, again)
    assert not same(first, other)


class Stopped(Exception):
    """Stands for a power cut."""


@pytest.mark.parametrize(
    ("scenario", "workers"), [("dual_lora", 0), ("dual_lora", 2), ("unfrozen_targets", 0)]
)
def test_resumed_run_is_bit_identical_to_an_uninterrupted_one(
    train: Train, store: StateStore, monkeypatch: pytest.MonkeyPatch, workers: int, scenario: str
) -> None:
    chosen = {
        "scenario": scenario,
        "unfrozen_targets": EVERYTHING,
        "epochs": 3,
        "checkpoint_steps": 2,
        "workers": workers,
        "cache_mib": 0,
        "micro_batch_size": 6,
    }
    whole = train(name="whole", **chosen)
    step = Trainer.step
    taken = 0

    def fail_in_the_middle(*args: Any, **kwargs: Any) -> StepOutcome:
        nonlocal taken
        taken += 1
        if taken == 6:  # after step 5 of 9, the second of epoch 2; step 4 was saved
            raise Stopped
        return step(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "step", fail_in_the_middle)
        with pytest.raises(Stopped):
            train(name="cut", **chosen)
    assert [run.status for run in list_runs(store)] == ["failed", "finished"]
    resumed = train(resume="cut", **chosen)
    assert whole.model_path is not None
    assert resumed.model_path is not None
    assert same(weights(whole.model_path), weights(resumed.model_path))
    losses = [[s.loss for s in steps_of(store, name)] for name in ("whole", "cut")]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 9
    assert whole.metrics == resumed.metrics


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_saves_a_checkpoint_and_names_the_command_that_goes_on(
    train: Train, store: StateStore, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    note = session._note

    def signalled(*args: Any, **counts: Any) -> str:
        if args[0].step == 3:
            signal.raise_signal(number)
        return note(*args, **counts)

    with monkeypatch.context() as patched:
        patched.setattr(session, "_note", signalled)
        with pytest.raises(Interrupted, match="step 4 is kept") as caught:
            train(name="mine")
    assert caught.value.hint == "furnclip train --resume mine"
    assert list_runs(store)[0].status == "interrupted"
    assert train(resume="mine").steps == 6
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_signal_while_validating_stops_before_anything_is_published(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = 0

    def signalled(*args: Any, **kwargs: Any) -> dict[str, float]:
        nonlocal called
        called += 1
        if called == 3:  # before training, after the first epoch, after the last
            signal.raise_signal(signal.SIGINT)
        return evaluate(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(session, "evaluate", signalled)
        with pytest.raises(Interrupted, match="step 6 is kept"):
            train(name="mine")
    assert not Path("models/mine").exists()
    assert train(resume="mine").steps == 6


def test_two_runs_at_once_cannot_share_a_name(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def another_begins(*args: Any, **kwargs: Any) -> Any:
        Path("runs/mine").mkdir(parents=True)
        return get_model(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(main_module, "get_model", another_begins)
        with pytest.raises(UsageError, match="called mine already"):
            train(name="mine")


@pytest.mark.parametrize(
    "name", ["trained.safetensors", "optimizer.safetensors", "random.safetensors", "state.json"]
)
def test_damaged_checkpoint_names_the_file_and_the_one_before_it_goes_on(
    train: Train, name: str
) -> None:
    train(name="mine", checkpoint_steps=2)
    newest = max(Path("runs/mine/checkpoints").glob("step-*"))
    (newest / name).write_bytes(b"{")
    with pytest.raises(DataError, match=f"cannot read .*{name}") as caught:
        train(resume="mine", checkpoint_steps=2)
    assert str(newest) in str(caught.value.hint)
    shutil.rmtree(newest)
    assert train(resume="mine", checkpoint_steps=2).steps == 6


def test_full_disk_is_one_message_with_the_command_that_goes_on(
    train: Train, store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(session, "save_checkpoint", full)
    with pytest.raises(DataError, match="No space left on device") as caught:
        train(name="mine")
    assert "--resume mine" in str(caught.value.hint)
    assert list_runs(store)[0].status == "failed"


def test_a_run_is_not_resumed_while_it_trains(train: Train, store: StateStore) -> None:
    train(name="mine", epochs=1)
    with (
        sole_writer(Path("runs/mine")),
        pytest.raises(DataError, match="another furnclip is writing runs/mine"),
    ):
        train(resume="mine", epochs=1)
    assert list_runs(store)[0].status == "finished"


def test_a_wrong_base_is_told_before_anything_is_written(shards: Path) -> None:
    with pytest.raises(DataError, match="no model folder at"):
        run_training(
            TrainingSettings(),
            data=shards,
            base="no/model/here",
            runs_dir=Path("runs"),
            models_dir=Path("models"),
            state=StateStore(Path("state.duckdb")),
        )
    assert not Path("runs").exists()


def test_a_tracker_that_is_not_installed_is_told_before_a_run_begins(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UsageError, match="wandb is not installed"):
        train(name="mine", track="wandb")
    assert not Path("runs/mine").exists()


def test_resuming_with_other_settings_is_refused_by_name(train: Train) -> None:
    train(name="mine")
    with pytest.raises(UsageError, match=r"cannot resume mine: lr is 0.5, the run has 0.001"):
        train(resume="mine", lr=0.5)


def test_resuming_on_other_data_is_refused(train: Train, tmp_path: Path) -> None:
    data = write_catalogue(tmp_path / "data", train=32, held_out=8)
    train(name="mine", data=data)
    write_catalogue(data, train=40, held_out=8)
    with pytest.raises(DataError, match="changed since mine began"):
        train(resume="mine", data=data)


def test_taken_name_and_unknown_run_are_refused(train: Train) -> None:
    train(name="mine", epochs=1)
    with pytest.raises(UsageError, match="called mine already"):
        train(name="mine", epochs=1)
    with pytest.raises(UsageError, match="no run to resume"):
        train(resume="other")


def test_training_stops_when_validation_stops_getting_better(train: Train) -> None:
    result = train(epochs=40, lr=1e-9, patience=2)
    assert result.best_epoch == 1
    assert result.epochs == 3


def test_few_steps_are_warned_of(train: Train, caplog: pytest.LogCaptureFixture) -> None:
    train(epochs=1, effective_batch_size=1024)
    assert "only 3 steps of 16 pairs" in caplog.text


def test_single_pair_is_too_few(train: Train, tmp_path: Path) -> None:
    data = write_catalogue(tmp_path / "data", train=1, held_out=8)
    with pytest.raises(DataError, match="1 training pairs in batches of 1 are too few"):
        train(data=data)


def test_without_held_out_splits_the_last_weights_are_published(
    train: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = write_catalogue(tmp_path / "data", train=16, held_out=0)
    result = train(data=data)
    assert result.alpha == 1.0
    assert result.metrics["tuned"] == {}
    assert result.model_path is not None
    assert "no early stopping" in caplog.text


def test_out_of_memory_halves_the_micro_batch_and_keeps_the_objective(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    from furnclip.training.towers import Inputs, Towers

    chosen = {"scenario": "unfrozen_targets", "unfrozen_targets": EVERYTHING, "epochs": 1}
    expected = train(name="roomy", micro_batch_size=4, **chosen)
    encode = Towers.encode_image
    failures = 0

    def small_memory(self: Towers, inputs: Inputs) -> Any:
        nonlocal failures
        if torch.is_grad_enabled() and len(inputs) > 4:
            failures += 1
            raise torch.OutOfMemoryError("no room")
        return encode(self, inputs)

    monkeypatch.setattr(Towers, "encode_image", small_memory)
    found = train(name="tight", micro_batch_size=16, **chosen)
    assert failures == 2  # 16, then 8
    assert expected.model_path is not None
    assert found.model_path is not None
    assert same(weights(expected.model_path), weights(found.model_path))


def test_one_pair_that_does_not_fit_is_an_error_with_a_way_out(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    from furnclip.training.towers import Towers

    def no_memory(*args: Any) -> Any:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(Towers, "encode_image", no_memory)
    monkeypatch.setattr(session, "evaluate", lambda *_, **__: {"text_to_image.ndcg@10": 0.0})
    with pytest.raises(FurnclipError, match="one pair does not fit"):
        train(micro_batch_size=4)


def test_siglip_trains_and_the_scale_stays_in_bounds(train: Train) -> None:
    result = train(
        scenario="unfrozen_targets", unfrozen_targets=EVERYTHING, loss="siglip", epochs=30, lr=2e-3
    )
    assert result.metrics["tuned"]["text_to_image.hit@5"] > 0.8
    assert result.model_path is not None
    assert 0 <= float(weights(result.model_path)["logit_scale"]) <= 4.6052


@pytest.mark.parametrize(
    ("option", "tolerance"),
    [({"precision": "bf16"}, 0.03), ({"gradient_checkpointing": True}, 1e-5)],
    ids=["bf16", "gradient_checkpointing"],
)
def test_low_precision_and_checkpointed_activations_train_alike(
    train: Train, store: StateStore, option: dict[str, Any], tolerance: float
) -> None:
    train(name="exact")
    train(name="found", **option)
    exact, found = ([step.loss for step in steps_of(store, name)] for name in ("exact", "found"))
    assert found == pytest.approx(exact, rel=tolerance)
    assert len(found) == 6


def test_parsed_options_come_from_the_settings_and_the_arguments() -> None:
    Path("furnclip.toml").write_text("[training]\nepochs = 3\n")
    args = parse_args(["--scenario", "text_lora", "--lr", "0.5"])
    assert (args.scenario, args.lr, args.epochs) == ("text_lora", 0.5, 3)


def test_main_runs_the_whole_pipeline(base: Path, shards: Path) -> None:
    result = main(f"--data {shards} --base {base} --epochs 1 --workers 0 --name scripted".split())
    assert result.model_path == Path("models/scripted")
    assert CLIPModel.from_pretrained(result.model_path) is not None
