"""``write_dataset`` and ``create_mini_train`` as the API document shows them."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from furnclip.config import PrepConfig, PrepSettings
from furnclip.errors import DataError, UsageError
from furnclip.preparing.sharding import create_mini_train, write_dataset
from furnclip.preparing.verify import verify_shards
from furnclip.shards import ShardReader, list_shards
from tests.preparing.catalogues import SMALL, Project


def frame(folder: Path, count: int) -> pd.DataFrame:
    return pd.DataFrame(Project(folder, count).rows)


def test_dataset_holds_every_row_of_the_frame(tmp_path: Path) -> None:
    df = frame(tmp_path, 40)
    df["price"] = [None if n % 2 else 9.5 for n in range(40)]
    df["color"] = [None if n % 2 else "Red" for n in range(40)]
    result = write_dataset(
        df=df, output_folder=str(tmp_path / "train"), image_root_dir=str(tmp_path), config=SMALL
    )
    assert (result.rows, result.samples, len(result.shards)) == (40, 40, 3)
    reader = ShardReader(list_shards(tmp_path / "train"))
    assert [reader.meta(i)["product_id"] for i in range(40)] == df["product_id"].tolist()
    assert [reader.meta(i)["color"] for i in range(2)] == ["Red", ""]
    sizes = json.loads((tmp_path / "train" / "sizes.json").read_text())
    assert sizes == {"train-000000.tar": 16, "train-000001.tar": 16, "train-000002.tar": 8}


def test_unusable_rows_are_counted_and_listed(tmp_path: Path) -> None:
    df = frame(tmp_path, 10)
    df.loc[2, "local_path"] = None
    df.loc[3, "local_path"] = "images/none.jpg"
    df.loc[4, ["product_id", "local_path"]] = df.loc[5, ["product_id", "local_path"]]
    result = write_dataset(df, tmp_path / "out", tmp_path, SMALL)
    assert (result.rows, result.samples, result.rejected, result.duplicates) == (10, 7, 2, 1)
    listed = pd.read_csv(tmp_path / "out" / "rejects.csv")
    assert listed["row"].tolist() == [3, 4, 6]
    with pytest.raises(DataError, match="no row"):
        write_dataset(df.loc[2:3], tmp_path / "none", tmp_path, SMALL)


def test_config_may_be_the_class_of_the_api_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    df = frame(tmp_path, 6)
    monkeypatch.setenv("FURNCLIP_PREP__SAMPLES_PER_SHARD", "4")
    assert len(write_dataset(df, tmp_path / "a", tmp_path, config=PrepConfig).shards) == 2

    class Mine(PrepConfig):
        SAMPLES_PER_SHARD = 2

    assert len(write_dataset(df, tmp_path / "b", tmp_path, config=Mine).shards) == 3


def test_wrong_columns_and_folders_are_named(tmp_path: Path) -> None:
    df = frame(tmp_path, 3)
    with pytest.raises(DataError, match="titel"):
        write_dataset(df, tmp_path / "a", tmp_path, SMALL, title_column="titel")
    with pytest.raises(DataError, match="nowhere"):
        write_dataset(df, tmp_path / "a", tmp_path / "nowhere", SMALL)


def test_mini_train_copies_the_first_shards(tmp_path: Path) -> None:
    write_dataset(frame(tmp_path, 40), tmp_path / "train", tmp_path, SMALL)
    copies = create_mini_train(
        train_folder=str(tmp_path / "train"), mini_folder=str(tmp_path / "mini"), num_shards=2
    )
    assert [path.name for path in copies] == ["mini-000000.tar", "mini-000001.tar"]
    for copy, original in zip(copies, list_shards(tmp_path / "train"), strict=False):
        assert copy.read_bytes() == original.read_bytes()
    create_mini_train(tmp_path / "train", tmp_path / "mini", 1)
    assert json.loads((tmp_path / "mini" / "sizes.json").read_text()) == {"mini-000000.tar": 16}
    assert len(list_shards(tmp_path / "mini")) == 1
    assert len(create_mini_train(tmp_path / "train", tmp_path / "all")) == 3


def test_mini_train_of_a_project_stays_verifiable_until_the_next_shard(tmp_path: Path) -> None:
    project = Project(tmp_path, 90)
    project.shard()
    before = project.files()
    create_mini_train(project.out / "train", project.out / "mini_train", num_shards=2)
    assert verify_shards(project.out).problems == []
    assert project.shard().decoded == 0
    assert {k: v for k, v in project.files().items() if k != "mini_train/.lock"} == before


def test_mini_train_refuses_what_makes_no_sense(tmp_path: Path) -> None:
    write_dataset(frame(tmp_path, 4), tmp_path / "train", tmp_path, SMALL)
    with pytest.raises(UsageError):
        create_mini_train(tmp_path / "train", tmp_path / "mini", 0)
    with pytest.raises(UsageError):
        create_mini_train(tmp_path / "train", tmp_path / "." / "train")
    with pytest.raises(DataError):
        create_mini_train(tmp_path / "none", tmp_path / "mini")


def test_sharding_imports_neither_torch_nor_webdataset_nor_pandas(tmp_path: Path) -> None:
    Project(tmp_path, 30)
    code = """
import sys
from pathlib import Path
from tests.preparing.catalogues import Project
Project(Path(sys.argv[1]), 30).shard()
print([n for n in ("torch", "webdataset", "pandas", "scipy", "openai") if n in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
    assert PrepSettings().samples_per_shard == 10_000
