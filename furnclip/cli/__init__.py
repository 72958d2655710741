"""The command line: parse, call one library function, render. One file per command group."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="furnclip",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_START, _DATA, _MODEL, _USE = "Start here", "Data", "Model", "Use"


def _register() -> None:
    for module, attribute, name, panel in (
        ("project", "init", "init", _START),
        ("project", "doctor", "doctor", _START),
        ("demo", "demo", "demo", _START),
        ("clean", "app", "clean", _DATA),
        ("shard", "app", "shard", _DATA),
        ("train", "train", "train", _MODEL),
        ("train", "runs", "runs", _MODEL),
        ("embed", "embed", "embed", _MODEL),
        ("evaluate", "evaluate", "eval", _MODEL),
        ("search", "search", "search", _USE),
        ("arena", "app", "arena", _USE),
    ):
        try:
            found = getattr(importlib.import_module(f"furnclip.cli.{module}"), attribute)
        except ModuleNotFoundError as error:
            if error.name and error.name.startswith("furnclip.cli."):
                continue
            raise
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name, rich_help_panel=panel)
        else:
            app.command(name, rich_help_panel=panel)(found)


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


_register()
