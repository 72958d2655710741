"""``furnclip demo`` as typed: a whole small demo, and the project it leaves behind."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from furnclip.cli import app
from furnclip.demo.project import open_project
from furnclip.errors import UsageError

PRODUCTS = 96


def _furnclip(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def _demo(folder: Path, *arguments: str) -> Result:
    typed = ("demo", "--dir", str(folder), "--products", str(PRODUCTS), *arguments)
    done = _furnclip("--quiet", *typed)
    assert done.exit_code == 0
    return done


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("demo") / "project"
    open_project(folder)
    toml = folder / "furnclip.toml"
    toml.write_text(toml.read_text().replace("epochs = 24", "epochs = 1"))
    return folder, json.loads(_demo(folder, "--json").stdout)


def test_demo_reports_every_stage_and_both_models(made: tuple[Path, dict[str, Any]]) -> None:
    _, report = made

    names = ["draw", "clean", "shard", "base", "tune", "embed", "evaluate"]
    assert [stage["name"] for stage in report["stages"]] == names
    assert all(stage["seconds"] >= 0 for stage in report["stages"])
    fields = {field["field"]: field["correct"] / field["total"] for field in report["accuracy"]}
    assert set(fields) == {"object_type", "style", "material", "color"}
    assert min(fields.values()) > 0.6
    scores = report["report"]["directions"]["text_to_image"]["scores"]
    for label in ("base", "tuned"):
        hit = scores[label]["hit@1"]
        assert 0 <= hit["low"] <= hit["mean"] <= hit["high"] <= 1


def test_demo_run_again_has_nothing_to_do(made: tuple[Path, dict[str, Any]]) -> None:
    folder, first = made
    again = json.loads(_demo(folder, "--json").stdout)

    assert not any(stage["did"] for stage in again["stages"])
    for name in ("split", "products", "directions", "slices"):
        assert again["report"][name] == first["report"][name]


def test_tables_show_accuracy_and_intervals(made: tuple[Path, dict[str, Any]]) -> None:
    output = _demo(made[0], "--no-arena").stdout

    for expected in ("answer key", "object_type", "text → image", "hit@1", "..", "neither"):
        assert expected in output


def test_every_command_works_in_the_folder_it_leaves(
    made: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made[0])

    cleaned = json.loads(_furnclip("clean", "list", "--json").stdout)["runs"]
    assert [run["backend"] for run in cleaned] == ["rules"]
    assert json.loads(_furnclip("shard", "--json").stdout)["unchanged"]
    assert not json.loads(_furnclip("shard", "verify", "--json").stdout)["problems"]
    runs = json.loads(_furnclip("runs", "--json").stdout)["runs"]
    assert [(run["scenario"], run["status"]) for run in runs] == [
        ("dual_lora", "finished"),
        ("unfrozen_targets", "finished"),
    ]
    assert json.loads(_furnclip("embed", "--json").stdout)["files"] == 0
    report = json.loads(_furnclip("eval", "--json").stdout)
    assert report["directions"] == made[1]["report"]["directions"]
    found = json.loads(_furnclip("search", "green velvet armchair", "-k", "3", "--json").stdout)
    assert len(found["results"]["tuned"]) == 3


def test_no_split_shares_a_product_with_another(made: tuple[Path, dict[str, Any]]) -> None:
    from furnclip.shards import ShardReader, list_shards

    seen: dict[str, set[str]] = {}
    for name in ("shards", "shards-coarse"):
        for split in ("train", "val", "test"):
            reader = ShardReader(list_shards(made[0] / "data" / name / split))
            products = {str(reader.meta(row)["product_id"]) for row in range(len(reader))}
            assert seen.setdefault(split, products) == products
    assert not seen["train"] & seen["test"]
    assert not seen["val"] & seen["test"]


def test_base_is_trained_on_kinds_alone(made: tuple[Path, dict[str, Any]]) -> None:
    from furnclip.shards import ShardReader, list_shards

    reader = ShardReader(list_shards(made[0] / "data/shards-coarse/train"))
    for row in range(len(reader)):
        meta = reader.meta(row)
        assert reader.text(row).lower().removeprefix("an ").removeprefix("a ") == (
            str(meta["object_type"]).lower()
        )


def test_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/photo.jpg").write_bytes(b"")
    with pytest.raises(UsageError, match="is not empty"):
        open_project(tmp_path / "mine")
    (tmp_path / "project").mkdir()
    toml = tmp_path / "project/furnclip.toml"
    toml.write_text("[cleaning]\nbackend = 'endpoint'\n")
    with pytest.raises(UsageError, match="project of your own"):
        open_project(tmp_path / "project")
    assert toml.read_text().startswith("[cleaning]")


def test_other_products_need_another_folder(made: tuple[Path, dict[str, Any]]) -> None:
    from furnclip.demo.pipeline import run_demo

    with pytest.raises(UsageError, match="is not the catalogue of 50 products"):
        run_demo(open_project(made[0]), products=50)
