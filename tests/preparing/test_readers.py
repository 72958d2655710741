"""Programs that others wrote read what we write."""

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from furnclip.shards import ShardReader, list_shards
from tests.preparing.catalogues import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path, 60)
    made.rows[3]["name"] = "Küchentisch „Åse“, 120 cm"
    made.shard()
    return made


def expected(project: Project) -> list[dict[str, Any]]:
    reader = ShardReader(list_shards(project.out / "train"))
    return [reader.meta(index) for index in range(len(reader))]


def test_webdataset_reads_the_shards(project: Project) -> None:
    """In a process of its own: webdataset leaves its files to the garbage collector."""
    code = """
import json, sys
import webdataset as wds
shards = sorted(sys.argv[1:])
dataset = wds.WebDataset(shards, shardshuffle=False).decode("pil").to_tuple("jpg", "json", "txt")
print(json.dumps([[image.size, meta, text] for image, meta, text in dataset]))
"""
    shards = [str(path) for path in list_shards(project.out / "train")]
    done = subprocess.run(
        [sys.executable, "-c", code, *shards], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert [meta for _, meta, _ in found] == expected(project)
    assert all(size == [32, 32] for size, _, _ in found)
    assert all(text == meta["captions"][0] for _, meta, text in found)


def test_members_of_a_sample_are_adjacent_and_share_a_key_without_dots(project: Project) -> None:
    for shard in list_shards(project.out / "train"):
        with tarfile.open(shard) as archive:
            members = archive.getmembers()
            names = [member.name for member in members]
            assert all(
                (m.mtime, m.uid, m.gid, m.uname, m.mode) == (0, 0, 0, "", 0o644) for m in members
            )
        for index in range(0, len(names), 3):
            key = names[index].split(".")[0]
            assert names[index : index + 3] == [f"{key}.jpg", f"{key}.json", f"{key}.txt"]
            assert len(key) == 24
            assert int(key, 16) >= 0


def test_every_json_has_the_same_schema_and_no_nulls(project: Project) -> None:
    """The ``datasets`` loader infers its features from the first sample."""
    found = expected(project)
    kinds = {name: type(value) for name, value in found[0].items()}
    assert all({n: type(v) for n, v in meta.items()} == kinds for meta in found)
    assert type(None) not in kinds.values()


def test_gnu_tar_lists_and_extracts_them(project: Project, tmp_path: Path) -> None:
    shard = list_shards(project.out / "train")[0]
    target = tmp_path / "extracted"
    target.mkdir()
    done = subprocess.run(
        ["tar", "-xf", str(shard), "-C", str(target)], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    for path in target.glob("*.jpg"):
        assert Image.open(io.BytesIO(path.read_bytes())).size == (32, 32)


def test_datasets_reads_the_shards(project: Project) -> None:
    datasets = pytest.importorskip("datasets")
    shards = [str(path) for path in list_shards(project.out / "train")]
    found = datasets.load_dataset(
        "webdataset", data_files={"train": shards}, split="train", streaming=True
    )
    assert [sample["json"] for sample in found] == expected(project)
