"""The catalogue's rows as samples to be: which take part, under which key, with which words."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from furnclip.catalogue import (
    CLEANED_FIELDS,
    Row,
    id_column,
    read_header,
    read_rows,
    require_column,
)
from furnclip.preparing.captions import Template, captions_of
from furnclip.state.preparing import Picture, Reject

_READY = "ok"
_encode = json.JSONEncoder(sort_keys=True, ensure_ascii=False).encode


@dataclass(frozen=True)
class Columns:
    """Which CSV columns hold what; ``product`` None means that the image path is the id."""

    title: str
    image: str
    product: str | None = None
    group: str | None = None

    @classmethod
    def choose(
        cls, path: Path, *, title: str, image: str, product: str | None, group: str | None
    ) -> Columns:
        """Check the columns against the header; raises ``DataError`` for one it has not."""
        header = read_header(path)
        if group is not None:
            require_column(path, header, group, option="--group-column")
        return cls(
            require_column(path, header, title, option="--title-column"),
            require_column(path, header, image, option="--image-column"),
            id_column(header, product, path=path),
            group,
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """One row that takes part; ``fields`` are the cleaned fields in ``CLEANED_FIELDS`` order."""

    number: int
    key: str
    product_id: str
    group: str
    title: str
    fields: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class Catalogue:
    """The rows of a CSV: samples in row order, rows left out, and how many there were."""

    rows: int
    samples: list[Sample]
    rejects: list[Reject]
    repeated: list[Reject]
    not_clean: dict[str, int]


def key_of(product_id: str, source: str) -> str:
    """Return the key of a sample: 24 hex digits that stay when words or settings change."""
    return blake2b(f"{product_id}\0{source}".encode(), digest_size=12).hexdigest()


def read_catalogue(rows: Iterable[Row], columns: Columns) -> Catalogue:
    """Sort rows into samples, rows without title or image path, repetitions and uncleaned rows.

    A row repeats another when product and image path are the same; the first one counts.
    """
    found = Catalogue(0, [], [], [], {})
    seen: dict[str, int] = {}
    count = 0
    for row in rows:
        count += 1
        status = row.values.get("clean_status", _READY) or "pending"
        if status != _READY:
            found.not_clean[status] = found.not_clean.get(status, 0) + 1
            continue
        sample = _sample(row, columns)
        problem = _problem(sample)
        if problem:
            found.rejects.append(reject(sample, *problem))
        elif sample.key in seen:
            found.repeated.append(
                reject(sample, "duplicate_row", f"same product and image as row {seen[sample.key]}")
            )
        else:
            seen[sample.key] = row.number
            found.samples.append(sample)
    return Catalogue(count, found.samples, found.rejects, found.repeated, found.not_clean)


def read_csv(path: Path, columns: Columns) -> Catalogue:
    """``read_catalogue`` of a CSV file."""
    return read_catalogue(read_rows(path), columns)


def reject(sample: Sample, reason: str, message: str) -> Reject:
    """Return the entry of ``rejects.csv`` for a sample."""
    return Reject(sample.number, sample.product_id, sample.source, reason, message)


def words(sample: Sample) -> dict[str, str]:
    """Return what caption templates are filled with."""
    return {"title": sample.title, **dict(zip(CLEANED_FIELDS, sample.fields, strict=True))}


def sample_json(
    sample: Sample, picture: Picture, templates: Sequence[Template]
) -> tuple[bytes, str]:
    """Return the JSON member (sorted keys, every key always, "" for unknown) and first caption."""
    spoken = words(sample)
    captions = captions_of(spoken, templates)
    values: Mapping[str, object] = {
        **spoken,
        "key": sample.key,
        "product_id": sample.product_id,
        "group": sample.group,
        "captions": captions,
        "image_sha256": picture.image_sha256,
        "source": sample.source,
        "width": picture.width,
        "height": picture.height,
    }
    return _encode(values).encode(), captions[0]


def _sample(row: Row, columns: Columns) -> Sample:
    values = row.values
    source = values[columns.image].strip()
    product = values[columns.product].strip() if columns.product else ""
    product = product or source
    group = values[columns.group].strip() if columns.group else ""
    return Sample(
        number=row.number,
        key=key_of(product, source),
        product_id=product,
        group=group or product,
        title=values[columns.title].strip(),
        fields=tuple(sys.intern(values.get(name, "").strip()) for name in CLEANED_FIELDS),
        source=source,
    )


def _problem(sample: Sample) -> tuple[str, str] | None:
    if not sample.source:
        return "missing", "no image path in this row"
    if not sample.title and not any(sample.fields):
        return "no_text", "neither a title nor a cleaned field in this row"
    return None
