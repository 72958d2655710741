"""``furnclip clean``: raw titles and photos to clean product fields."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from furnclip.cli.clean_view import (
    batch_json,
    board,
    counts_line,
    print_batches,
    print_plan,
    usd,
    watch_batches,
)
from furnclip.cli.common import JsonOption, settings, store
from furnclip.errors import DataError, ExitCode, UsageError

if TYPE_CHECKING:
    from furnclip.cleaning.poll import WaitResult
    from furnclip.cleaning.prepare import PrepareResult
    from furnclip.cleaning.service import Cleaner
    from furnclip.state.cleaning import RunRow

PREPARE = "furnclip clean prepare CSV --images DIR"

app = typer.Typer(
    no_args_is_help=True, help="Clean a raw catalogue: titles and photos to product fields."
)

RunArgument = Annotated[
    str | None, typer.Argument(help="Run, or the beginning of its id; default: the last prepared.")
]
MaxUsdOption = Annotated[
    float | None,
    typer.Option("--max-usd", help="Refuse to submit when the run would cost more."),
]
BaseUrlOption = Annotated[
    str | None, typer.Option("--base-url", help="API root of the server, with /v1.")
]


def cleaner_of(ctx: typer.Context, **typed: object) -> Cleaner:
    """Return a cleaner under the settings; ``typed`` are the options of section cleaning."""
    from furnclip.cleaning.service import Cleaner

    loaded = settings(ctx, cleaning=typed)
    key = loaded.openai_api_key
    return Cleaner(
        store(loaded),
        loaded.cleaning,
        loaded.paths.batches_dir,
        key.get_secret_value() if key else None,
    )


@app.command()
def prepare(
    ctx: typer.Context,
    csv: Annotated[Path, typer.Argument(readable=False, help="Raw product table (CSV, UTF-8).")],
    *,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            readable=False,  # the library says it better
            help="Root of the image paths; default: paths.image_dir, else the CSV's folder.",
        ),
    ] = None,
    title_column: Annotated[str | None, typer.Option(help="Column of the raw titles.")] = None,
    image_column: Annotated[str | None, typer.Option(help="Column of the image paths.")] = None,
    id_column: Annotated[str | None, typer.Option(help="Column of the product ids.")] = None,
    model: Annotated[str | None, typer.Option(help="Vision model to ask.")] = None,
    backend: Annotated[
        str | None,
        typer.Option(help="openai (Batch API), endpoint (a chat server) or rules (offline)."),
    ] = None,
    base_url: BaseUrlOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first rows.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count and price; write nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Turn a CSV and its photos into request files; print rows, tokens and cost."""
    from furnclip.console import next_step, print_json, progress, warn

    loaded = settings(ctx)
    cleaner = cleaner_of(
        ctx, title_column=title_column, image_column=image_column, id_column=id_column,
        model=model, backend=backend, base_url=base_url,
    )  # fmt: skip
    root = images or (
        loaded.paths.image_dir if loaded.paths.image_dir.is_dir() else csv.absolute().parent
    )
    result = cleaner.prepare(csv, root, limit=limit, dry_run=dry_run, progress=progress())
    for warning in result.warnings:
        warn(warning)
    if as_json:
        print_json(result)
        return
    print_plan(result)
    next_step(_after_prepare(cleaner, result))


