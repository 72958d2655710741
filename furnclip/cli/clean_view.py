"""How ``furnclip clean`` shows plans, batches and counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.table import Table

    from furnclip.cleaning.prepare import PrepareResult
    from furnclip.cleaning.service import Cleaner
    from furnclip.state.cleaning import RunCounts
    from furnclip.state.cleaning_parts import BatchRow


def print_plan(result: PrepareResult) -> None:
    """Print what was prepared on stdout, and why rows were rejected on stderr."""
    from furnclip.console import print_table, warn

    rows = [
        ("rows", f"{result.rows:,}"),
        ("requests to send", f"{result.requests:,}"),
        ("rows that share a request", f"{result.deduplicated:,}"),
        ("requests asked before", f"{result.known:,}"),
        ("rows without a usable photo", f"{result.rejected:,}"),
        ("request files", f"{result.parts:,}"),
        ("prompt tokens, estimated", f"{result.est_tokens:,}"),
        ("answer tokens, estimated", f"{result.est_output_tokens:,}"),
        ("cost, estimated", usd(result.est_usd)),
    ]
    columns = (f"run {result.run or '(dry)'}", f"{result.backend}, {result.model}")
    print_table(None, columns, rows, right=(1,))
    for number, reason in result.rejections[:10]:
        warn(f"row {number}: {reason}")
    if len(result.rejections) > 10:
        warn(f"and {len(result.rejections) - 10:,} more; the cleaned CSV names them all")


_COLUMNS = ("batch", "status", "progress", "done", "failed", "total", "left", "ends", "est.",
            "cost", "rate")  # fmt: skip
_ON_NARROW_SCREENS = (10, 7, 4)  # columns from the left; the line below adds the costs up
_ENDED = frozenset({"completed", "failed", "expired", "cancelled", "orphaned"})
_BAR = 10
_LONGEST = 99 * 86_400


def print_batches(batches: Sequence[BatchRow]) -> None:
    """Print the batches and what they add up to, nothing when there are none."""
    from furnclip.console import out

    if batches:
        out().print(board(batches))


def board(
    batches: Sequence[BatchRow], *, counts: RunCounts | None = None, note: str = ""
) -> RenderableType:
    """Return the batches with what they add up to, to be drawn again and again."""
    from rich.console import Group
    from rich.text import Text

    lines = [_total(batches)]
    if counts is not None:
        lines.append(counts_line(counts))
    return Group(_BatchTable(batches), *(Text(line) for line in (*lines, note) if line))


def watch_batches(cleaner: Cleaner, batch: str | None, interval: float, *, ask: bool) -> None:
    """Redraw the table until every batch is finished."""
    import time

    from furnclip.console import live, out
    from furnclip.errors import Interrupted

    try:
        with live(out(), keep=True) as show:
            while True:
                result = cleaner.status(batch, ask=ask)
                note = f"showing what is stored: {result.stale}" if result.stale else ""
                show(board(result.batches, note=note))
                if all(b.harvested or b.status in _ENDED for b in result.batches):
                    return
                time.sleep(interval)
    except KeyboardInterrupt:
        raise Interrupted(
            "stopped watching; the batches go on", hint="look again with: furnclip clean status"
        ) from None


class _BatchTable:
    """The batches in the widest form that fits: whole ids, their ends, then fewer columns."""

    def __init__(self, batches: Sequence[BatchRow]) -> None:
        from furnclip.cleaning.batch_names import shortened

        self.whole = [_row(batch) for batch in batches]
        ends = shortened([batch.batch_id for batch in batches])
        self.short = [(end, *row[1:]) for end, row in zip(ends, self.whole, strict=True)]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for made in self._tables():
            if made.__rich_measure__(console, options.update(max_width=1_000)).maximum <= (
                options.max_width
            ):
                yield made
                return
        yield self._table(self.short, _ON_NARROW_SCREENS[-1], no_wrap=False)

    def _tables(self) -> Iterator[Table]:
        yield self._table(self.whole, len(_COLUMNS))
        for count in (len(_COLUMNS), *_ON_NARROW_SCREENS):
            yield self._table(self.short, count)

    def _table(self, rows: list[tuple[str, ...]], count: int, *, no_wrap: bool = True) -> Table:
        from furnclip.console import table

        cut = [row[:count] for row in rows]
        return table(None, _COLUMNS[:count], cut, right=range(3, count), no_wrap=no_wrap)


def _row(batch: BatchRow) -> tuple[str, ...]:
    filled = _BAR * _done(batch) // batch.total if batch.total else 0
    left, ends, rate = _speed(batch)
    return (
        batch.batch_id, batch.status, "█" * filled + "░" * (_BAR - filled),
        f"{batch.completed:,}", f"{batch.failed:,}", f"{batch.total:,}", left, ends,
        usd(batch.est_usd), usd(batch.usd) if batch.harvested else "", rate,
    )  # fmt: skip


def _done(batch: BatchRow) -> int:
    """Return the requests that are over; a server's counts may add up to more than it was asked."""
    return min(batch.completed + batch.failed, batch.total)


def _speed(batch: BatchRow) -> tuple[str, str, str]:
    """Return time left, the end in local time and the rate; empty for a finished or idle batch."""
    from datetime import UTC, datetime, timedelta

    now = datetime.now(UTC)
    seconds = (now - batch.submitted_at).total_seconds()
    done = _done(batch)
    if batch.harvested or batch.status in _ENDED or not done or seconds <= 0:
        return "", "", ""
    rate = done / seconds
    left = timedelta(seconds=min(round((batch.total - done) / rate), _LONGEST))
    return str(left), f"{(now + left).astimezone():%a %H:%M}", f"{rate * 60:,.1f}/min"


def _total(batches: Sequence[BatchRow]) -> str:
    """Return what several batches add up to: answers, and dollars estimated and spent so far."""
    if not batches:
        return ""
    done, total = sum(map(_done, batches)), sum(b.total for b in batches)
    known = [b.est_usd for b in batches if b.est_usd is not None]
    estimated = sum(known) if len(known) == len(batches) else None
    cost = sum(b.usd or 0.0 for b in batches if b.harvested)
    return (
        f"{done:,} of {total:,} answers from {len(batches):,} batches; estimated "
        f"{usd(estimated)}, cost of what is fetched {usd(cost)}"
    )


def batch_json(batch: BatchRow) -> dict[str, Any]:
    """Return a batch as ``--json`` shows it."""
    return {
        "id": batch.batch_id,
        "status": batch.status,
        "done": batch.completed,
        "failed": batch.failed,
        "total": batch.total,
        "est_usd": batch.est_usd,
        "cost": batch.usd,
        "run": batch.run,
        "part": batch.part,
        "harvested": batch.harvested,
        "submitted_at": batch.submitted_at,
    }


def counts_line(counts: RunCounts) -> str:
    """Return what became of the rows, in one line."""
    return (
        f"{counts.answered:,} of {counts.rows:,} rows cleaned, {counts.failed:,} failed, "
        f"{counts.image_errors:,} without a usable photo, {counts.pending:,} pending"
    )


def usd(amount: float | None) -> str:
    """Return an amount for people: cents, or more digits for less than ten of them."""
    if amount is None:
        return "unknown"
    return f"${amount:,.2f}" if amount >= 0.1 or amount == 0 else f"${amount:.4f}"
