"""Every row of the CSV is accounted for, however damaged the file is."""

import random
from pathlib import Path

import pytest

from furnclip.errors import DataError
from furnclip.preparing.rows import Catalogue, Columns, key_of, read_csv
from tests.preparing.catalogues import row, write_csv


def read(path: Path) -> Catalogue:
    columns = Columns.choose(path, title="name", image="local_path", product=None, group=None)
    return read_csv(path, columns)


def accounted(found: Catalogue) -> int:
    out = len(found.rejects) + len(found.repeated) + sum(found.not_clean.values())
    return len(found.samples) + out


def test_rows_are_sorted_into_samples_rejects_repetitions_and_uncleaned(tmp_path: Path) -> None:
    rows = [row(n, clean_status="ok") for n in range(6)]
    rows[1]["local_path"] = " "
    rows[2] |= {"name": "", "color": "Red"}
    rows[3] = dict(rows[0])
    rows[4]["clean_status"] = "failed"
    rows[5] |= {"name": "", "color": ""}
    found = read(write_csv(tmp_path / "a.csv", rows))
    assert [sample.number for sample in found.samples] == [1, 3]
    assert [(r.number, r.reason) for r in found.rejects] == [(2, "missing"), (6, "no_text")]
    assert [(r.number, r.message) for r in found.repeated] == [
        (4, "same product and image as row 1")
    ]
    assert found.not_clean == {"failed": 1}
    assert accounted(found) == found.rows == 6


def test_without_an_id_column_the_image_is_the_product(tmp_path: Path) -> None:
    rows = [{"name": f"Chair {n}", "local_path": f"{n % 2}.jpg"} for n in range(3)]
    found = read(write_csv(tmp_path / "a.csv", rows))
    assert [sample.product_id for sample in found.samples] == ["0.jpg", "1.jpg"]
    assert len(found.repeated) == 1


def test_empty_group_falls_back_to_the_product(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [row(1, parent="p"), row(2, parent=" ")])
    columns = Columns.choose(path, title="name", image="local_path", product=None, group="parent")
    assert [sample.group for sample in read_csv(path, columns).samples] == ["p", "P2"]


def test_keys_are_hex_and_tell_product_and_image_apart() -> None:
    keys = {key_of(product, image) for product in ("a.b/c", "a") for image in ("b/c.jpg", ".b/c")}
    assert len(keys) == 4
    assert all(len(key) == 24 and int(key, 16) >= 0 for key in keys)
    assert key_of("000.780.32", "images/000.780.32.jpg") == "2a67dca4258409dbe5d4e5a9"


def test_mutated_csvs_are_read_in_full_or_refused(tmp_path: Path) -> None:
    rng = random.Random(9)
    rows = [row(n, name=f'Chair "{n}", café\nsecond line') for n in range(30)]
    whole = write_csv(tmp_path / "whole.csv", rows).read_bytes()
    path = tmp_path / "mutated.csv"
    read_in_full = refused = 0
    for _ in range(500):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 2, 10))):
            position = rng.randrange(len(data))
            kind = rng.randrange(3)
            if kind == 0:
                data[position] = rng.choice(b'\0\n\r",\xff\xc3a')
            elif kind == 1:
                del data[position : position + rng.choice((1, 5, 100))]
            else:
                data[position:position] = data[:60]
        path.write_bytes(data)
        try:
            found = read(path)
        except DataError:
            refused += 1
        else:
            assert accounted(found) == found.rows
            read_in_full += 1
    assert read_in_full > 20
    assert refused > 20


def test_missing_column_names_its_option(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [{"title": "x", "local_path": "y"}])
    with pytest.raises(DataError) as caught:
        read(path)
    assert "--title-column" in str(caught.value.hint)
