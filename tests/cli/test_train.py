import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from furnclip.cli import app
from furnclip.state import StateStore
from furnclip.state.training import end_run, list_runs
from tests.tiny import build_tiny_clip
from tests.training.shards import TEXTS, write_catalogue

FEW = ["--epochs", "1", "--effective-batch-size", "16", "--workers", "0"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    build_tiny_clip(folder / "base", texts=TEXTS)
    write_catalogue(folder / "shards", train=32, held_out=12)
    write_catalogue(folder / "shards", train=32, held_out=12)
    return folder


@pytest.fixture
def here(project: Path) -> list[str]:
    return ["train", "--data", str(project / "shards"), "--base", str(project / "base"), *FEW]


def run(arguments: list[str], *, exit_code: int = 0) -> str:
    """Run a command; return stdout, or the error's text when it must fail."""
    result = CliRunner().invoke(app, arguments)
    if exit_code:
        assert result.exception is not None
        assert getattr(result.exception, "exit_code", result.exit_code) == exit_code
        return f"{result.exception} {getattr(result.exception, 'hint', '')}"
    assert result.exception is None, result.output
    return result.stdout


def test_train_prints_base_against_tuned_and_runs_lists_it(here: list[str]) -> None:
    table = run([*here, "--scenario", "dual_lora", "--lr", "1e-3", "--name", "mine"])
    assert "test split, base against dual_lora" in table
    assert "text to image, hit@1" in table
    assert "95% interval" in table
    assert ".." in table
    assert Path("models/mine/config.json").is_file()
    assert Path("runs/mine/curves.png").read_bytes().startswith(b"\x89PNG")
    listed = json.loads(run(["runs", "--json"]))["runs"]
    assert [(r["run_id"], r["status"], r["model_path"]) for r in listed] == [
        ("mine", "finished", "models/mine")
    ]
    assert "mine" in run(["runs"])


def test_train_json_carries_run_metrics_and_model_path(here: list[str]) -> None:
    found = json.loads(run([*here, "--json", "--scenario", "linear_probe"]))
    assert found["run_id"].startswith("linear_probe-")
    assert found["model_path"] == f"models/{found['run_id']}"
    assert 0 <= found["metrics"]["tuned"]["text_to_image.ndcg@10"] <= 1
    assert found["best_epoch"] == 1


def test_zero_shot_prints_the_base(here: list[str]) -> None:
    assert "base against zero_shot" in run([*here, "--scenario", "zero_shot"])
    assert not Path("models").exists()


def test_all_scenarios_are_compared_and_what_cannot_run_is_left_out(
    here: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    table = run([*here, "--scenario", "all", "--name", "x"])
    for scenario in ("zero_shot", "linear_probe", "vision_lora", "text_lora", "dual_lora"):
        assert scenario in table
    assert "unfrozen_targets is left out" in caplog.text  # its layers 10 and 11 are not there
    model = Path("models/x-dual_lora/model.safetensors")
    assert model.is_file()
    written = model.stat().st_mtime_ns
    # Again, with one of them stopped half way: only that one is trained.
    store = StateStore(Path(".furnclip/state.duckdb"))
    end_run(store, "x-text_lora", "interrupted")
    before = {run.run_id: run.finished_at for run in list_runs(store)}
    assert "text_lora" in run([*here, "--scenario", "all", "--name", "x"])
    after = {run.run_id: run.finished_at for run in list_runs(store)}
    assert {name for name in after if after[name] != before[name]} == {"x-text_lora"}
    assert model.stat().st_mtime_ns == written


def test_resuming_a_finished_run_does_nothing(here: list[str]) -> None:
    run([*here, "--name", "mine"])
    before = Path("models/mine/model.safetensors").stat().st_mtime_ns
    assert run(["train", "--resume", "mine"]) == ""
    assert json.loads(run(["train", "--resume", "mine", "--json"]))["status"] == "finished"
    assert Path("models/mine/model.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"data": "x"}'])
def test_damaged_settings_of_a_run_are_a_data_error(content: str) -> None:
    Path("runs/mine").mkdir(parents=True)
    Path("runs/mine/settings.json").write_text(content, "utf-8")
    assert "start a new run" in run(["train", "--resume", "mine"], exit_code=3)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--scenario", "lora"], 2, "--scenario"),
        (["--lr", "-1"], 2, "--lr"),
        (["--base", "nowhere/at/all"], 3, "no model folder at nowhere/at/all"),
        (["--data", "nowhere"], 3, "furnclip shard"),
        (["--resume", "nothing"], 2, "no run to resume"),
        (["--resume", "a", "--name", "b"], 2, "--resume excludes --name"),
        (["--name", "../up"], 2, "cannot be a run's name"),
    ],
)
def test_wrong_options_are_explained(
    here: list[str], options: list[str], code: int, said: str
) -> None:
    assert said in run([*here, *options], exit_code=code)


def test_resume_takes_the_run_s_own_settings_and_refuses_others(
    here: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from furnclip.training import session

    class Cut(Exception):
        """A power cut after the first epoch."""

    def cut(*_: object) -> None:
        raise Cut

    with monkeypatch.context() as patched:
        patched.setattr(session.Session, "_restore_best", cut)
        assert isinstance(CliRunner().invoke(app, [*here, "--name", "mine"]).exception, Cut)
    error = run(["train", "--resume", "mine", "--epochs", "7"], exit_code=2)
    assert "epochs is 7, the run has 1" in error
    assert "base against dual_lora" in run(["train", "--resume", "mine"])


def test_runs_without_any_run_says_so() -> None:
    assert run(["runs"]) == ""
    assert json.loads(run(["runs", "--json"])) == {"runs": []}


def test_terminal_shows_epoch_loss_rate_and_time_left(here: list[str]) -> None:
    screen, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "furnclip", *here],
        stdout=subprocess.DEVNULL,
        stderr=terminal,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "TERM": "xterm"},
    )
    os.close(terminal)
    shown = b""
    while True:
        try:
            part = os.read(screen, 65536)
        except OSError:  # how Linux reports that the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(screen)
    assert process.wait() == 0
    text = shown.decode(errors="replace")
    assert "training" in text
    assert "epoch 1/1" in text
    assert "loss" in text
    assert "pairs/s" in text
    assert "GiB" in text
    assert any("\u2801" <= letter <= "\u28ff" for letter in text), "no curve of the loss"
