"""What the votes mean: pure functions from votes to numbers.

Only decisive votes on a first showing count towards the win rate; ties, both-bad and skips are
reported beside it, repeats measure how far the raters agree with themselves. Stopping follows an
e-value, which stays valid however often it is looked at: under no difference it reaches 20 with
probability at most 1/20 (Ville), whereas p < .05 after each of 200 votes fires in a quarter of
sessions. Sources: Wilson 1927; Cohen 1960; Grünwald, de Heide, Koolen 2024 (safe testing).
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from furnclip.state.arena import Vote

STOP_AT = 20.0
CAP = 400
_PRIOR = 10.0  # beta(10, 10): most weight on win rates of .3 to .7; any value keeps the guarantee
_Z95 = 1.959963984540054


@dataclass(frozen=True)
class PairStatistics:
    """One challenger against one baseline; wins are the challenger's.

    ``win_rate`` and its Wilson ``interval`` are shares of the decisive votes, ``p_value`` is the
    two-sided exact sign test's, ``row_a_share`` the share of decisive votes for the upper row.
    """

    baseline: str
    challenger: str
    wins: int
    losses: int
    ties: int
    automatic_ties: int
    both_bad: int
    skipped: int
    win_rate: float | None
    interval: tuple[float, float]
    p_value: float
    e_value: float
    row_a_share: float | None
    row_a_p_value: float
    repeats: int
    repeat_agreement: float | None
    kappa: float | None
    verdict: str
    sentence: str

    @property
    def decisive(self) -> int:
        """Return how many votes preferred one side."""
        return self.wins + self.losses


@dataclass(frozen=True)
class Ranking:
    """Bradley-Terry strength of one model (log odds, mean zero) with a bootstrap interval."""

    model: str
    strength: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class ArenaStatistics:
    """Everything the arena reports; ``ranking`` is empty with fewer than three models."""

    votes: int
    raters: int
    sessions: int
    queries: int
    median_seconds: float | None
    pairs: list[PairStatistics] = field(default_factory=list)
    ranking: list[Ranking] = field(default_factory=list)


def summarise(votes: Sequence[Vote], *, seed: int = 0) -> ArenaStatistics:
    """Return the statistics of all standing votes, a pair of models at a time."""
    votes = named_apart(votes)
    by_pair: dict[tuple[str, str], list[Vote]] = defaultdict(list)
    for vote in votes:
        by_pair[vote.baseline, vote.challenger].append(vote)
    judged = [vote for vote in votes if not vote.automatic]
    seconds = sorted(vote.seconds for vote in judged if vote.seconds is not None)
    return ArenaStatistics(
        votes=len(judged),
        raters=len({vote.rater for vote in judged}),
        sessions=len({vote.session for vote in judged}),
        queries=len({vote.query for vote in judged}),
        median_seconds=seconds[len(seconds) // 2] if seconds else None,
        pairs=[_pair(*pair, group) for pair, group in sorted(by_pair.items())],
        ranking=bradley_terry(votes, seed=seed),
    )


def named_apart(votes: Sequence[Vote]) -> list[Vote]:
    """Tell models apart that bore one label, and turn pairs that were asked the other way round.

    A label such as ``tuned`` stays the same when the model is trained again; its votes must not
    be added to the new model's. Such labels get the start of their weights' digest: tuned@1a2b3c4d.
    A pair keeps the direction it was first asked in.
    """
    shas: dict[str, set[str]] = defaultdict(set)
    for vote in votes:
        shas[vote.baseline].add(vote.baseline_sha)
        shas[vote.challenger].add(vote.challenger_sha)

    def name(label: str, sha: str) -> str:
        return label if len(shas[label]) == 1 else f"{label}@{sha[:8] or 'unknown'}"

    directions: set[tuple[str, str]] = set()
    apart = []
    for vote in votes:
        baseline = name(vote.baseline, vote.baseline_sha)
        challenger = name(vote.challenger, vote.challenger_sha)
        same_row = vote.baseline_is_row_a
        if (challenger, baseline) in directions:
            baseline, challenger, same_row = challenger, baseline, not same_row
        directions.add((baseline, challenger))
        apart.append(
            replace(vote, baseline=baseline, challenger=challenger, baseline_is_row_a=same_row)
        )
    return apart


def outcome(vote: Vote) -> str:
    """Return who won: challenger, baseline, tie, bad or skip, whichever row it stood in."""
    if vote.choice not in {"A", "B"}:
        return vote.choice
    return "baseline" if (vote.choice == "A") == vote.baseline_is_row_a else "challenger"


def _pair(baseline: str, challenger: str, votes: Sequence[Vote]) -> PairStatistics:
    first = [vote for vote in votes if not vote.repeated]
    counts = Counter(outcome(vote) for vote in first if not vote.automatic)
    wins, losses = counts["challenger"], counts["baseline"]
    decisive = [vote for vote in first if vote.choice in {"A", "B"}]
    upper = sum(vote.choice == "A" for vote in decisive)
    pairs = repeat_pairs(votes)
    evidence = e_value(wins, losses)
    interval = wilson(wins, wins + losses)
    return PairStatistics(
        baseline=baseline,
        challenger=challenger,
        wins=wins,
        losses=losses,
        ties=counts["tie"],
        automatic_ties=sum(vote.automatic for vote in first),
        both_bad=counts["bad"],
        skipped=counts["skip"],
        win_rate=wins / (wins + losses) if decisive else None,
        interval=interval,
        p_value=sign_test(wins, losses),
        e_value=evidence,
        row_a_share=upper / len(decisive) if decisive else None,
        row_a_p_value=sign_test(upper, len(decisive) - upper),
        repeats=len(pairs),
        repeat_agreement=sum(a == b for a, b in pairs) / len(pairs) if pairs else None,
        kappa=cohen_kappa(pairs),
        verdict=verdict(wins, losses),
        sentence=_sentence(baseline, challenger, wins, losses),
    )


def wilson(wins: int, n: int) -> tuple[float, float]:
    """Return the 95% Wilson score interval of a proportion; (0, 1) without observations."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = wins / n, _Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    low = 0.0 if wins == 0 else centre - half
    return low, 1.0 if wins == n else centre + half


