import csv
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from furnclip.cleaning.accuracy import agrees
from furnclip.demo.catalogue import (
    CSV_HEADER,
    check_same_catalogue,
    draw,
    keyed_color,
    products,
    write_catalogue,
)
from furnclip.demo.furniture import OBJECT_TYPES
from furnclip.demo.palette import MATERIALS, SHADES
from furnclip.errors import UsageError


def _write(folder: Path, count: int, *, workers: int = 1) -> int:
    return write_catalogue(
        count,
        7,
        csv=folder / "data/raw/furniture.csv",
        image_root=folder / "data/raw",
        key=folder / "answer_key.csv",
        workers=workers,
    )


def test_catalogue_has_at_least_twelve_kinds_each_equally_often() -> None:
    counts = Counter(product.object_type for product in products(320, 0))

    assert len(OBJECT_TYPES) >= 12
    assert set(counts.values()) == {320 // len(OBJECT_TYPES)}


def test_larger_catalogue_begins_with_the_smaller_one() -> None:
    assert products(100, 3)[:40] == products(40, 3)
    assert products(40, 3) != products(40, 4)


def test_every_material_and_shade_is_sold() -> None:
    sold = {(product.material, product.shade) for product in products(3000, 0)}

    assert sold == {(m, shade) for m, shades in SHADES.items() for shade in shades}
    assert {m for names in MATERIALS.values() for m in names} == set(SHADES)


def test_titles_are_messy_and_few_name_a_wrong_colour() -> None:
    catalogue = products(2000, 0)
    titles = [product.title for product in catalogue]
    for mess in ("SKU", "$", " cm", "Set of 4", "NORDVIK", "FREE SHIPPING"):
        assert any(mess in title for title in titles), mess
    families = {shade.family for shades in SHADES.values() for shade in shades}
    wrong = sum(
        any(f" {family.lower()} " in f" {product.title.lower()} " for family in families)
        and product.shade.words.lower() not in product.title.lower()
        for product in catalogue
    )

    assert 0.01 < wrong / len(catalogue) < 0.06


def test_key_accepts_the_words_a_title_uses() -> None:
    for product in products(500, 1):
        assert agrees("color", product.shade.words, keyed_color(product))
        assert agrees("color", product.shade.family, keyed_color(product))


def test_photos_are_the_same_whoever_draws_them(tmp_path: Path) -> None:
    _write(tmp_path / "one", 20, workers=1)
    _write(tmp_path / "two", 20, workers=2)
    for product in products(20, 7):
        photo = (tmp_path / "one/data/raw" / product.image).read_bytes()
        assert photo == (tmp_path / "two/data/raw" / product.image).read_bytes()
    assert photo == draw(product, 7)
    with Image.open(tmp_path / "one/data/raw" / product.image) as image:
        assert (image.size, image.mode) == ((256, 256), "RGB")


def test_answers_are_kept_apart_from_the_catalogue(tmp_path: Path) -> None:
    _write(tmp_path, 16)
    with (tmp_path / "data/raw/furniture.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with (tmp_path / "answer_key.csv").open(encoding="utf-8") as file:
        key = list(csv.DictReader(file))

    assert tuple(rows[0]) == CSV_HEADER == ("product_id", "name", "local_path", "price")
    assert [row["product_id"] for row in rows] == [row["product_id"] for row in key]
    assert set(key[0]) == {"product_id", "object_type", "style", "material", "color"}


def test_only_missing_photos_are_drawn_again(tmp_path: Path) -> None:
    assert _write(tmp_path, 16) == 16
    lost = tmp_path / "data/raw" / products(16, 7)[5].image
    photo = lost.read_bytes()
    lost.unlink()

    assert _write(tmp_path, 16) == 1
    assert lost.read_bytes() == photo
    assert _write(tmp_path, 16) == 0


def test_another_catalogue_in_the_folder_is_refused(tmp_path: Path) -> None:
    _write(tmp_path, 16)
    table = tmp_path / "data/raw/furniture.csv"
    check_same_catalogue(table, 16, 7)
    for count, seed in ((17, 7), (16, 8)):
        with pytest.raises(UsageError, match="is not the catalogue"):
            check_same_catalogue(table, count, seed)
