"""Shards are complete, reproducible, and rewritten only where the catalogue changed."""

import csv
import io
import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from furnclip.config import PrepSettings
from furnclip.errors import DataError
from furnclip.images import load_letterboxed
from furnclip.preparing.sharding import ShardResult
from furnclip.preparing.verify import verify_shards
from furnclip.shards import ShardReader, list_shards
from furnclip.state.preparing import read_rejects
from tests.preparing.catalogues import SMALL, Project, picture, row, save_pictures


def samples_of(project: Project, split: str) -> dict[str, str]:
    folder = project.out / split
    if not folder.is_dir():
        return {}
    reader = ShardReader(list_shards(folder))
    return {reader.meta(i)["product_id"]: reader.text(i) for i in range(len(reader))}


def split_by_product(project: Project) -> dict[str, str]:
    return {
        product: split
        for split in ("train", "val", "test")
        for product in samples_of(project, split)
    }


def assert_sound(project: Project, result: ShardResult) -> None:
    report = verify_shards(project.out, csv_path=project.csv)
    assert report.problems == []
    assert report.rows == result.rows == len(project.rows)


def rejects_file(project: Project, name: str = "rejects.csv") -> list[dict[str, str]]:
    with (project.out / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def changed(before: dict[str, str], after: dict[str, str], suffix: str = ".tar") -> set[str]:
    names = {name for name in before.keys() | after.keys() if name.endswith(suffix)}
    return {name for name in names if before.get(name) != after.get(name)}


def test_every_row_is_written_once_with_its_words_and_pixels(tmp_path: Path) -> None:
    project = Project(tmp_path, 60)
    cleaned = {"clean_title": "Oak Chair", "color": "Brown", "object_type": "Chair"}
    project.rows[7] |= {**cleaned, "clean_status": "ok"}
    for other in project.rows:
        other.setdefault("clean_status", "ok")
    result = project.shard()
    assert_sound(project, result)
    assert sum(result.splits[split].samples for split in ("train", "val", "test")) == 60
    split = split_by_product(project)["P7"]
    reader = ShardReader(list_shards(project.out / split))
    index = next(i for i in range(len(reader)) if reader.meta(i)["product_id"] == "P7")
    meta = reader.meta(index)
    assert meta == {
        **cleaned,
        "key": reader.ref(index).key,
        "product_id": "P7",
        "group": "P7",
        "title": "Chair No. 7",
        "style": "",
        "material": "",
        "captions": ["Oak Chair", "a Brown Chair"],
        "image_sha256": meta["image_sha256"],
        "source": "images/7.jpg",
        "width": 60,
        "height": 45,
    }
    assert list(meta) == sorted(meta)
    assert reader.text(index) == "Oak Chair"
    stored = np.asarray(Image.open(io.BytesIO(reader.jpg(index)))).astype(int)
    wanted = np.asarray(load_letterboxed(tmp_path / "images/7.jpg", 32).image)
    assert np.abs(stored - wanted).mean() < 8


def test_only_clean_rows_take_part_and_the_others_are_counted(tmp_path: Path) -> None:
    project = Project(tmp_path, 20)
    for number, found in enumerate(project.rows):
        found["clean_status"] = {3: "failed", 4: "pending", 5: ""}.get(number, "ok")
    result = project.shard()
    assert result.not_clean == {"failed": 1, "pending": 2}
    assert split_by_product(project).keys() == {f"P{n}" for n in range(20)} - {"P3", "P4", "P5"}
    assert_sound(project, result)


def test_worker_count_does_not_change_a_byte(tmp_path: Path) -> None:
    files = []
    for workers in (1, 2, 5):
        project = Project(tmp_path / str(workers), 70)
        project.shard(SMALL.model_copy(update={"workers": workers}))
        files.append(project.files())
    assert files[0] == files[1] == files[2]


def test_unchanged_run_does_nothing_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    project = Project(tmp_path, 30)
    first = project.shard()
    times = {path: path.stat().st_mtime_ns for path in project.out.rglob("*")}
    with caplog.at_level(logging.INFO, logger="furnclip"):
        again = project.shard(SMALL.model_copy(update={"workers": 1}))
    assert (again.unchanged, again.decoded, again.written_shards) == (True, 0, 0)
    assert again.splits == first.splits
    assert "nothing changed" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in project.out.rglob("*")} == times


