"""Reading the user's CSV, and writing the cleaned one: rows are strings, columns are named."""

from __future__ import annotations

import csv
import difflib
import io
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TextIO

from furnclip.errors import DataError
from furnclip.files import atomic_path

CLEANED_FIELDS = ("clean_title", "style", "material", "color", "object_type")
CLEANED_COLUMNS = (*CLEANED_FIELDS, "clean_status", "clean_error")
# A line that RFC 4180 takes for a whole record; it is written on as it stands.
_FIELD = r'(?:"(?:[^"]++|"")*+"|[^",]*+)'
_WHOLE_RECORD = re.compile(f"{_FIELD}(?:,{_FIELD})*+")
_ID_COLUMNS = ("product_id", "id", "sku")


@dataclass(frozen=True)
class Row:
    """One data row; ``number`` counts from 1, the header not included."""

    number: int
    values: dict[str, str]


def read_header(path: Path) -> list[str]:
    """Return the column names; raises ``DataError`` when there is no readable header."""
    return _open_table(path)[0]


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows in file order; raises what ``read_records`` raises."""
    header = read_header(path)
    for number, record in enumerate(read_records(path), start=1):
        yield Row(number, dict(zip(header, record, strict=True)))


def read_records(path: Path) -> Iterator[list[str]]:
    """Yield the rows in file order as lists (UTF-8, with or without a byte order mark).

    Raises ``DataError`` naming file and line for a file that is missing, empty, not UTF-8, or
    has a row with more or fewer fields than the header.
    """
    header, records = _open_table(path)
    for line, record in records:
        if not record:
            continue
        if len(record) != len(header):
            raise DataError(
                f"{path}, line {line}: {len(record)} fields where the header has {len(header)}",
                hint="quote fields that hold commas or line breaks",
            )
        yield record


def read_record_texts(path: Path) -> Iterator[str]:
    """Yield the rows in file order as CSV text, one line for every row whose fields allow it.

    For a file that ``read_records`` has taken: what is wrong inside is not looked for again.
    Raises ``DataError`` when it cannot be read.
    """
    with _opened(path) as file:
        texts = _texts(file)
        next(texts, None)
        yield from texts


def _texts(file: TextIO) -> Iterator[str]:
    for line in file:
        text = line.rstrip("\r\n")
        if '"' in text and not _WHOLE_RECORD.fullmatch(text):  # it goes on, or is not RFC 4180
            yield csv_text(next(csv.reader(chain((line,), file), strict=True)))
        elif text:
            yield text


def require_column(path: Path, header: Sequence[str], name: str, *, option: str) -> str:
    """Return ``name`` when the header has it; else raise ``DataError`` naming ``option``."""
    if name in header:
        return name
    close = difflib.get_close_matches(name, header, n=1)
    guess = f" (did you mean {close[0]}?)" if close else ""
    raise DataError(
        f"{path} has no column {name!r}; it has: {', '.join(header)}",
        hint=f"name the right column with {option}{guess}",
    )


def id_column(header: Sequence[str], typed: str | None, *, path: Path) -> str | None:
    """Return the column of product ids: the typed one, else product_id, id or sku, else None."""
    if typed is not None:
        return require_column(path, header, typed, option="--id-column")
    return next((name for name in _ID_COLUMNS if name in header), None)


def write_csv_atomic(
    path: Path, header: Sequence[str], rows: Iterable[Sequence[str | None]]
) -> int:
    """Write a whole CSV (UTF-8, RFC 4180 quoting, LF) or nothing; returns the number of rows.

    None becomes an empty field.
    """
    count = 0
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for row in rows:
            writer.writerow(row)
            count += 1
    return count


def csv_text(fields: Sequence[str]) -> str:
    """Return fields as a line of CSV (RFC 4180 quoting) without its end."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(fields)  # quotes what holds either of them
    return line.getvalue()[:-2]


def write_widened_csv_atomic(
    path: Path, header: Sequence[str], rows: Iterable[str], tails: Iterable[list[str]]
) -> None:
    """Write rows and what each is widened by, both CSV text; ``tails`` come some at a time.

    Ends with the shorter of the two. Otherwise as ``write_csv_atomic``.
    """
    left = iter(rows)
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerow(header)
        for some in tails:  # zip asks the tails first: else a row would be lost after each batch
            file.writelines(f"{row},{tail}\n" for tail, row in zip(some, left, strict=False))


def _open_table(path: Path) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    records = _records(path)
    _, header = next(records, (0, []))
    if not any(name.strip() for name in header):
        raise DataError(f"{path} is empty: no header row", hint="the first line names the columns")
    separator = next((mark for mark in ";\t|" if mark in header[0]), None)
    if len(header) == 1 and separator is not None:
        raise DataError(
            f"{path} separates its columns with {separator!r}",
            hint="save it as comma-separated CSV (UTF-8)",
        )
    repeated = {name for name in header if header.count(name) > 1}
    if repeated:
        raise DataError(
            f"{path} names a column twice: {', '.join(map(repr, sorted(repeated)))}",
            hint="rename one of them",
        )
    return header, records


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    with _opened(path) as file:
        reader, line = csv.reader(file, strict=True), 0
        try:
            for record in reader:
                line = reader.line_num
                yield line, record
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path} is not UTF-8 after line {line}",
                hint=f"convert it: iconv -f WINDOWS-1252 -t UTF-8 {path} > utf8.csv",
            ) from error
        except csv.Error as error:
            raise DataError(
                f"{path}, after line {line}: {error}", hint="check the quotes"
            ) from error


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    csv.field_size_limit(sys.maxsize)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield file
    except (UnicodeDecodeError, csv.Error) as error:  # where no one has said on which line
        raise DataError(
            f"{path} changed while it was read: {error}", hint="run the command again"
        ) from error
    except FileNotFoundError as error:
        raise DataError(f"no such file: {path}", hint="check the path of the CSV") from error
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error.strerror}", hint="it must be a file that you may read"
        ) from error
