"""The statistics against scipy and independent formulas, and the stopping rule's promise."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from scipy import stats

from furnclip.arena.report import interval_plot, report
from furnclip.arena.statistics import (
    bradley_terry,
    cohen_kappa,
    e_value,
    outcome,
    sign_test,
    summarise,
    verdict,
    wilson,
)
from furnclip.state.arena import Vote
from tests.arena.simulate import simulate

_START = datetime(2026, 1, 1, tzinfo=UTC)


def vote(number: int, choice: str, **values: object) -> Vote:
    fields: dict[str, object] = {
        "event": f"s-{number}",
        "session": "s",
        "sequence": number,
        "voted_at": _START + timedelta(seconds=number),
        "rater": "ann",
        "query": f"q{number}",
        "baseline": "base",
        "challenger": "tuned",
        "choice": choice,
        "baseline_is_row_a": True,
    }
    return Vote(**(fields | values))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wins", "losses"), [(0, 1), (3, 3), (7, 2), (66, 27), (0, 40), (210, 190), (17_000, 17_300)]
)
def test_sign_test_and_interval_equal_scipy(wins: int, losses: int) -> None:
    n = wins + losses
    test = stats.binomtest(wins, n)
    assert sign_test(wins, losses) == pytest.approx(test.pvalue)
    interval = test.proportion_ci(method="wilson")
    assert wilson(wins, n) == pytest.approx((interval.low, interval.high), abs=1e-12)


def test_no_votes_say_nothing() -> None:
    assert wilson(0, 0) == (0, 1)
    assert sign_test(0, 0) == 1
    assert e_value(0, 0) == pytest.approx(1)
    assert summarise([]).pairs == []


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (5, 1), (40, 20), (20, 40)])
def test_e_value_is_the_likelihood_ratio_of_a_beta_mixture(wins: int, losses: int) -> None:
    from scipy.integrate import quad

    mixture = quad(lambda p: p**wins * (1 - p) ** losses * float(stats.beta.pdf(p, 10, 10)), 0, 1)[
        0
    ]
    assert e_value(wins, losses) == pytest.approx(mixture * 2 ** (wins + losses), rel=1e-6)


def test_false_stops_are_rare_however_often_one_looks() -> None:
    found = simulate(200, seed=20)
    assert found.by_e_value / found.raters <= 0.05
    assert found.by_p_value_early / found.raters > 0.15  # what the rule is there to prevent


def test_a_clear_preference_stops_early() -> None:
    generator = random.Random(1)
    needed = []
    for _ in range(100):
        wins = losses = 0
        while verdict(wins, losses) == "open":
            if generator.random() < 0.7:
                wins += 1
            else:
                losses += 1
        needed.append(wins + losses)
        assert verdict(wins, losses) == "challenger"
    assert sorted(needed)[50] < 100


def test_at_the_cap_no_difference_is_detectable() -> None:
    assert verdict(200, 200) == "none"
    assert verdict(199, 200) == "open"
    assert verdict(10, 60) == "baseline"


@pytest.mark.parametrize(
    ("choice", "baseline_first", "won"),
    [
        ("A", True, "baseline"),
        ("A", False, "challenger"),
        ("B", True, "challenger"),
        ("B", False, "baseline"),
        ("tie", True, "tie"),
    ],
)
def test_sides_are_resolved(*, choice: str, baseline_first: bool, won: str) -> None:
    assert outcome(vote(1, choice, baseline_is_row_a=baseline_first)) == won


def test_counts_leave_repeats_out_and_ties_beside() -> None:
    votes = [
        vote(1, "B"),
        vote(2, "A", baseline_is_row_a=False),
        vote(3, "A"),
        vote(4, "tie"),
        vote(5, "tie", automatic=True),
        vote(6, "bad"),
        vote(7, "skip"),
        vote(8, "A", query="q1", repeated=True, baseline_is_row_a=False),
        vote(9, "A", query="q3", repeated=True, baseline_is_row_a=False),
    ]
    summary = summarise(votes)
    (pair,) = summary.pairs
    assert (pair.wins, pair.losses, pair.ties, pair.automatic_ties) == (2, 1, 1, 1)
    assert (pair.both_bad, pair.skipped, pair.decisive) == (1, 1, 3)
    assert pair.win_rate == pytest.approx(2 / 3)
    assert pair.row_a_share == pytest.approx(2 / 3)
    assert (pair.repeats, pair.repeat_agreement) == (2, 0.5)
    assert summary.votes == 8


def test_a_model_trained_again_under_its_label_is_another_model() -> None:
    old = [vote(n, "B", baseline_sha="b" * 16, challenger_sha="1" * 16) for n in range(40)]
    new = [vote(40 + n, "A", baseline_sha="b" * 16, challenger_sha="2" * 16) for n in range(3)]
    pairs = summarise([*old, *new]).pairs
    assert [(p.baseline, p.challenger, p.wins, p.losses) for p in pairs] == [
        ("base", "tuned@11111111", 40, 0), ("base", "tuned@22222222", 0, 3),
    ]  # fmt: skip
    assert [p.challenger for p in summarise(old).pairs] == ["tuned"]


def test_a_pair_asked_the_other_way_round_is_the_same_pair() -> None:
    turned = {"baseline": "tuned", "challenger": "base"}
    votes = [vote(1, "B"), vote(2, "A", **turned), vote(3, "A", baseline_is_row_a=False, **turned)]
    (pair,) = summarise(votes).pairs
    assert (pair.baseline, pair.challenger, pair.wins, pair.losses) == ("base", "tuned", 2, 1)
    assert pair.row_a_share == pytest.approx(2 / 3)


def test_side_bias_equals_scipy() -> None:
    votes = [vote(n, "A" if n < 18 else "B", baseline_is_row_a=n % 2 == 0) for n in range(20)]
    (pair,) = summarise(votes).pairs
    assert pair.row_a_share == pytest.approx(0.9)
    assert pair.row_a_p_value == pytest.approx(stats.binomtest(18, 20).pvalue)
    assert pair.p_value == pytest.approx(stats.binomtest(pair.wins, 20).pvalue)


def test_kappa_equals_the_textbook_example() -> None:
    pairs = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    assert cohen_kappa(pairs) == pytest.approx(0.4)
    assert cohen_kappa([("y", "y")]) is None
    assert cohen_kappa([]) is None


def test_bradley_terry_orders_three_models() -> None:
    generator = random.Random(3)
    strength = {"weak": 0.2, "middle": 0.5, "strong": 0.8}
    votes = []
    for number in range(300):
        baseline, challenger = generator.sample(sorted(strength), 2)
        share = strength[challenger] / (strength[challenger] + strength[baseline])
        choice = "B" if generator.random() < share else "A"
        votes.append(vote(number, choice, baseline=baseline, challenger=challenger))
    ranking = bradley_terry(votes, samples=50)
    assert [ranked.model for ranked in ranking] == ["strong", "middle", "weak"]
    assert all(r.interval[0] <= r.strength <= r.interval[1] for r in ranking)
    assert bradley_terry([vote(1, "A")]) == []


def test_bootstrap_draws_whole_queries() -> None:
    """However many judged one query, it is one query: drawn again it is always the same."""
    pairs = [("a", "b"), ("b", "c"), ("a", "c")] * 20
    votes = [
        vote(n, "B" if n % 3 else "A", query="the only one", baseline=b, challenger=c)
        for n, (b, c) in enumerate(pairs)
    ]
    ranking = bradley_terry(votes, samples=20)
    assert len(ranking) == 3
    assert all(r.interval == pytest.approx((r.strength, r.strength)) for r in ranking)


def test_report_says_it_in_one_sentence() -> None:
    votes = [vote(n, "B" if n < 66 else "A") for n in range(93)]
    text = report(summarise(votes))
    assert (
        "tuned is preferred to base: 71% of 93 decisive votes, 95% interval 61\N{EN DASH}79%"
        in text
    )
    assert "; you may stop." in text
    assert "for a number of votes fixed beforehand" in text
    assert report(summarise([])) == "No votes yet."


def test_plot_marks_rate_interval_and_one_half() -> None:
    line, scale = interval_plot(0.7, (0.6, 0.8))
    assert line[35] == "\N{BLACK CIRCLE}"
    assert line[25] == "\N{BOX DRAWINGS LIGHT VERTICAL AND HORIZONTAL}"
    assert (line.index("\N{BOX DRAWINGS HEAVY HORIZONTAL}"), len(scale)) == (30, 51)
