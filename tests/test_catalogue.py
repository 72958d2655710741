import csv
import io
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from furnclip.catalogue import (
    id_column,
    read_header,
    read_record_texts,
    read_records,
    read_rows,
    require_column,
    write_csv_atomic,
)
from furnclip.errors import DataError

CSV = Path("products.csv")


def test_rows_are_read_with_quotes_line_breaks_and_a_byte_order_mark() -> None:
    CSV.write_bytes('\ufeffid,name\n1,"Sofa, blue\nand big"\n\n2,Büro\n'.encode())
    assert read_header(CSV) == ["id", "name"]
    rows = list(read_rows(CSV))
    assert [row.number for row in rows] == [1, 2]
    assert [row.values["name"] for row in rows] == ["Sofa, blue\nand big", "Büro"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: no header"),
        (b"a,b\n1,2\n1,2,3\n", "line 3: 3 fields where the header has 2"),
        (b"a;b\n1;2\n", "separates its columns with ';'"),
        (b"a,a\n1,2\n", "names a column twice: 'a'"),
        (b"a,b\n1,\xff\n", r"is not UTF-8"),
        (b'a,b\n1,"x\n', "after line"),
    ],
)
def test_a_broken_file_is_named_with_its_line(content: bytes, message: str) -> None:
    CSV.write_bytes(content)
    with pytest.raises(DataError, match=message) as e:
        list(read_rows(CSV))
    assert "products.csv" in e.value.message
    assert e.value.exit_code == 3


def test_a_missing_file_is_named() -> None:
    with pytest.raises(DataError, match=r"no such file: nope\.csv"):
        read_header(Path("nope.csv"))


def test_a_missing_column_names_the_option_and_the_nearest_column() -> None:
    with pytest.raises(DataError, match="no column 'nam'; it has: id, name") as e:
        require_column(CSV, ["id", "name"], "nam", option="--title-column")
    assert e.value.hint == "name the right column with --title-column (did you mean name?)"


def test_ids_come_from_the_typed_column_else_the_usual_ones() -> None:
    assert id_column(["a", "sku", "id"], None, path=CSV) == "id"
    assert id_column(["a", "sku"], "a", path=CSV) == "a"
    assert id_column(["a"], None, path=CSV) is None


def test_a_csv_is_written_whole_or_not_at_all() -> None:
    def failing() -> list[list[str]]:
        raise RuntimeError("boom")

    assert write_csv_atomic(CSV, ["a", "b"], [["1", 'x "y", z']]) == 1
    before = CSV.read_bytes()
    with pytest.raises(RuntimeError, match="boom"):
        write_csv_atomic(CSV, ["a"], (row for _ in range(2) for row in failing()))
    assert CSV.read_bytes() == before
    assert [path.name for path in Path().iterdir()] == ["products.csv"]
    assert [row.values for row in read_rows(CSV)] == [{"a": "1", "b": 'x "y", z'}]


@given(
    st.lists(
        st.lists(st.text("a ,;\"'\r\n\té\u2028", max_size=6), min_size=2, max_size=2), max_size=6
    ),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_texts_of_rows_hold_their_fields_by_rfc_4180(
    rows: list[list[str]], quoting: Literal[0, 1]
) -> None:
    with CSV.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=quoting).writerows([["a", "b"], *rows])
        file.write('\r\nx,in the "middle"\r\n')
    texts = list(read_record_texts(CSV))
    parsed = csv.reader(io.StringIO("\n".join(texts), newline=""), strict=True)
    assert list(parsed) == list(read_records(CSV))
    assert texts[-1] == 'x,"in the ""middle"""'
    assert len(texts) == len(rows) + 1


@pytest.mark.parametrize("content", [b"a,b\n1,\xff\n", b'a,b\n1,"x\n'])
def test_a_file_that_changes_while_rows_are_passed_on_is_named(content: bytes) -> None:
    CSV.write_bytes(content)
    with pytest.raises(DataError, match=r"products\.csv changed while it was read"):
        list(read_record_texts(CSV))
