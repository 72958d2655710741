"""Base against tuned, from the vector files: no image is embedded a second time.

In: the master table and a split. Out: retrieval metrics in both directions for every model with
bootstrap intervals, paired bootstrap p-values against the first model, and the same by attribute.
The gallery is the whole split; the right answers of a query are its own product's images or
captions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from furnclip.errors import DataError, UsageError
from furnclip.metrics import (
    RetrievalMetrics,
    bootstrap_interval,
    paired_bootstrap_p,
    retrieval_metrics,
)
from furnclip.vectors import MasterVectors

DIRECTIONS = ("text_to_image", "image_to_text")
ATTRIBUTES = ("object_type", "style", "color", "material")
MEANS = ("hit@1", "hit@5", "hit@10", "recall@1", "recall@5", "recall@10", "mrr", "ndcg@10", "map")
_SLICE_MEANS = ("hit@1", "hit@10", "mrr", "ndcg@10")
_SLICE_MINIMUM = 5  # queries; below, a mean says nothing


@dataclass(frozen=True)
class Score:
    """A mean over queries with its 95% bootstrap interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """A model's metric minus the first model's, with interval and two-sided paired p-value."""

    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Direction:
    """One direction of retrieval; all dictionaries are keyed by model label first."""

    queries: int
    gallery_size: int
    scores: dict[str, dict[str, Score]]
    median_rank: dict[str, float]
    compared: dict[str, dict[str, Comparison]]


@dataclass(frozen=True)
class Slice:
    """Queries of one attribute value against the whole gallery; p-values are of nDCG@10."""

    direction: str
    attribute: str
    value: str
    queries: int
    means: dict[str, dict[str, float]]
    p: dict[str, float]


@dataclass(frozen=True)
class Report:
    """Everything ``furnclip eval`` prints. ``models`` maps labels to folders or hub ids."""

    split: str
    products: int
    shared_captions: int
    """Captions that more than one product has: their queries have a ceiling below 1."""
    models: dict[str, str]
    directions: dict[str, Direction]
    slices: list[Slice]


@dataclass(frozen=True)
class _Side:
    """The two galleries of a split: images row by row, captions once a product."""

    image_rows: npt.NDArray[np.int64]
    text_rows: npt.NDArray[np.int64]
    products: list[str]
    measured: dict[tuple[str, str], RetrievalMetrics] = field(default_factory=dict)

    def queries(self, direction: str) -> npt.NDArray[np.int64]:
        return self.text_rows if direction == "text_to_image" else self.image_rows


def evaluate(
    master: MasterVectors,
    *,
    split: str = "test",
    slices: Sequence[str] = ATTRIBUTES,
    seed: int = 0,
) -> Report:
    """Compare all models of ``master`` on one split; the first label is the baseline.

    Raises ``DataError`` when the split is empty, ``UsageError`` for an unknown attribute.
    """
    unknown = [name for name in slices if name not in ATTRIBUTES]
    if unknown:
        raise UsageError(
            f"no attribute {unknown[0]!r} to slice by", hint=f"use {', '.join(ATTRIBUTES)}"
        )
    side = _side(master, split)
    for direction in DIRECTIONS:
        for label in master.models:
            side.measured[direction, label] = _measure(master, side, label, direction)
    all_captions = master.column("caption")
    captions = [all_captions[row] for row in side.text_rows]
    return Report(
        split=split,
        products=len({side.products[row] for row in side.image_rows}),
        shared_captions=sum(count for count in Counter(captions).values() if count > 1),
        models={label: info.spec for label, info in master.models.items()},
        directions={
            name: _direction(side, name, list(master.models), seed=seed) for name in DIRECTIONS
        },
        slices=[
            found
            for direction in DIRECTIONS
            for attribute in slices
            for found in _slices(master, side, direction, attribute, seed=seed)
        ],
    )


