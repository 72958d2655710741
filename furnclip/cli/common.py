"""What every command shares: settings from options, the state file, the --json option."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from furnclip.config import Settings
    from furnclip.state import StateStore

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]


def settings(ctx: typer.Context, **sections: Mapping[str, object]) -> Settings:
    """Load the settings; ``sections`` hold the options of this command, None for not typed."""
    from furnclip.config import load_settings

    config: Path | None = ctx.find_root().obj
    typed = {
        section: {name: value for name, value in values.items() if value is not None}
        for section, values in sections.items()
    }
    return load_settings(config, overrides={k: v for k, v in typed.items() if v})


def store(loaded: Settings) -> StateStore:
    """Return the state file of the settings."""
    from furnclip.state import StateStore

    return StateStore(loaded.paths.state_file)
