"""``furnclip arena``: the app, and its statistics and votes without it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from furnclip.cli.common import JsonOption, settings, store

app = typer.Typer(help="Judge two models blind, in the terminal.", invoke_without_command=True)


@app.callback()
def arena(
    ctx: typer.Context,
    *,
    baseline: Annotated[
        str, typer.Option("--baseline", help="Label of the model compared against.")
    ] = "base",
    challenger: Annotated[
        list[str] | None,
        typer.Option("--challenger", help="Label of a model to judge; repeatable. [tuned]"),
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option("--queries", help="Text queries, one a line; default: photos, test split."),
    ] = None,
    k: Annotated[int | None, typer.Option("-k", min=1, max=12, help="Thumbnails a row.")] = None,
    graphics: Annotated[
        str | None, typer.Option("--graphics", help="auto, kitty, sixel, cells or text.")
    ] = None,
    user: Annotated[
        str | None, typer.Option("--user", help="Stored with each vote; default: login name.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Order and sides; default: drawn anew.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Judge two models blind, in the terminal: a or b, t for a tie, q for the statistics."""
    if ctx.invoked_subcommand is not None:
        return
    chosen = settings(ctx, arena={"k": k, "graphics": graphics, "user": user})
    from furnclip.arena.launch import play
    from furnclip.console import print_json, result, say

    options = {
        "baseline": baseline,
        "challengers": tuple(challenger or ("tuned",)),
        "queries_file": queries,
        "seed": seed,
    }
    played = play(chosen, options, announce=say)
    if as_json:
        print_json(played.statistics)
    else:
        result(played.report)


@app.command()
def stats(ctx: typer.Context, *, as_json: JsonOption = False) -> None:
    """Print what all votes of this project say."""
    from furnclip.arena.grading import ArenaGrader
    from furnclip.arena.report import report
    from furnclip.console import print_json, result

    statistics = ArenaGrader(store(settings(ctx))).compute_statistics()
    if as_json:
        print_json(statistics)
    else:
        result(report(statistics))


@app.command()
def export(
    ctx: typer.Context,
    path: Annotated[Path, typer.Argument(help="The CSV to write.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Write every standing vote to a CSV, one row each."""
    from furnclip.arena.export import write_votes
    from furnclip.arena.grading import ArenaGrader
    from furnclip.console import print_json, result

    rows = write_votes(path, ArenaGrader(store(settings(ctx))).votes())
    if as_json:
        print_json({"path": path, "votes": rows})
    else:
        result(f"{rows} votes in {path}")