def per_query(
    master: MasterVectors, *, split: str, direction: str, label: str
) -> tuple[npt.NDArray[np.int64], RetrievalMetrics]:
    """Return the master rows that were the queries, and the metrics with a value for each."""
    side = _side(master, split)
    return side.queries(direction), _measure(master, side, label, direction)


def _side(master: MasterVectors, split: str) -> _Side:
    splits = master.column("split")
    rows = np.array([row for row, name in enumerate(splits) if name == split], dtype=np.int64)
    if not len(rows):
        counts = ", ".join(f"{name} ({count})" for name, count in Counter(splits).items())
        raise DataError(
            f"{master.path} has no products in split {split!r}", hint=f"it has {counts}"
        )
    products, captions = master.column("product_id"), master.column("caption")
    first: dict[tuple[str, str], int] = {}
    for row in rows.tolist():
        first.setdefault((products[row], captions[row]), row)
    return _Side(rows, np.array(list(first.values()), dtype=np.int64), products)


def _measure(master: MasterVectors, side: _Side, label: str, direction: str) -> RetrievalMetrics:
    images = master.vectors(label, "image")[side.image_rows].astype(np.float32)
    texts = master.vectors(label, "text")[side.text_rows].astype(np.float32)
    image_groups = [side.products[row] for row in side.image_rows]
    text_groups = [side.products[row] for row in side.text_rows]
    if direction == "text_to_image":
        return retrieval_metrics(
            texts, images, query_groups=text_groups, gallery_groups=image_groups
        )
    return retrieval_metrics(images, texts, query_groups=image_groups, gallery_groups=text_groups)


def _direction(side: _Side, name: str, labels: Sequence[str], *, seed: int) -> Direction:
    measured = {label: side.measured[name, label] for label in labels}
    first = measured[labels[0]]
    return Direction(
        queries=first.queries,
        gallery_size=first.gallery_size,
        scores={
            label: {metric: _score(m.per_query[metric], seed) for metric in MEANS}
            for label, m in measured.items()
        },
        median_rank={label: m.median_rank for label, m in measured.items()},
        compared={
            label: {
                metric: _comparison(first.per_query[metric], m.per_query[metric], seed)
                for metric in MEANS
            }
            for label, m in measured.items()
            if label != labels[0]
        },
    )


def _score(values: npt.NDArray[np.float64], seed: int) -> Score:
    low, high = bootstrap_interval(values, seed=seed)
    return Score(float(values.mean()), low, high)


def _comparison(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], seed: int) -> Comparison:
    low, high = bootstrap_interval(b - a, seed=seed)
    return Comparison(
        float((b - a).mean()), low, high, paired_bootstrap_p(a, b, seed=seed, samples=2000)
    )


def _slices(
    master: MasterVectors, side: _Side, direction: str, attribute: str, *, seed: int
) -> list[Slice]:
    """Return the values of an attribute with enough queries, the most frequent first."""
    column = master.column(attribute)
    values = np.array([column[row] for row in side.queries(direction)])
    found = []
    for value, count in Counter(values.tolist()).most_common():
        if not value or count < _SLICE_MINIMUM:
            continue
        rows = np.flatnonzero(values == value)
        each = {
            label: {name: side.measured[direction, label].per_query[name][rows] for name in MEANS}
            for label in master.models
        }
        found.append(_slice(direction, attribute, value, each, seed))
    return found


def _slice(
    direction: str,
    attribute: str,
    value: str,
    each: Mapping[str, Mapping[str, npt.NDArray[np.float64]]],
    seed: int,
) -> Slice:
    base, *others = each
    return Slice(
        direction=direction,
        attribute=attribute,
        value=value,
        queries=len(each[base]["hit@1"]),
        means={
            label: {name: float(values[name].mean()) for name in _SLICE_MEANS}
            for label, values in each.items()
        },
        p={
            label: paired_bootstrap_p(
                each[base]["ndcg@10"], each[label]["ndcg@10"], seed=seed, samples=2000
            )
            for label in others
        },
    )
