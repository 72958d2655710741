"""How ``furnclip clean`` shows plans, batches and counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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


_COLUMNS = ("batch", "status", "done", "failed", "total", "rate", "left", "est.", "cost")


def _rows(batches: Sequence[BatchRow]) -> list[tuple[str, ...]]:
    return [
        (b.batch_id, b.status, f"{b.completed:,}", f"{b.failed:,}", f"{b.total:,}", *_speed(b),
         usd(b.est_usd), usd(b.usd) if b.harvested else "")
        for b in batches
    ]  # fmt: skip


def _speed(batch: BatchRow) -> tuple[str, str]:
    """Return rate and time left since submission, empty for a finished or idle batch."""
    from datetime import UTC, datetime, timedelta

    seconds = (datetime.now(UTC) - batch.submitted_at).total_seconds()
    done = batch.completed + batch.failed
    if batch.harvested or not done or seconds <= 0:
        return "", ""
    rate = done / seconds
    left = timedelta(seconds=round((batch.total - done) / rate))
    return f"{rate * 60:,.1f}/min", str(left)


def print_batches(batches: Sequence[BatchRow]) -> None:
    """Print the batches as a table, nothing when there are none."""
    from furnclip.console import print_table

    if batches:
        print_table(None, _COLUMNS, _rows(batches), right=range(2, 9))


def watch_batches(cleaner: Cleaner, batch: str | None, interval: float, *, ask: bool) -> None:
    """Redraw the table until every batch is finished."""
    import time

    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from furnclip.cleaning.backends import TERMINAL
    from furnclip.console import out, table
    from furnclip.errors import Interrupted

    ended = TERMINAL | {"orphaned"}
    try:
        with Live(console=out(), auto_refresh=False) as live:
            while True:
                result = cleaner.status(batch, ask=ask)
                note = f"showing what is stored: {result.stale}" if result.stale else ""
                drawn = table(None, _COLUMNS, _rows(result.batches), right=range(2, 9))
                live.update(Group(drawn, Text(note)), refresh=True)
                if all(b.harvested or b.status in ended for b in result.batches):
                    return
                time.sleep(interval)
    except KeyboardInterrupt:
        raise Interrupted(
            "stopped watching; the batches go on", hint="look again with: furnclip clean status"
        ) from None


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
