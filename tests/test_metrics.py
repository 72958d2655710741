"""Retrieval metrics against cases worked out by hand and a brute-force oracle."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from furnclip.metrics import bootstrap_interval, paired_bootstrap_p, retrieval_metrics


def _unit(rows: npt.ArrayLike) -> npt.NDArray[np.float32]:
    array = np.asarray(rows, dtype=np.float32)
    return np.asarray(array / np.linalg.norm(array, axis=1, keepdims=True), dtype=np.float32)


def _line(scores: Sequence[float]) -> npt.NDArray[np.float32]:
    """Gallery in one dimension: against the query [[1]] the scores are the values."""
    return np.asarray(scores, dtype=np.float32)[:, None]


QUERY = np.ones((1, 1), dtype=np.float32)


def test_one_query_worked_out_by_hand() -> None:
    # Ranked: wrong, right, wrong, right. Right answers at ranks 2 and 4.
    result = retrieval_metrics(
        QUERY,
        _line([0.9, 0.8, 0.7, 0.6]),
        query_groups=["a"],
        gallery_groups=["x", "a", "y", "a"],
        ks=(1, 2, 3, 10),
    )
    assert result.hit_at == {1: 0.0, 2: 1.0, 3: 1.0, 10: 1.0}
    assert result.recall_at == {1: 0.0, 2: 0.5, 3: 0.5, 10: 1.0}
    assert result.mrr == pytest.approx(1 / 2)
    assert result.map == pytest.approx((1 / 2 + 2 / 4) / 2)
    ideal = 1 / math.log2(2) + 1 / math.log2(3)
    assert result.ndcg_at_10 == pytest.approx((1 / math.log2(3) + 1 / math.log2(5)) / ideal)
    assert (result.median_rank, result.gallery_size, result.queries) == (2.0, 4, 1)


def test_ties_count_against_the_right_answer() -> None:
    result = retrieval_metrics(
        QUERY, _line([0.5, 0.5, 0.5]), query_groups=["a"], gallery_groups=["a", "x", "y"]
    )
    assert result.median_rank == 3.0


def test_a_difference_of_rounding_is_a_tie() -> None:
    result = retrieval_metrics(
        QUERY, _line([0.5 + 4e-7, 0.5]), query_groups=["a"], gallery_groups=["a", "x"]
    )
    assert result.median_rank == 2.0


def test_a_collapsed_model_scores_nothing() -> None:
    generator = np.random.default_rng(0)
    point = _unit(generator.normal(size=(1, 67)))
    same = np.repeat(point, 501, axis=0)
    groups = [str(i) for i in range(501)]
    result = retrieval_metrics(same, same, query_groups=groups, gallery_groups=groups)
    assert result.hit_at[10] == 0.0
    assert result.median_rank == 501


def test_right_answers_do_not_push_each_other_down() -> None:
    result = retrieval_metrics(
        QUERY, _line([0.9, 0.9, 0.1]), query_groups=["a"], gallery_groups=["a", "a", "x"]
    )
    assert result.map == 1.0
    assert result.ndcg_at_10 == 1.0


def test_queries_without_an_answer_are_left_out() -> None:
    result = retrieval_metrics(
        np.ones((2, 1), dtype=np.float32),
        _line([0.9, 0.1]),
        query_groups=["a", "elsewhere"],
        gallery_groups=["a", "b"],
    )
    assert result.queries == 1
    assert result.hit_at[1] == 1.0


@pytest.mark.parametrize(("seed", "groups"), [(0, 30), (1, 60), (2, 3)])
def test_equals_a_brute_force_oracle(seed: int, groups: int) -> None:
    generator = np.random.default_rng(seed)
    gallery = _unit(generator.normal(size=(157, 8)))
    queries = _unit(generator.normal(size=(41, 8)))
    gallery_groups = [str(g) for g in generator.integers(0, groups, 157)]
    query_groups = [str(g) for g in generator.integers(0, groups, 41)]
    result = retrieval_metrics(
        queries, gallery, query_groups=query_groups, gallery_groups=gallery_groups
    )
    oracle = _oracle(queries, gallery, query_groups, gallery_groups)
    assert result.hit_at == pytest.approx({k: oracle[f"hit@{k}"] for k in (1, 5, 10)})
    assert result.recall_at == pytest.approx({k: oracle[f"recall@{k}"] for k in (1, 5, 10)})
    assert result.mrr == pytest.approx(oracle["mrr"])
    assert result.ndcg_at_10 == pytest.approx(oracle["ndcg"])
    assert result.map == pytest.approx(oracle["map"])
    assert result.median_rank == oracle["median_rank"]


def _oracle(
    queries: npt.NDArray[np.float32],
    gallery: npt.NDArray[np.float32],
    query_groups: Sequence[str],
    gallery_groups: Sequence[str],
) -> dict[str, float]:
    """The textbook loops over a sorted list of relevance flags."""
    rows: list[dict[str, float]] = []
    for query, group in zip(queries, query_groups, strict=True):
        order = sorted(range(len(gallery)), key=lambda i: -float(query @ gallery[i]))
        flags = [gallery_groups[i] == group for i in order]
        total = sum(flags)
        if not total:
            continue
        row = {
            "rank": flags.index(True) + 1.0,
            "mrr": 1 / (flags.index(True) + 1),
            "map": sum(sum(flags[: i + 1]) / (i + 1) for i, f in enumerate(flags) if f) / total,
            "ndcg": sum(1 / math.log2(i + 2) for i, f in enumerate(flags[:10]) if f)
            / sum(1 / math.log2(i + 2) for i in range(min(total, 10))),
        }
        for k in (1, 5, 10):
            row[f"hit@{k}"] = float(any(flags[:k]))
            row[f"recall@{k}"] = sum(flags[:k]) / total
        rows.append(row)
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return {**means, "median_rank": float(np.median([row["rank"] for row in rows]))}


def test_chunks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(5)
    vectors = _unit(generator.normal(size=(60, 6)))
    groups = [str(i // 2) for i in range(60)]
    whole = retrieval_metrics(vectors, vectors, query_groups=groups, gallery_groups=groups)
    monkeypatch.setattr("furnclip.metrics._CHUNK_BYTES", 4 * 60 * 7)
    chunked = retrieval_metrics(vectors, vectors, query_groups=groups, gallery_groups=groups)
    assert chunked.per_query["rank"].tolist() == whole.per_query["rank"].tolist()
    assert chunked.map == whole.map


def test_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        retrieval_metrics(
            np.array([[np.nan]], dtype=np.float32),
            _line([1.0]),
            query_groups=["a"],
            gallery_groups=["a"],
        )


def test_no_answerable_query_is_an_error() -> None:
    with pytest.raises(ValueError, match="no query"):
        retrieval_metrics(QUERY, _line([1.0]), query_groups=["a"], gallery_groups=["b"])


def test_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(7)
    covered = 0
    for trial in range(200):
        low, high = bootstrap_interval(generator.random(80) < 0.3, seed=trial, samples=500)
        covered += low <= 0.3 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_interval_of_a_constant_is_that_constant() -> None:
    assert bootstrap_interval([0.5] * 10) == (0.5, 0.5)


def test_paired_p_is_uniform_when_nothing_differs() -> None:
    generator = np.random.default_rng(11)
    values = [
        paired_bootstrap_p(generator.normal(size=60), generator.normal(size=60), samples=400)
        for _ in range(200)
    ]
    assert 0.02 <= float(np.mean(np.array(values) < 0.05)) <= 0.11


def test_paired_p_sees_a_small_constant_gain_through_noise() -> None:
    generator = np.random.default_rng(13)
    base = generator.random(300)
    tuned = base + 0.05 + generator.normal(scale=0.1, size=300)
    assert paired_bootstrap_p(base, tuned) < 0.001
    assert paired_bootstrap_p(base, base) == 1.0
