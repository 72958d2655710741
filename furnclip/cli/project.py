"""``furnclip init`` and ``furnclip doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from furnclip.cli.common import JsonOption, settings
from furnclip.errors import ExitCode


def init(
    ctx: typer.Context,
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file; the old one is kept as .bak.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a commented furnclip.toml in this folder."""
    from furnclip.config import CONFIG_FILE, write_example
    from furnclip.console import next_step, print_json, result

    path = write_example(ctx.find_root().obj or Path(CONFIG_FILE), force=force)
    if as_json:
        print_json({"path": path})
        return
    result(f"wrote {path}")
    next_step("furnclip doctor, then furnclip clean prepare products.csv --images DIR")


def doctor(ctx: typer.Context, *, as_json: JsonOption = False) -> None:
    """Check this machine: Python, torch, memory, disk, state, key, model, terminal."""
    from furnclip.console import print_json, print_table
    from furnclip.doctor import run_checks

    checks = run_checks(settings(ctx))
    if as_json:
        print_json({"checks": checks})
    else:
        marks = {"ok": "✓", "warning": "!", "error": "✗"}
        print_table(
            None,
            ("", "check", "finding", "how to mend it"),
            [(marks[check.status], check.name, check.finding, check.mend) for check in checks],
        )
    if any(check.status == "error" for check in checks):
        raise typer.Exit(ExitCode.ERROR)
