"""What a benchmark reports: a goal, what furnclip and its peer reached in this run, the ratio."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """One line of the report. ``goal`` is the least ``ratio``; None where there is none."""

    what: str
    ours: str
    peer: str
    ratio: float
    goal: float | None

    @property
    def verdict(self) -> str:
        """Say whether the goal is reached in this run."""
        return "" if self.goal is None else "yes" if self.ratio >= self.goal else "NO"


def show(lines: Sequence[Line], *, head: bool = True) -> None:
    """Print a table; nothing fails, since timings depend on the machine and its other work."""
    if head:
        print(f"{'':56}{'furnclip':>12}{'peer':>12}{'ratio':>8}{'goal':>7}", flush=True)
    for line in lines:
        goal = "" if line.goal is None else f"{line.goal:g}"
        print(
            f"{line.what:56}{line.ours:>12}{line.peer:>12}{line.ratio:>8.2f}{goal:>7} "
            f"{line.verdict}",
            flush=True,
        )


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def interleaved(rounds: int, *works: Callable[[], object]) -> list[float]:
    """Return the best time of each of ``works``, taken in turn so that load hits all alike."""
    times = [[seconds(work) for work in works] for _ in range(rounds)]
    return [min(column) for column in zip(*times, strict=True)]