def sign_test(wins: int, losses: int) -> float:
    """Return the two-sided exact binomial p-value of ``wins`` against a fair coin."""
    n = wins + losses
    ways = tail = 1  # of i out of n, from the one before: math.comb anew takes minutes at 50,000
    for i in range(min(wins, losses)):
        ways = ways * (n - i) // (i + 1)
        tail += ways
    return float(min(1.0, 2 * tail / 2**n))


def e_value(wins: int, losses: int) -> float:
    """Return the beta-binomial e-value 2^n B(w+a, l+a) / B(a, a) against a win rate of one half."""
    n, a = wins + losses, _PRIOR
    log_e = n * math.log(2) + _log_beta(wins + a, losses + a) - _log_beta(a, a)
    return math.exp(min(log_e, 700.0))


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def verdict(wins: int, losses: int) -> str:
    """Return ``challenger`` or ``baseline`` (preferred), ``none`` (at the cap) or ``open``."""
    if e_value(wins, losses) >= STOP_AT:
        return "challenger" if wins > losses else "baseline"
    return "none" if wins + losses >= CAP else "open"


def _sentence(baseline: str, challenger: str, wins: int, losses: int) -> str:
    n = wins + losses
    if n == 0:
        return f"No decisive votes on {challenger} against {baseline} yet."
    decided = verdict(wins, losses)
    leader, other, count = (
        (challenger, baseline, wins) if wins >= losses else (baseline, challenger, losses)
    )
    low, high = wilson(count, n)
    evidence = e_value(wins, losses)
    numbers = (
        f"{count / n:.0%} of {n} decisive vote{'s' if n > 1 else ''}, "
        f"95% interval {100 * low:.0f}\N{EN DASH}{high:.0%}, "
        f"e-value {evidence:,.{0 if evidence >= 10 else 2}f}"
    )
    if decided in {"challenger", "baseline"}:
        return f"{leader} is preferred to {other}: {numbers}; you may stop."
    if decided == "none":
        return f"No detectable difference between {challenger} and {baseline}: {leader} {numbers}."
    if wins == losses:
        return f"{challenger} and {baseline} are level: {numbers}; go on."
    return f"{leader} is ahead of {other}, not yet decided: {numbers}; go on until it reaches 20."


def repeat_pairs(votes: Sequence[Vote]) -> list[tuple[str, str]]:
    """Return (first, second) outcome of each comparison that one rater judged twice."""
    first: dict[tuple[str, str], str] = {}
    pairs = []
    for vote in votes:
        if vote.automatic or vote.choice == "skip":
            continue
        key = (vote.session, vote.query)
        if vote.repeated and key in first:
            pairs.append((first[key], outcome(vote)))
        elif not vote.repeated:
            first[key] = outcome(vote)
    return pairs


def cohen_kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Return chance-corrected agreement of two judgements; None where chance explains it all."""
    n = len(pairs)
    if n == 0:
        return None
    left, right = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    chance = sum(left[label] * right[label] for label in left) / n**2
    if chance == 1:
        return None
    return (sum(a == b for a, b in pairs) / n - chance) / (1 - chance)


def bradley_terry(votes: Sequence[Vote], *, seed: int = 0, samples: int = 200) -> list[Ranking]:
    """Rank three or more models on the decisive votes; the bootstrap draws whole queries."""
    by_query: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for vote in votes:
        won = outcome(vote)
        if not vote.repeated and won in {"challenger", "baseline"}:
            pair = (vote.challenger, vote.baseline)
            by_query[vote.query].append(pair if won == "challenger" else pair[::-1])
    models = sorted({model for pairs in by_query.values() for pair in pairs for model in pair})
    if len(models) < 3:
        return []
    groups = list(by_query.values())
    strengths = _strengths(models, groups)
    generator = random.Random(seed)  # noqa: S311 (a bootstrap, not a secret)
    drawn = [_strengths(models, generator.choices(groups, k=len(groups))) for _ in range(samples)]
    return sorted(
        (
            Ranking(model, strengths[model], _quantiles([draw[model] for draw in drawn]))
            for model in models
        ),
        key=lambda ranked: -ranked.strength,
    )


def _strengths(
    models: Sequence[str], groups: Sequence[Sequence[tuple[str, str]]]
) -> Mapping[str, float]:
    """Fit by choix's ILSR; a little regularisation keeps a model that never lost finite."""
    import choix

    index = {model: i for i, model in enumerate(models)}
    data = [(index[winner], index[loser]) for pairs in groups for winner, loser in pairs]
    found = choix.ilsr_pairwise(len(models), data, alpha=0.01)
    return dict(zip(models, (float(value) for value in found - found.mean()), strict=True))


def _quantiles(values: Sequence[float]) -> tuple[float, float]:
    ordered = sorted(values)
    return ordered[int(0.025 * (len(ordered) - 1))], ordered[round(0.975 * (len(ordered) - 1))]
