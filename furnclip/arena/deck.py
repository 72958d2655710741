"""The comparisons of one session, all made before the first is shown.

Order, sides and repeats come from one recorded seed, so a session can be laid out again. A pair of
identical lists is kept as an automatic tie and never shown.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from furnclip.arena.queries import Query
from furnclip.vectors import MasterVectors, top_k

_REPEAT_DISTANCE = 8  # comparisons between a first showing and its repeat, at the least


@dataclass(frozen=True)
class Comparison:
    """One question with two answers: rows of the master table, best first, A above B."""

    query: Query
    baseline: str
    challenger: str
    row_a: tuple[int, ...]
    row_b: tuple[int, ...]
    baseline_is_row_a: bool
    identical: bool = False
    repeated: bool = False


def build_deck(
    master: MasterVectors,
    queries: Sequence[Query],
    vectors: dict[str, npt.NDArray[np.float32]],
    *,
    pairs: Sequence[tuple[str, str]],
    k: int,
    seed: int,
    limit: int,
    repeat_fraction: float = 0.1,
    done: AbstractSet[tuple[str, str, str]] = frozenset(),
) -> list[Comparison]:
    """Lay out at most ``limit`` comparisons, repeats included, in the seed's order.

    ``vectors`` holds each model's (q, dim) query vectors; ``pairs`` are (baseline, challenger);
    ``done`` holds (query, baseline, challenger) that this user has judged already.
    """
    generator = random.Random(seed)  # noqa: S311 (a layout, not a secret)
    wanted = [
        (i, pair)
        for i, query in enumerate(queries)
        for pair in pairs
        if (query.name, *pair) not in done
    ]
    generator.shuffle(wanted)
    wanted = wanted[: max(1, round(limit / (1 + repeat_fraction)))]
    if not wanted:
        return []
    used = sorted({i for i, _ in wanted})
    hits = {
        label: _hits(master, label, {i: queries[i] for i in used}, vectors[label], k)
        for label in {label for pair in pairs for label in pair}
    }
    shas = master.column("image_sha256")
    firsts = [
        _comparison(
            queries[i],
            pair,
            (hits[pair[0]][i], hits[pair[1]][i]),
            shas,
            baseline_first=generator.random() < 0.5,
        )
        for i, pair in wanted
    ]
    return _with_repeats(firsts, generator, repeat_fraction)[:limit]


def _hits(
    master: MasterVectors,
    label: str,
    queries: dict[int, Query],
    vectors: npt.NDArray[np.float32],
    k: int,
) -> dict[int, tuple[int, ...]]:
    """Return the k best rows for each query by its number, a product's own photos left out."""
    products = master.column("product_id")
    own = max(Counter(products).values(), default=0)
    indices, _ = top_k(vectors[list(queries)], master.vectors(label, "image"), k + own)
    found = {}
    for (i, query), row in zip(queries.items(), indices.tolist(), strict=True):
        product = products[query.row] if query.row is not None else None
        found[i] = tuple(hit for hit in row if products[hit] != product)[:k]
    return found


def _comparison(
    query: Query,
    pair: tuple[str, str],
    rows: tuple[tuple[int, ...], tuple[int, ...]],
    shas: Sequence[str],
    *,
    baseline_first: bool,
) -> Comparison:
    first, second = rows if baseline_first else rows[::-1]
    seen = [tuple(shas[row] or row for row in hits) for hits in rows]
    return Comparison(
        query=query,
        baseline=pair[0],
        challenger=pair[1],
        row_a=first,
        row_b=second,
        baseline_is_row_a=baseline_first,
        identical=seen[0] == seen[1],
    )


def _with_repeats(
    firsts: list[Comparison], generator: random.Random, fraction: float
) -> list[Comparison]:
    """Insert swapped copies of a share of the comparisons, well after their first showing."""
    deck = list(firsts)
    early = firsts[: max(1, len(firsts) - _REPEAT_DISTANCE)]
    eligible = [comparison for comparison in early if not comparison.identical]
    different = sum(not comparison.identical for comparison in firsts)
    count = min(round(fraction * different), len(eligible))
    for comparison in generator.sample(eligible, count):
        earliest = min(deck.index(comparison) + _REPEAT_DISTANCE, len(deck))
        deck.insert(generator.randint(earliest, len(deck)), swapped(comparison))
    return deck


def swapped(comparison: Comparison) -> Comparison:
    """Return the same comparison with its rows exchanged, marked as a repeat."""
    return replace(
        comparison,
        row_a=comparison.row_b,
        row_b=comparison.row_a,
        baseline_is_row_a=not comparison.baseline_is_row_a,
        repeated=True,
    )
