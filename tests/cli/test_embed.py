"""``furnclip embed`` as typed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest
from typer.testing import CliRunner

from furnclip.cli import app
from furnclip.errors import DataError, FurnclipError, UsageError
from furnclip.state import StateStore
from furnclip.state.training import begin_run, finish_run
from tests.embeddings.shop import COLORS, TYPES, write_shop
from tests.tiny import build_tiny_clip


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project in the current folder: shards, a base model, and a finished training run."""
    texts = [f"{color} {kind}" for color in COLORS for kind in TYPES]
    base = build_tiny_clip(tmp_path / "models" / "base", seed=0, texts=texts)
    model = build_tiny_clip(tmp_path / "models" / "run-1", seed=1, texts=texts)
    write_shop(tmp_path / "data" / "shards", splits={"train": (4, 4), "test": (8,)})
    store = StateStore(tmp_path / ".furnclip" / "state.duckdb")
    begin_run(
        store,
        run_id="run-1",
        scenario="dual_lora",
        base=str(base),
        data=tmp_path / "data" / "shards",
        device="cpu",
        settings={},
    )
    finish_run(store, "run-1", seconds=1.0, best_epoch=1, model_path=model, metrics={})
    return tmp_path


def _json(*arguments: str) -> dict[str, object]:
    done = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    found: dict[str, object] = json.loads(done.stdout)
    return found


def _error(*arguments: str) -> FurnclipError:
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, FurnclipError)
    return done.exception


def test_without_options_the_latest_run_and_its_base_are_embedded(project: Path) -> None:
    result = _json("embed", "--device", "cpu")
    assert (result["rows"], result["files"]) == (16, 6)
    assert result["master"] == "data/embeddings/master.parquet"
    models = cast("dict[str, dict[str, object]]", result["models"])
    assert {label: info["spec"] for label, info in models.items()} == {
        "base": "models/base",
        "tuned": "models/run-1",
    }
    done = CliRunner().invoke(app, ["embed", "--device", "cpu"], catch_exceptions=False)
    assert "nothing to embed, 6 up to date" in done.stdout


def test_more_models_are_labelled_by_their_folders(project: Path) -> None:
    build_tiny_clip(project / "models" / "mine", seed=2)
    models = ("--model", "tuned", "--model", "models/mine")
    result = _json("embed", "--base", "models/base", *models, "--device", "cpu")
    assert list(cast("dict[str, object]", result["models"])) == ["base", "tuned", "mine"]


def test_workers_then_collect(project: Path) -> None:
    options = ["--base", "models/base", "--model", "models/run-1", "--device", "cpu"]
    state = (project / ".furnclip" / "state.duckdb").read_bytes()
    for index in range(2):
        assert _json("embed", *options, "--worker", f"{index}/2")["master"] is None
    assert (project / ".furnclip" / "state.duckdb").read_bytes() == state
    assert _json("embed", *options, "--collect")["rows"] == 16


def test_torchrun_environment_is_a_worker(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    result = _json("embed", "--base", "models/base", "--model", "models/run-1", "--device", "cpu")
    assert (result["files"], result["master"]) == (2, None)


@pytest.mark.parametrize("worker", ["1", "a/2", "1/", "-1/2"])
def test_a_malformed_worker_is_a_usage_error(project: Path, worker: str) -> None:
    assert isinstance(_error("embed", "--worker", worker), UsageError)


def test_a_worker_must_be_told_its_models(project: Path) -> None:
    error = _error("embed", "--worker", "0/2")
    assert "does not open the state file" in error.message
    assert "--model models/<run> --base" in str(error.hint)


def test_a_wrong_model_path_is_one_clear_error(project: Path) -> None:
    error = _error("embed", "--model", "models/run-2")
    assert isinstance(error, DataError)
    assert "models/run-2" in error.message


def test_tuned_without_a_run_says_to_train(tmp_path: Path) -> None:
    write_shop(tmp_path / "data" / "shards", splits={"test": (2,)})
    error = _error("embed", "--model", "tuned")
    assert "furnclip train" in str(error.hint)


def test_embedding_starts_no_heavy_import_for_a_usage_error(project: Path) -> None:
    code = (
        "import sys; sys.argv = ['furnclip', 'embed', '--worker', 'x']\n"
        "from furnclip.__main__ import main\n"
        "try:\n main()\nexcept SystemExit as e:\n sys.exit('torch' in sys.modules or e.code != 2)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