@app.command()
def upload(
    ctx: typer.Context,
    run: RunArgument = None,
    max_usd: MaxUsdOption = None,
    base_url: BaseUrlOption = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before spending.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Submit the request files; the offline rules and local servers answer at once."""
    from furnclip.console import next_step, print_json, progress, say

    cleaner = cleaner_of(ctx, max_usd=max_usd, base_url=base_url)
    chosen = cleaner.run(run)
    if not yes:
        _confirm(cleaner.estimate(chosen))
    result = cleaner.upload(chosen, progress=progress())
    if as_json:
        print_json({"run": result.run, "batches": [batch_json(b) for b in result.batches]})
        return
    if not result.submitted:
        say("Nothing new to submit.")
    print_batches(result.batches)
    if result.waiting:
        say(f"{result.waiting} parts wait for room in the provider's queue.")
    next_step("furnclip clean wait" if result.counts.pending else "furnclip clean finalize")


@app.command()
def status(
    ctx: typer.Context,
    batch: Annotated[
        str | None,
        typer.Argument(help="Batch id or its end, or a run for its batches; default: all."),
    ] = None,
    interval: Annotated[
        float, typer.Option(min=1.0, help="Seconds between two looks with --watch.")
    ] = 10.0,
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep it up to date.")] = False,
    refresh: Annotated[
        bool, typer.Option("--refresh/--no-refresh", help="Ask the server, or only the state file.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Show one batch or all; works while other commands run."""
    from furnclip.console import next_step, print_json, say, warn

    cleaner = cleaner_of(ctx)
    if watch and as_json:
        raise UsageError("--watch draws, --json prints once", hint="leave one of them out")
    if watch:
        watch_batches(cleaner, batch, interval, ask=refresh)
        return
    result = cleaner.status(batch, ask=refresh)
    if result.stale:
        warn(f"showing what is stored: {result.stale}")
    if as_json:
        print_json({"batches": [batch_json(b) for b in result.batches]})
    elif result.batches:
        print_batches(result.batches)
    else:
        say("No batches yet.")
        next_step("furnclip clean upload" if cleaner.runs() else PREPARE)


@app.command()
def wait(
    ctx: typer.Context,
    run: RunArgument = None,
    poll: Annotated[
        float | None, typer.Option("--poll", min=0.01, help="Seconds between two polls.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", help="Give up waiting after so many seconds.")
    ] = None,
    *,
    max_usd: MaxUsdOption = None,
    base_url: BaseUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Wait until every row is answered: fetch results, send again what is left."""
    from furnclip.console import next_step, print_json, progress, say

    cleaner = cleaner_of(ctx, poll_seconds=poll, max_usd=max_usd, base_url=base_url)
    chosen = cleaner.run(run)
    if not cleaner.is_uploaded(chosen):
        raise DataError(
            f"nothing of run {chosen.run} is uploaded yet", hint="start with: furnclip clean upload"
        )
    with _looking(chosen) as look:
        result = cleaner.wait(chosen, timeout=timeout, progress=progress(), look=look)
    if as_json:
        batches = [batch_json(b) for b in result.batches]
        print_json({"run": result.run, "finished": result.finished, "batches": batches})
    else:
        print_batches(result.batches)
        say(counts_line(result.counts))
    if not result.finished:
        say("Not finished.")
        lost = any(b.status == "orphaned" for b in result.batches)
        next_step("furnclip clean retry asks lost rows again" if lost else "furnclip clean wait")
        raise typer.Exit(ExitCode.ERROR)
    next_step("furnclip clean finalize")


@app.command()
def finalize(
    ctx: typer.Context,
    run: RunArgument = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Cleaned CSV; default: paths.cleaned_csv.")
    ] = None,
    from_file: Annotated[
        Path | None, typer.Option("--from", help="Also take this batch output file's answers.")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option("--truth", help="Answer key (CSV): print the accuracy.")
    ] = None,
    *,
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Write the file with rows still pending.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Merge the answers into the cleaned CSV, in input order, with a status for every row."""
    from furnclip.catalogue import read_header
    from furnclip.cleaning.accuracy import measure_csv
    from furnclip.console import next_step, print_json, result

    cleaner = cleaner_of(ctx)
    chosen = cleaner.run(run)
    if truth is not None:
        read_header(truth)
    if from_file is not None:
        cleaner.import_output(chosen, from_file)
    done = cleaner.finalize(
        chosen, output or settings(ctx).paths.cleaned_csv, allow_partial=allow_partial
    )
    accuracy = measure_csv(done.output, truth) if truth is not None else []
    if as_json:
        print_json(vars(done) | {"accuracy": {a.field: a.accuracy for a in accuracy}})
        return
    result(
        f"{done.output}: {done.cleaned:,} cleaned, {done.failed:,} failed, "
        f"{done.image_errors:,} without a usable photo, {done.pending:,} pending; "
        f"cost {usd(done.cost)}"
    )
    for field in accuracy:
        result(
            f"accuracy of {field.field}: {field.accuracy:.3f} "
            f"({field.correct} of {field.total}; {field.answered} answered)"
        )
    next_step("furnclip shard")


@contextmanager
def _looking(run: RunRow) -> Iterator[Callable[[WaitResult], None]]:
    """Draw the batches after each poll; the local backends have a progress bar of their own."""
    from furnclip.console import err, live, watched

    if run.backend != "openai" or not watched():
        yield lambda _: None
        return
    with live(err(), keep=False) as show:
        yield lambda result: show(board(result.batches, counts=result.counts))


def _confirm(estimate: float | None) -> None:
    """Ask before spending, when somebody is there to answer."""
    import sys

    if estimate == 0 or not sys.stdin.isatty():
        return
    cost = "at an unknown price" if estimate is None else f"for about ${estimate:.2f}"
    typer.confirm(f"Submit {cost}?", abort=True, err=True)


def _after_prepare(cleaner: Cleaner, result: PrepareResult) -> str:
    if result.rejected == result.rows:
        return "no photo could be used: check --images and --image-column, and prepare again"
    if result.run is None:
        return "the same command without --dry-run"
    pending = cleaner.counts(cleaner.run(result.run)).pending
    return "furnclip clean upload" if pending else "furnclip clean finalize"
