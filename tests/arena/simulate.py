"""Simulated raters who see no difference: how often does the stopping rule stop them?

``python -m tests.arena.simulate [--raters 200] [--seed 0]`` lets each rater vote at random (one
vote in five a tie, sides drawn by a coin) up to the cap, looks after every vote as an eager user
would, and prints the false-stop rate of the e-value beside that of "stop at p < .05".
"""

import argparse
import random
from dataclasses import dataclass
from datetime import UTC, datetime

from furnclip.arena.statistics import CAP, sign_test, summarise, verdict
from furnclip.state.arena import Vote

_TIES = 0.2
_EARLY = 200


@dataclass(frozen=True)
class Stops:
    """How many of ``raters`` were stopped although there is no difference."""

    raters: int
    by_e_value: int
    by_p_value: int
    by_p_value_early: int
    votes: int


def rate(rater: int, generator: random.Random, *, preference: float = 0.5) -> list[Vote]:
    """Return one rater's votes up to the cap; ``preference`` is the challenger's true share."""
    votes: list[Vote] = []
    decisive = 0
    while decisive < CAP:
        baseline_is_row_a = generator.random() < 0.5
        if generator.random() < _TIES:
            choice = "tie"
        else:
            challenger = generator.random() < preference
            choice = "B" if challenger == baseline_is_row_a else "A"
            decisive += 1
        votes.append(
            Vote(
                event=f"{rater}-{len(votes):06d}",
                session=str(rater),
                sequence=len(votes),
                voted_at=datetime(2026, 1, 1, tzinfo=UTC),
                rater=f"rater {rater}",
                query=f"q{len(votes)}",
                baseline="base",
                challenger="tuned",
                choice=choice,
                baseline_is_row_a=baseline_is_row_a,
            )
        )
    return votes


def simulate(raters: int, seed: int) -> Stops:
    """Look after every vote; the final look goes through the whole summary, which must agree."""
    generator = random.Random(seed)
    by_e = by_p = by_p_early = total = 0
    for rater in range(raters):
        votes = rate(rater, generator)
        total += len(votes)
        wins = losses = 0
        e_at = p_at = None
        for number, vote in enumerate(votes, 1):
            if vote.choice == "tie":
                continue
            if (vote.choice == "B") == vote.baseline_is_row_a:
                wins += 1
            else:
                losses += 1
            if e_at is None and verdict(wins, losses) in {"challenger", "baseline"}:
                e_at = number
                (pair,) = summarise(votes[:number]).pairs
                assert (pair.wins, pair.losses) == (wins, losses)
                assert pair.verdict == ("challenger" if wins > losses else "baseline")
            if p_at is None and sign_test(wins, losses) < 0.05:
                p_at = wins + losses
        by_e += e_at is not None
        by_p += p_at is not None
        by_p_early += p_at is not None and p_at <= _EARLY
    return Stops(raters, by_e, by_p, by_p_early, total)


def main() -> None:
    """Print the rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--raters", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = simulate(options.raters, options.seed)
    print(f"{found.raters} raters without a preference, {found.votes:,} votes, a look after each")
    for name, stopped in (
        ("e-value >= 20 (the arena's rule)", found.by_e_value),
        (f"p < .05 within {_EARLY} decisive votes", found.by_p_value_early),
        (f"p < .05 within {CAP}", found.by_p_value),
    ):
        print(f"  {name:38}{stopped:>4} stopped falsely, {stopped / found.raters:.1%}")


if __name__ == "__main__":
    main()
