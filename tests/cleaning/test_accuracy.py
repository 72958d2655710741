from pathlib import Path

import pytest

from furnclip.cleaning.accuracy import agrees, head_noun, measure_csv
from furnclip.errors import DataError


@pytest.mark.parametrize(
    ("phrase", "noun"),
    [
        ("Chest of 3 drawers", "chest"), ("Table lamp base", "base"), ("Rug, flatwoven", "rug"),
        ("Shelves", "shelf"), ("Bookcase with glass door", "bookcase"), ("", ""),
        ("Boxes for toys", "box"), ("Glass", "glass"),
    ],
)  # fmt: skip
def test_head_noun(phrase: str, noun: str) -> None:
    assert head_noun(phrase) == noun


@pytest.mark.parametrize(
    ("answer", "key", "right"),
    [
        ("Grey", "Dark grey", True), ("Gray", "grey", True), ("White", "Black,white", True),
        ("White", "Grey", False), ("Chrome", "Chrome-plated", True), ("", "White", False),
        ("Black-brown", "Black", True), ("Light grey", "Dark grey", False),
    ],
)  # fmt: skip
def test_color_agrees_with_any_listed(answer: str, key: str, *, right: bool) -> None:
    assert agrees("color", answer, key) is right


def test_missing_answers_count_and_empty_keys_do_not(tmp_path: Path) -> None:
    cleaned, truth = tmp_path / "c.csv", tmp_path / "t.csv"
    cleaned.write_text("product_id,color\n1,Red\n2,\n3,Blue\n")
    truth.write_text("product_id,color\n1,red\n2,green\n3,\n")
    [color] = measure_csv(cleaned, truth)
    assert (color.correct, color.answered, color.total, color.accuracy) == (1, 1, 2, 0.5)


def test_key_of_other_products_is_an_error(tmp_path: Path) -> None:
    cleaned, truth = tmp_path / "c.csv", tmp_path / "t.csv"
    cleaned.write_text("product_id,color\n1,Red\n")
    truth.write_text("product_id,color\n9,red\n")
    with pytest.raises(DataError, match="no product"):
        measure_csv(cleaned, truth)
    truth.write_text("product_id,price\n1,5\n")
    with pytest.raises(DataError, match="cannot be compared"):
        measure_csv(cleaned, truth)