def test_edited_caption_rewrites_its_shard_by_copying_the_jpeg(tmp_path: Path) -> None:
    project = Project(tmp_path, 120)
    project.shard()
    before = project.files()
    number = next(n for n in range(120) if f"P{n}" not in samples_of(project, "mini_train"))
    project.rows[number]["name"] = "A better title"
    result = project.shard()
    assert (result.decoded, result.written_shards) == (0, 1)
    assert len(changed(before, project.files())) == 1
    split = split_by_product(project)[f"P{number}"]
    assert samples_of(project, split)[f"P{number}"] == "A better title"
    assert_sound(project, result)


def test_other_templates_rewrite_every_shard_without_reading_images(tmp_path: Path) -> None:
    project = Project(tmp_path, 40)
    project.shard()
    settings = SMALL.model_copy(update={"captions": ("photo of {title}",)})
    project.spoil_images()
    result = project.shard(settings)
    assert result.decoded == 0
    assert samples_of(project, "train")
    assert all(text.startswith("photo of ") for text in samples_of(project, "train").values())
    assert_sound(project, result)


def test_changed_image_is_read_again_and_only_it(tmp_path: Path) -> None:
    project = Project(tmp_path, 40)
    project.shard()
    before = project.files()
    picture(999).save(tmp_path / "images" / "5.jpg")
    result = project.shard()
    assert result.decoded == 1
    assert 1 <= len(changed(before, project.files())) <= 2  # mini_train may hold it too
    assert_sound(project, result)


def test_appended_rows_move_no_product_and_leave_full_shards_alone(tmp_path: Path) -> None:
    project = Project(tmp_path, 200)
    project.shard()
    before, splits = project.files(), split_by_product(project)
    save_pictures(tmp_path, range(200, 220))
    project.rows += [row(number) for number in range(200, 220)]
    result = project.shard()
    after = split_by_product(project)
    assert {product: after[product] for product in splits} == splits
    assert result.decoded == 20
    last = {split: max(n for n in before if n.startswith(split) and n.endswith(".tar"))
            for split in ("train", "val", "test", "mini_train")}  # fmt: skip
    old = {name for name in changed(before, project.files()) if name in before}
    assert old <= set(last.values())
    assert_sound(project, result)
    fresh = Project(tmp_path / "fresh", 220)
    fresh.shard()
    assert changed(fresh.files(), project.files()) == set()


@pytest.mark.parametrize("change", ["remove", "insert", "reverse"])
def test_any_reordering_ends_as_a_fresh_run_without_reading_images(
    tmp_path: Path, change: str
) -> None:
    project, fresh = Project(tmp_path / "a", 90), Project(tmp_path / "b", 90)
    first = project.rows[0]
    if change == "insert":
        project.rows = project.rows[1:]
    project.shard()
    if change == "insert":
        project.rows = [*project.rows[:10], first, *project.rows[10:]]
    elif change == "remove":
        project.rows = project.rows[:10] + project.rows[11:]
    else:
        project.rows.reverse()
    fresh.rows = list(project.rows)
    fresh.shard()
    if change != "insert":
        project.spoil_images()
    result = project.shard()
    assert result.decoded == (1 if change == "insert" else 0)
    assert changed(fresh.files(), project.files(), "") == set()
    assert_sound(project, result)


def test_lost_state_or_lost_shard_is_rebuilt_byte_for_byte(tmp_path: Path) -> None:
    project = Project(tmp_path, 60)
    project.shard()
    before = project.files()
    (tmp_path / "state.duckdb").unlink()
    assert project.shard().decoded == 60
    assert project.files() == before
    lost = project.out / "train" / "train-000001.tar"
    lost.unlink()
    (project.out / "val" / "val-000000.tar").write_bytes(b"overwritten by somebody")
    result = project.shard()
    assert 0 < result.decoded < 60
    assert project.files() == before


