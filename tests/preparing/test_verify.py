"""Verification finds what breaks a data set, each kind once."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from furnclip.errors import DataError
from furnclip.preparing.tar import write_tar
from furnclip.preparing.verify import verify_shards
from furnclip.shards import index_shard
from tests.preparing.catalogues import Project, write_csv


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path, 90)
    made.shard()
    return made


def rewrite(shard: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    """Repack a shard so that only its meaning is wrong; the manifest is told the new hash."""
    members: dict[str, bytes] = {}
    content = shard.read_bytes()
    for ref in index_shard(shard):
        for extension, (offset, size) in (("jpg", ref.jpg), ("json", ref.json), ("txt", ref.txt)):
            members[f"{ref.key}.{extension}"] = content[offset : offset + size]
    change(members)
    digest = write_tar(shard, members.items()).sha256
    manifest = shard.parents[1] / "manifest.json"
    found = json.loads(manifest.read_text())
    for entry in found["shards"]:
        if entry["name"] == f"{shard.parent.name}/{shard.name}":
            entry["sha256"] = digest
    manifest.write_text(json.dumps(found))


def first(members: dict[str, bytes], suffix: str) -> str:
    return next(name for name in members if name.endswith(suffix))


def problems(project: Project) -> str:
    return "\n".join(verify_shards(project.out, csv_path=project.csv).problems)


def test_sound_shards_have_no_problems(project: Project) -> None:
    report = verify_shards(project.out, csv_path=project.csv)
    assert report.problems == []
    assert report.samples == report.rows == sum(report.accounting.values()) == 90


def test_missing_shard_is_found(project: Project) -> None:
    (project.out / "val" / "val-000000.tar").unlink()
    assert "cannot read" in problems(project)
    assert "90 rows, but" in problems(project)


def test_shard_that_is_not_listed_is_found(project: Project) -> None:
    shutil.copy(project.out / "val/val-000000.tar", project.out / "val/val-000009.tar")
    assert "val-000009.tar: not in the manifest" in problems(project)


def test_cut_image_is_found(project: Project) -> None:
    def cut(members: dict[str, bytes]) -> None:
        name = first(members, ".jpg")
        members[name] = members[name][:-10]

    rewrite(project.out / "train/train-000000.tar", cut)
    assert "no whole JPEG" in problems(project)


def test_mixed_up_members_are_found(project: Project) -> None:
    def swap(members: dict[str, bytes]) -> None:
        members[first(members, ".txt")] = b"the caption of another product"

    rewrite(project.out / "train/train-000000.tar", swap)
    assert "do not belong together" in problems(project)


def test_leak_between_splits_is_found(project: Project) -> None:
    stolen = json.loads(
        (project.out / "val/val-000000.tar").read_bytes()[
            slice(*_span(project.out / "val/val-000000.tar"))
        ]
    )

    def leak(members: dict[str, bytes]) -> None:
        name = first(members, ".json")
        meta = json.loads(members[name])
        members[name] = json.dumps(
            {**meta, "group": stolen["group"], "image_sha256": stolen["image_sha256"]}
        ).encode()

    rewrite(project.out / "train/train-000000.tar", leak)
    assert f"group {stolen['group']} is also in" in problems(project)
    assert "image_sha256" in problems(project)


def _span(shard: Path) -> tuple[int, int]:
    offset, size = index_shard(shard)[0].json
    return offset, offset + size


def test_lost_sample_breaks_the_accounting(project: Project) -> None:
    def lose(members: dict[str, bytes]) -> None:
        key = first(members, ".jpg")[:-4]
        for extension in ("jpg", "json", "txt"):
            del members[f"{key}.{extension}"]

    rewrite(project.out / "test/test-000000.tar", lose)
    assert "samples where the manifest has" in problems(project)
    assert "90 rows, but" in problems(project)


def test_wrong_sizes_file_is_found(project: Project) -> None:
    (project.out / "train" / "sizes.json").write_text("{}")
    assert "sizes.json does not agree" in problems(project)


def test_another_csv_is_noticed(project: Project) -> None:
    write_csv(project.csv, project.rows[1:])
    assert "is not the CSV" in problems(project)


@pytest.mark.parametrize("content", ['{"shards": [{"name": "x"}]}', "{}"])
def test_manifest_without_its_fields_is_an_error(project: Project, content: str) -> None:
    (project.out / "manifest.json").write_text(content)
    with pytest.raises(DataError, match="the manifest lacks"):
        verify_shards(project.out)
