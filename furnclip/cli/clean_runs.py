"""``furnclip clean cancel``, ``retry``, ``list``, ``inspect``: looking after runs and batches."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from furnclip.cli.clean import PREPARE, RunArgument, cleaner_of
from furnclip.cli.common import JsonOption


def cancel(
    ctx: typer.Context,
    batch: Annotated[str, typer.Argument(help="Batch id, or the end of it.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Stop a batch; what it finished is kept."""
    from furnclip.console import next_step, print_json, result

    remote = cleaner_of(ctx).cancel(batch)
    if as_json:
        print_json({"id": remote.batch_id, "status": remote.status})
        return
    result(f"{remote.batch_id}: {remote.status}")
    next_step("furnclip clean finalize --allow-partial, or furnclip clean wait to send the rest")


def retry(ctx: typer.Context, run: RunArgument = None, *, as_json: JsonOption = False) -> None:
    """Give failed rows new attempts."""
    from furnclip.console import next_step, print_json, result

    cleaner = cleaner_of(ctx)
    chosen = cleaner.run(run)
    requeued = cleaner.retry(chosen)
    if as_json:
        print_json({"run": chosen.run, "requeued": requeued})
        return
    result(f"{requeued:,} failed requests will be asked again" if requeued else "no failed rows")
    if requeued:
        next_step("furnclip clean upload")


def list_(ctx: typer.Context, *, as_json: JsonOption = False) -> None:
    """List the prepared runs."""
    from furnclip.console import next_step, print_json, print_table, say

    runs = cleaner_of(ctx).runs()
    if as_json:
        print_json({"runs": [{**vars(run), "counts": counts} for run, counts in runs]})
    elif runs:
        columns = ("run", "prepared", "csv", "backend", "rows", "ok", "failed", "no photo",
                   "pending")  # fmt: skip
        rows = [
            (r.run, f"{r.prepared_at:%Y-%m-%d %H:%M}", r.csv.name, r.backend, c.rows,
             c.answered, c.failed, c.image_errors, c.pending)
            for r, c in runs
        ]  # fmt: skip
        print_table(None, columns, rows, right=range(4, 9))
    else:
        say("Nothing is prepared yet.")
        next_step(PREPARE)


def inspect(
    ctx: typer.Context,
    run: RunArgument = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file.")] = Path(
        "inspect.html"
    ),
    limit: Annotated[int, typer.Option(min=1, help="At most so many rows.")] = 2000,
    *,
    as_json: JsonOption = False,
) -> None:
    """Write one HTML page: photo, raw title and cleaned fields of every row."""
    from furnclip.cleaning.inspect_page import write_page
    from furnclip.console import print_json, progress, result

    cleaner = cleaner_of(ctx)
    shown = write_page(cleaner.store, cleaner.run(run), output, limit=limit, progress=progress())
    if as_json:
        print_json({"output": output, "rows": shown})
    else:
        result(f"{output}: {shown:,} rows")
