"""The command line: parse, call one library function, render. One file per command group."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from furnclip.cli import (
    arena,
    clean,
    clean_runs,
    demo,
    embed,
    evaluate,
    project,
    search,
    shard,
    train,
)

_ORDER = (
    *("init", "doctor", "demo", "clean", "shard"),
    *("train", "runs", "embed", "eval", "search", "arena"),
)


class _InOrderOfUse(TyperGroup):
    """Lists the commands as the data flows; typer would put the groups last."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=_ORDER.index)


app = typer.Typer(
    cls=_InOrderOfUse,
    name="furnclip",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_START, _DATA, _MODEL, _USE = "Start here", "Data", "Model", "Use"

app.command("init", rich_help_panel=_START)(project.init)
app.command("doctor", rich_help_panel=_START)(project.doctor)
app.command("demo", rich_help_panel=_START)(demo.demo)
for _command in (clean_runs.cancel, clean_runs.retry, clean_runs.inspect):
    clean.app.command()(_command)
clean.app.command("list")(clean_runs.list_)
app.add_typer(clean.app, name="clean", rich_help_panel=_DATA)
app.add_typer(shard.app, name="shard", rich_help_panel=_DATA)
app.command("train", rich_help_panel=_MODEL)(train.train)
app.command("runs", rich_help_panel=_MODEL)(train.runs)
app.command("embed", rich_help_panel=_MODEL)(embed.embed)
app.command("eval", rich_help_panel=_MODEL)(evaluate.evaluate)
app.command("search", rich_help_panel=_USE)(search.search)
app.add_typer(arena.app, name="arena", rich_help_panel=_USE)


def _version(*, value: bool) -> None:
    if value:
        from furnclip import __version__

        typer.echo(f"furnclip {__version__}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="Settings file; default: ./furnclip.toml when there is one."),
    ] = None,
    *,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Only results, warnings and errors.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also what the library does.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """Search that understands a furniture catalogue: clean, shard, train, embed, search, judge."""
    from furnclip.console import set_verbosity

    ctx.obj = config
    set_verbosity(quiet=quiet, verbose=verbose)