def test_rejected_rows_have_a_reason_in_the_file_and_in_the_state(tmp_path: Path) -> None:
    project = Project(tmp_path, 40)
    (tmp_path / "images" / "1.jpg").unlink()
    (tmp_path / "images" / "2.jpg").write_bytes(b"not an image")
    whole = (tmp_path / "images" / "3.jpg").read_bytes()
    (tmp_path / "images" / "3.jpg").write_bytes(whole[: len(whole) // 2])
    project.rows[4]["local_path"] = "../outside.jpg"
    project.rows[5]["local_path"] = ""
    project.rows[6]["name"] = ""
    result = project.shard()
    wanted = {
        "2": "missing", "3": "not_image", "4": "truncated", "5": "outside_root",
        "6": "missing", "7": "no_text",
    }  # fmt: skip
    assert {r["row"]: r["reason"] for r in rejects_file(project)} == wanted
    stored = read_rejects(project.state, str(project.out.resolve()))
    assert {str(r.number): r.reason for r in stored} == wanted
    assert result.rejected == {
        "missing": 2, "no_text": 1, "not_image": 1, "outside_root": 1, "truncated": 1,
    }  # fmt: skip
    assert_sound(project, result)


def test_mended_image_changes_one_shard_and_moves_nothing(tmp_path: Path) -> None:
    project = Project(tmp_path, 90)
    good = (tmp_path / "images" / "30.jpg").read_bytes()
    (tmp_path / "images" / "30.jpg").write_bytes(b"damaged")
    project.shard()
    before = project.files()
    (tmp_path / "images" / "30.jpg").write_bytes(good)
    result = project.shard()
    assert (result.decoded, result.rejected) == (1, {})
    assert 1 <= len(changed(before, project.files())) <= 2
    assert_sound(project, result)


def test_refused_images_are_read_again_only_when_asked(tmp_path: Path) -> None:
    project = Project(tmp_path, 30)
    (tmp_path / "images" / "3.jpg").write_bytes(b"damaged")
    project.shard()
    assert project.shard().decoded == 0
    assert project.shard(retry_rejects=True).decoded == 1


def test_too_many_rejects_is_an_error_and_leaves_the_shards_as_they_were(tmp_path: Path) -> None:
    project = Project(tmp_path, 20)
    project.shard()
    before = project.files()
    for number in range(5):
        (tmp_path / "images" / f"{number}.jpg").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"5 of 20 rows are rejected \(5 not_image\)") as caught:
        project.shard()
    assert "--max-reject-rate" in str(caught.value.hint)
    assert len(rejects_file(project, "rejects.failed.csv")) == 5
    assert before.items() <= project.files().items()
    result = project.shard(SMALL.model_copy(update={"max_reject_rate": 0.25}))
    assert result.decoded == 0  # what the failed run read is kept
    assert not (project.out / "rejects.failed.csv").exists()
    assert_sound(project, result)


def test_no_usable_row_is_an_error_that_asks_for_the_folder(tmp_path: Path) -> None:
    project = Project(tmp_path, 3)
    for found in project.rows:
        found["local_path"] = "elsewhere/" + found["local_path"]
    with pytest.raises(DataError, match="no row can be used") as caught:
        project.shard()
    assert "--images" in str(caught.value.hint)


def test_group_column_keeps_its_rows_in_one_split(tmp_path: Path) -> None:
    project = Project(tmp_path, 90)
    for number, found in enumerate(project.rows):
        found["parent"] = f"family {number // 9}"
    result = project.shard(SMALL.model_copy(update={"group_column": "parent"}))
    splits = split_by_product(project)
    for family in range(10):
        assert len({splits[f"P{n}"] for n in range(family * 9, family * 9 + 9)}) == 1
    assert_sound(project, result)


def test_mini_train_is_a_part_of_train(tmp_path: Path) -> None:
    project = Project(tmp_path, 150)
    result = project.shard(SMALL.model_copy(update={"mini_fraction": 0.3}))
    mini, train = samples_of(project, "mini_train"), samples_of(project, "train")
    assert mini.items() <= train.items()
    assert 20 < len(mini) < 55
    assert result.splits["mini_train"].samples == len(mini)


def test_shards_respect_both_limits(tmp_path: Path) -> None:
    project = Project(tmp_path, 60)
    project.shard(SMALL.model_copy(update={"samples_per_shard": 7}))
    sizes = json.loads((project.out / "train" / "sizes.json").read_text())
    assert set(sizes.values()) <= set(range(1, 8))
    project.shard(SMALL.model_copy(update={"max_shard_bytes": 20_000}))
    assert all(path.stat().st_size <= 20_480 for path in project.out.rglob("*.tar"))
    assert verify_shards(project.out).problems == []


def test_tiny_catalogue_warns_about_an_empty_split(tmp_path: Path) -> None:
    project = Project(tmp_path, 3)
    assert any("val" in warning for warning in project.shard().warnings)


def test_second_writer_is_refused(tmp_path: Path) -> None:
    from furnclip.preparing.output import exclusive

    project = Project(tmp_path, 3)
    with exclusive(project.out), pytest.raises(DataError, match="another furnclip"):
        project.shard()


def test_foreign_files_beside_the_shards_are_left_alone(tmp_path: Path) -> None:
    project = Project(tmp_path, 40)
    project.shard()
    notes = project.out / "train" / "notes.tar"
    notes.write_bytes(b"mine")
    project.rows = project.rows[:20]
    project.shard(PrepSettings(image_size=32))
    assert notes.read_bytes() == b"mine"
    assert sum(path.name.startswith("train-") for path in (project.out / "train").iterdir()) == 1
