"""The same picture never sits on both sides of a split."""

import csv
import itertools
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from furnclip.preparing.duplicates import components, similar_pictures
from furnclip.preparing.pictures import Recipe, make_picture, stamp
from furnclip.preparing.verify import verify_shards
from furnclip.state.preparing import Picture, near_pairs
from tests.preparing.catalogues import SMALL, Project, picture, row
from tests.preparing.test_sharding import split_by_product


def twins(project: Project) -> list[tuple[str, str, str]]:
    with (project.out / "duplicates.csv").open(encoding="utf-8", newline="") as file:
        return [(r["product_id"], r["kind"], r["of_product_id"]) for r in csv.DictReader(file)]


@pytest.mark.parametrize("bits", [0, 3, 6, 12])
def test_banded_join_finds_the_pairs_that_brute_force_finds(bits: int) -> None:
    rng = np.random.default_rng(3)
    hashes = rng.integers(0, 2**64, (300, 4), dtype=np.uint64)
    for index in range(150, 300):
        hashes[index] = hashes[index - 150]
        for position in rng.choice(256, size=index % 16, replace=False):
            hashes[index, position // 64] ^= np.uint64(1) << np.uint64(position % 64)
    unpacked = np.unpackbits(hashes.view(np.uint8).reshape(300, 32), axis=1)
    brute = {
        (a, b)
        for a, b in itertools.combinations(range(300), 2)
        if (unpacked[a] != unpacked[b]).sum() <= bits
    }
    assert set(near_pairs(hashes, bits=bits)) == brute
    assert len(brute) > 5


def test_hashes_that_share_one_band_and_nothing_else_are_no_pair() -> None:
    hashes = np.array([[1, 0, 0, 0], [1, 2**64 - 1, 2**64 - 1, 2**64 - 1]], dtype=np.uint64)
    assert near_pairs(hashes, bits=6) == []


@pytest.mark.parametrize(("count", "found"), [(200, True), (201, False)])
def test_a_band_that_too_many_hashes_share_is_passed_over(count: int, *, found: bool) -> None:
    hashes = np.zeros((count, 4), dtype=np.uint64)
    hashes[:, 3] = np.arange(count)  # equal in every band but the lowest of the last word
    assert bool(near_pairs(hashes, bits=6)) is found


def test_flat_pictures_in_great_number_stay_cheap() -> None:
    hashes = np.zeros((5_000, 4), dtype=np.uint64)
    assert len(near_pairs(hashes, bits=6)) == 4_999


def _picture(root: Path, name: str, image: Image.Image, *, quality: int = 90) -> Picture:
    image.save(root / name, quality=quality)
    return make_picture(root, name, stamp(root, name), Recipe.of(SMALL))[0]


def test_recompressed_and_resized_copies_are_near_and_another_colour_is_not(
    tmp_path: Path,
) -> None:
    original = picture(1, size=(400, 300))
    pictures = [
        _picture(tmp_path, "a.jpg", original, quality=95),
        _picture(tmp_path, "b.jpg", original.resize((200, 150)), quality=70),
        _picture(tmp_path, "c.jpg", Image.fromarray(np.asarray(original)[:, :, ::-1].copy())),
        _picture(tmp_path, "d.jpg", picture(2, size=(400, 300))),
    ]
    assert similar_pictures(pictures, bits=6) == [(0, 1)]
    assert similar_pictures(pictures, bits=0) == []


def test_dhash_is_that_of_the_picture_without_its_padding(tmp_path: Path) -> None:
    picture(1, size=(320, 20)).save(tmp_path / "strip.png")
    made, _ = make_picture(tmp_path, "strip.png", stamp(tmp_path, "strip.png"), Recipe.of(SMALL))
    bits = np.unpackbits(np.frombuffer(made.dhash, dtype=np.uint8)).reshape(16, 16)
    assert bits.any(axis=1).all()


def test_components_are_connected_sets_in_order() -> None:
    edges = [("d", "b"), ("e", "d"), ("c", "a")]
    assert components("abcdef", edges) == [["a", "c"], ["b", "d", "e"]]


def test_products_with_the_same_picture_share_a_split(tmp_path: Path) -> None:
    project = Project(tmp_path, 80)
    rng = random.Random(4)
    pairs = [(n, rng.randrange(40)) for n in range(40, 80)]
    for original in range(40):
        picture(original, size=(320, 240)).save(tmp_path / f"images/{original}.jpg", quality=92)
    for copy, original in pairs:
        picture(original, size=(320, 240)).save(
            tmp_path / "images" / f"{copy}.jpg", quality=92 if copy % 2 else 75
        )
    result = project.shard()
    splits = split_by_product(project)
    assert all(splits[f"P{copy}"] == splits[f"P{original}"] for copy, original in pairs)
    assert {kind for _, kind, _ in twins(project)} == {"exact", "near"}
    assert result.twins["exact"] >= 20
    assert verify_shards(project.out).problems == []


def test_repeated_rows_and_repeated_pictures_of_a_product_are_dropped(tmp_path: Path) -> None:
    project = Project(tmp_path, 30)
    project.rows.append(row(3, name="the same again"))
    (tmp_path / "images" / "copy.jpg").write_bytes((tmp_path / "images" / "4.jpg").read_bytes())
    project.rows.append(row(4, local_path="images/copy.jpg"))
    result = project.shard()
    assert (result.duplicates, result.rejected) == (2, {})
    report = verify_shards(project.out)
    assert (report.problems, report.accounting["duplicates"]) == ([], 2)
    assert ("P4", "same_product", "P4") in twins(project)


def test_several_pictures_of_a_product_stay_together(tmp_path: Path) -> None:
    project = Project(tmp_path, 60)
    for number, found in enumerate(project.rows):
        found["product_id"] = f"P{number % 20}"
    result = project.shard()
    assert sum(result.splits[s].samples for s in ("train", "val", "test")) == 60
    assert verify_shards(project.out).problems == []


def test_new_product_takes_the_split_of_the_one_whose_picture_it_has(tmp_path: Path) -> None:
    project = Project(tmp_path, 60)
    project.shard()
    before = split_by_product(project)
    for number in range(60, 90):
        source = tmp_path / "images" / f"{number - 60}.jpg"
        (tmp_path / "images" / f"{number}.jpg").write_bytes(source.read_bytes())
        project.rows.insert(0, row(number))
    project.shard()
    after = split_by_product(project)
    assert {product: after[product] for product in before} == before
    assert all(after[f"P{n}"] == before[f"P{n - 60}"] for n in range(60, 90))


def test_new_picture_near_two_splits_is_quarantined_and_reported(tmp_path: Path) -> None:
    project = Project(tmp_path, 60)
    project.shard()
    before = split_by_product(project)
    train = next(p for p, split in before.items() if split == "train")
    test = next(p for p, split in before.items() if split == "test")
    for number, original in ((90, train), (91, test)):
        source = tmp_path / "images" / f"{original[1:]}.jpg"
        (tmp_path / "images" / f"{number}.jpg").write_bytes(source.read_bytes())
        project.rows.append(row(number, product_id="NEW"))
    result = project.shard()
    assert result.rejected == {"split_conflict": 2}
    assert split_by_product(project) == before
    assert verify_shards(project.out).problems == []


def test_placeholder_shared_by_many_products_is_pointed_out(tmp_path: Path) -> None:
    project = Project(tmp_path, 60)
    for number in range(30):
        picture(0).save(tmp_path / "images" / f"{number}.jpg", quality=92)
    assert any("placeholder" in warning for warning in project.shard().warnings)
