"""Retrieval metrics over a whole gallery with several right answers a query; pure numpy.

Definitions follow Manning, Raghavan and Schütze, *Introduction to Information Retrieval*, ch. 8.
``hit@k`` (at least one right answer among the first k, what most CLIP papers call recall) and
``recall@k`` (the share of all right answers found) are kept apart. A tie between a right and a
wrong answer counts as if the wrong one came first, so that a model that maps everything to one
point scores nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
_TIE = 1e-6  # equal vectors may score this far apart: BLAS sums edge blocks in another order
_CHUNK_BYTES = 64 * 1024 * 1024  # of scores held at once


@dataclass(frozen=True)
class RetrievalMetrics:
    """Means over queries, and the values of each query for intervals and tests."""

    hit_at: dict[int, float]
    recall_at: dict[int, float]
    mrr: float
    ndcg_at_10: float
    map: float
    median_rank: float
    gallery_size: int
    queries: int
    per_query: dict[str, Float64] = field(repr=False)
    """``rank`` (1-based, of the first right answer), ``mrr``, ``ndcg@10``, ``map``, ``hit@k``,
    ``recall@k``; arrays of length ``queries``, in the order the queries were given."""


def retrieval_metrics(
    queries: Float32,
    gallery: Float32,
    *,
    query_groups: Sequence[str],
    gallery_groups: Sequence[str],
    ks: Sequence[int] = (1, 5, 10),
) -> RetrievalMetrics:
    """Rank ``gallery`` (n, d) for each of ``queries`` (q, d) by inner product and score it.

    A gallery item is right for a query when their groups are equal. Queries with no right answer
    in the gallery are left out. Memory stays under 64 MiB of scores at a time.
    Raises ``ValueError`` for shapes that do not fit or when no query has a right answer.
    """
    _check(queries, gallery, query_groups, gallery_groups)
    names: dict[str, int] = {}
    gallery_ids = np.array([names.setdefault(name, len(names)) for name in gallery_groups])
    query_ids = np.array([names.get(name, -1) for name in query_groups])
    answerable = np.flatnonzero(query_ids >= 0)
    if not len(answerable):
        raise ValueError("no query has a right answer in the gallery")
    members = _members(gallery_ids, len(names))
    wide = np.asarray(gallery, dtype=np.float32).T
    step = max(1, _CHUNK_BYTES // (4 * len(gallery)))
    ranks: list[Float64] = []
    for start in range(0, len(answerable), step):
        rows = answerable[start : start + step]
        scores = np.asarray(queries[rows], dtype=np.float32) @ wide
        ranks += [
            _pessimistic_ranks(row, members[query_ids[query]])
            for row, query in zip(scores, rows, strict=True)
        ]
    return _summary(ranks, len(gallery), ks)


def _check(
    queries: Float32, gallery: Float32, query_groups: Sequence[str], gallery_groups: Sequence[str]
) -> None:
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise ValueError(f"queries {queries.shape} and gallery {gallery.shape} do not fit")
    if len(queries) != len(query_groups) or len(gallery) != len(gallery_groups):
        raise ValueError("one group is needed for each query and each gallery item")
    if not np.isfinite(queries).all() or not np.isfinite(gallery).all():
        raise ValueError("vectors hold NaN or infinity")


def _members(gallery_ids: npt.NDArray[np.int64], groups: int) -> list[npt.NDArray[np.int64]]:
    """Return the gallery rows of each group."""
    order = np.argsort(gallery_ids, kind="stable")
    ends = np.cumsum(np.bincount(gallery_ids, minlength=groups))
    return [rows.astype(np.int64) for rows in np.split(order, ends[:-1])]


def _pessimistic_ranks(scores: Float32, right: npt.NDArray[np.int64]) -> Float64:
    """Return the 1-based ranks of the right answers, wrong ones first where scores are equal.

    Few right answers are counted one by one: 100,000 scores take 20 us then, 7 ms to sort.
    """
    ours = np.sort(scores[right])[::-1]
    borders = ours - np.float32(_TIE)
    if len(ours) <= 32:
        above = np.array([np.count_nonzero(scores >= border) for border in borders])
    else:
        above = len(scores) - np.searchsorted(np.sort(scores), borders, side="left")
    right_above = (ours[None, :] >= borders[:, None]).sum(axis=1)
    return np.asarray(above - right_above + np.arange(1, len(ours) + 1), dtype=np.float64)


def _summary(ranks: Sequence[Float64], gallery_size: int, ks: Sequence[int]) -> RetrievalMetrics:
    def each(score: Callable[[Float64], float]) -> Float64:
        return np.array([score(row) for row in ranks], dtype=np.float64)

    per_query = {
        "rank": each(lambda row: float(row[0])),
        "mrr": each(lambda row: 1.0 / float(row[0])),
        "ndcg@10": each(_ndcg_at_10),
        "map": each(lambda row: float(np.mean(np.arange(1, len(row) + 1) / row))),
    }
    for k in ks:
        per_query[f"hit@{k}"] = (per_query["rank"] <= k).astype(np.float64)
        per_query[f"recall@{k}"] = np.array([float(np.mean(row <= k)) for row in ranks])
    return RetrievalMetrics(
        hit_at={k: float(per_query[f"hit@{k}"].mean()) for k in ks},
        recall_at={k: float(per_query[f"recall@{k}"].mean()) for k in ks},
        mrr=float(per_query["mrr"].mean()),
        ndcg_at_10=float(per_query["ndcg@10"].mean()),
        map=float(per_query["map"].mean()),
        median_rank=float(np.median(per_query["rank"])),
        gallery_size=gallery_size,
        queries=len(ranks),
        per_query=per_query,
    )


def _ndcg_at_10(ranks: Float64) -> float:
    """Binary relevance, log2 discount (Järvelin and Kekäläinen 2002)."""
    gain = float(np.sum(1.0 / np.log2(ranks[ranks <= 10] + 1)))
    ideal = float(np.sum(1.0 / np.log2(np.arange(1, min(len(ranks), 10) + 1) + 1)))
    return gain / ideal


def bootstrap_interval(
    values: npt.ArrayLike, *, seed: int = 0, samples: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean (Efron and Tibshirani 1993, ch. 13)."""
    data = np.asarray(values, dtype=np.float64)
    if not len(data):
        raise ValueError("an interval needs at least one value")
    means = _resampled_means(data, seed=seed, samples=samples)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def paired_bootstrap_p(
    a: npt.ArrayLike, b: npt.ArrayLike, *, seed: int = 0, samples: int = 10_000
) -> float:
    """Return the two-sided p-value of "a and b have the same mean" over the same queries.

    The differences are centred on zero and resampled (Efron and Tibshirani 1993, ch. 16); the
    smallest value returned is 1 / (samples + 1). Equal inputs give 1.
    """
    difference = np.asarray(b, dtype=np.float64) - np.asarray(a, dtype=np.float64)
    if difference.ndim != 1 or not len(difference):
        raise ValueError("paired values must be two lists of the same, non-zero length")
    observed = abs(float(difference.mean()))
    means = _resampled_means(difference - difference.mean(), seed=seed, samples=samples)
    # A sum in another order may differ in the last bits: equal means must count as extreme.
    extreme = int(np.count_nonzero(np.abs(means) >= observed * (1 - 1e-9)))
    return (extreme + 1) / (samples + 1)


def _resampled_means(data: Float64, *, seed: int, samples: int) -> Float64:
    """Return the means of ``samples`` resamples, in blocks of at most 32 MiB of indices."""
    generator = np.random.default_rng(seed)
    block = max(1, (4 * 1024 * 1024) // len(data))
    means = [
        data[generator.integers(0, len(data), (min(block, samples - start), len(data)))].mean(1)
        for start in range(0, samples, block)
    ]
    return np.concatenate(means)
