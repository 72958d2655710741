"""The statistics as text: numbers, a plot of each interval, and what they mean in one sentence."""

from __future__ import annotations

from furnclip.arena.statistics import ArenaStatistics, PairStatistics

_PLOT_WIDTH = 51
_CAVEAT = (
    "Interval and p are right for a number of votes fixed beforehand; the e-value",
    "may be looked at after every vote, and 20 is the place to stop.",
)


def report(statistics: ArenaStatistics) -> str:
    """Return the whole report, lines of at most 78 characters but for the sentences."""
    if not statistics.pairs:
        return "No votes yet."
    seconds = statistics.median_seconds
    lines = [
        f"{_count(statistics.votes, 'vote')} on {_count(statistics.queries, 'query')} by "
        f"{_count(statistics.raters, 'rater')} in {_count(statistics.sessions, 'session')}"
        + (f"; median {seconds:.1f} s a vote" if seconds is not None else "")
    ]
    for pair in statistics.pairs:
        lines += ["", *_pair_lines(pair)]
    if any(pair.win_rate is not None for pair in statistics.pairs):
        lines += ["", *_CAVEAT]
    if statistics.ranking:
        width = max(len(ranked.model) for ranked in statistics.ranking)
        lines += ["", "Bradley-Terry strength (log odds, 95% bootstrap by query)"]
        lines += [
            f"  {ranked.model:<{width}}  {ranked.strength:+.2f}  "
            f"[{ranked.interval[0]:+.2f}, {ranked.interval[1]:+.2f}]"
            for ranked in statistics.ranking
        ]
    return "\n".join(lines)


def _pair_lines(pair: PairStatistics) -> list[str]:
    lines = [
        f"{pair.challenger} against {pair.baseline}",
        f"  {pair.challenger} wins {pair.wins}, {pair.baseline} wins {pair.losses}",
        (
            f"  ties {pair.ties}, both bad {pair.both_bad}, skipped {pair.skipped}, "
            f"identical lists (not shown) {pair.automatic_ties}"
        ),
    ]
    if pair.win_rate is not None and pair.row_a_share is not None:
        lines += [
            (
                f"  win rate {pair.win_rate:.1%}  (95% Wilson {pair.interval[0]:.1%} to "
                f"{pair.interval[1]:.1%}), sign test p = {pair.p_value:.3g}"
            ),
            *(f"  {line}" for line in interval_plot(pair.win_rate, pair.interval)),
            f"  upper row chosen {pair.row_a_share:.0%} (p = {pair.row_a_p_value:.2g})",
        ]
    if pair.repeat_agreement is not None:
        kappa = "" if pair.kappa is None else f", Cohen's kappa {pair.kappa:.2f}"
        lines.append(
            f"  {_count(pair.repeats, 'repeat')}: same answer {pair.repeat_agreement:.0%}{kappa}"
        )
    return [*lines, pair.sentence]


def interval_plot(rate: float, interval: tuple[float, float]) -> list[str]:
    """Draw a win rate and its interval on a line from 0 to 100%, with one half marked."""
    last = _PLOT_WIDTH - 1
    cells = ["\N{BOX DRAWINGS LIGHT HORIZONTAL}"] * _PLOT_WIDTH
    cells[last // 2] = "\N{BOX DRAWINGS LIGHT VERTICAL AND HORIZONTAL}"
    low, high = (round(value * last) for value in interval)
    for i in range(low, high + 1):
        cells[i] = "\N{BOX DRAWINGS HEAVY HORIZONTAL}"
    if low <= last // 2 <= high:
        cells[last // 2] = "\N{BOX DRAWINGS HEAVY VERTICAL AND HORIZONTAL}"
    cells[round(rate * last)] = "\N{BLACK CIRCLE}"
    scale = f"{'0%':<{last // 2 - 1}}{'50%':^3}{'100%':>{last // 2 - 1}}"
    return ["".join(cells), scale]


def _count(number: int, noun: str) -> str:
    plural = {"query": "queries"}.get(noun, f"{noun}s")
    return f"{number} {noun if number == 1 else plural}"
