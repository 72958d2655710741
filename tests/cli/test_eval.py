"""``furnclip eval`` as typed."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from furnclip.cli import app
from furnclip.embeddings.catalogue import embed_catalogue
from furnclip.errors import DataError, UsageError
from tests.embeddings.shop import write_shop
from tests.tiny import build_tiny_clip


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    models = {
        label: build_tiny_clip(folder / label, seed=seed)
        for seed, label in enumerate(("base", "tuned"))
    }
    shards = write_shop(folder / "shards", splits={"train": (5,), "test": (16,)})
    embed_catalogue(models, shards_dir=shards, out=folder / "vectors")
    return folder / "vectors"


def test_table_shows_both_models_in_both_directions(vectors: Path) -> None:
    done = CliRunner().invoke(app, ["eval", "--vectors", str(vectors)], catch_exceptions=False)
    assert done.exit_code == 0
    assert "text → image: 16 queries, gallery of 16, split test" in done.stdout
    assert "image → text: 16 queries" in done.stdout
    for name in ("hit@1", "ndcg@10", "median rank", "base", "tuned", "tuned - base", "modern"):
        assert name in done.stdout
    assert "recall@" not in done.stdout  # one photo a product: equal to hit@k


def test_json_holds_every_metric_with_its_interval(vectors: Path) -> None:
    arguments = ["eval", "--vectors", str(vectors), "--json", "--split", "train"]
    report = json.loads(CliRunner().invoke(app, arguments, catch_exceptions=False).stdout)
    found = report["directions"]["image_to_text"]
    assert set(found["scores"]["tuned"]["recall@5"]) == {"mean", "low", "high"}
    assert set(found["compared"]["tuned"]["map"]) == {"difference", "low", "high", "p"}
    assert found["gallery_size"] == 5


def test_one_model_alone_can_be_measured(vectors: Path) -> None:
    arguments = ["eval", "--vectors", str(vectors), "--model", "tuned", "--slices", "none"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert "tuned" in done.stdout
    assert "base" not in done.stdout


def test_html_is_written(vectors: Path, tmp_path: Path) -> None:
    arguments = ["eval", "--vectors", str(vectors), "--html", str(tmp_path / "report.html")]
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0
    assert (tmp_path / "report.html").read_text("utf-8").startswith("<!doctype html>")


def test_errors_name_what_there_is(vectors: Path) -> None:
    place = ["--vectors", str(vectors)]
    missing = CliRunner().invoke(app, ["eval", *place, "--model", "mine"]).exception
    assert isinstance(missing, DataError)
    assert "base, tuned" in missing.message
    split = CliRunner().invoke(app, ["eval", *place, "--split", "val"]).exception
    assert isinstance(split, DataError)
    assert "test (16)" in str(split.hint)
    attribute = CliRunner().invoke(app, ["eval", *place, "--slices", "size"]).exception
    assert isinstance(attribute, UsageError)


def test_without_vectors_the_next_step_is_embed(tmp_path: Path) -> None:
    error = CliRunner().invoke(app, ["eval"]).exception
    assert isinstance(error, DataError)
    assert "furnclip embed" in str(error.hint)
