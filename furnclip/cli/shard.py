"""``furnclip shard``: splits and WebDataset shards, and the proof that nothing is lost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import typer.core

from furnclip.cli.common import JsonOption, settings, store
from furnclip.errors import DataError, ExitCode

if TYPE_CHECKING:
    from furnclip.config import Settings
    from furnclip.preparing.sharding import ShardResult
    from furnclip.state import StateStore
    from furnclip.state.cleaning import RunRow

_INPUT, _LIMITS = "Input", "What is rejected"


class _Group(typer.core.TyperGroup):
    """A command with an argument of its own, beside subcommands: `shard CSV`, `shard verify`."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        if args and args[0] in self.commands:
            args = ["", *args]
        else:
            ctx.allow_interspersed_args = True
        return super().parse_args(ctx, args)


app = typer.Typer(
    help="Split the catalogue and write WebDataset shards.",
    cls=_Group,
    invoke_without_command=True,
)
OutOption = Annotated[Path | None, typer.Option("--out", help="Folder of the shards.")]


@app.callback()
def shard(
    ctx: typer.Context,
    csv: Annotated[
        str, typer.Argument(help="The cleaned CSV, or any product CSV.", show_default=False)
    ] = "",
    *,
    images: Annotated[
        Path | None,
        typer.Option(
            readable=False,  # the library says it better
            help="Folder the image paths start in; default: as for `clean`, or the CSV's.",
        ),
    ] = None,
    out: OutOption = None,
    workers: Annotated[int | None, typer.Option(help="Threads; 0: one per core.")] = None,
    mini_fraction: Annotated[
        float | None, typer.Option(help="Part of train written as mini_train.")
    ] = None,
    group_column: Annotated[
        str | None,
        typer.Option(help="Column whose rows stay in one split.", rich_help_panel=_INPUT),
    ] = None,
    title_column: Annotated[
        str | None, typer.Option(help="Column of the titles.", rich_help_panel=_INPUT)
    ] = None,
    image_column: Annotated[
        str | None, typer.Option(help="Column of the image paths.", rich_help_panel=_INPUT)
    ] = None,
    id_column: Annotated[
        str | None, typer.Option(help="Column of the product ids.", rich_help_panel=_INPUT)
    ] = None,
    max_reject_rate: Annotated[
        float | None,
        typer.Option(help="Fail above this part of the rows.", rich_help_panel=_LIMITS),
    ] = None,
    max_pixels: Annotated[
        int | None, typer.Option(help="Reject larger images.", rich_help_panel=_LIMITS)
    ] = None,
    allow_truncated: Annotated[
        bool | None,
        typer.Option("--allow-truncated", help="Accept JPEGs cut short.", rich_help_panel=_LIMITS),
    ] = None,
    strict: Annotated[
        bool | None,
        typer.Option(
            "--strict", help="Reject JPEGs with concealed damage.", rich_help_panel=_LIMITS
        ),
    ] = None,
    retry_rejects: Annotated[
        bool,
        typer.Option("--retry-rejects", help="Read refused images again.", rich_help_panel=_LIMITS),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Split the catalogue and write WebDataset shards; run again, it does only what changed."""
    if ctx.invoked_subcommand is not None:
        return
    from furnclip.console import progress
    from furnclip.preparing.sharding import shard_catalogue
    from furnclip.remote import bring, written_back
    from furnclip.shards import MANIFEST

    typed = {
        "workers": workers,
        "mini_fraction": mini_fraction,
        "group_column": group_column,
        "max_reject_rate": max_reject_rate,
        "max_pixels": max_pixels,
        "allow_truncated": allow_truncated,
        "strict": strict,
    }
    loaded = settings(ctx, prep=typed, paths={"shards_dir": out})
    state = store(loaded)
    home = loaded.paths.state_file.parent
    path = bring(Path(csv) if csv else loaded.paths.cleaned_csv, home)
    if not csv and not path.is_file():
        raise DataError(
            f"no cleaned CSV at {path}",
            hint="`furnclip clean finalize` writes it; or name any product CSV: "
            "furnclip shard products.csv",
        )
    cleaned = _as_cleaned(state, path)
    columns = cleaned or loaded.cleaning
    root = images or (cleaned.image_root if cleaned else _image_root(path, loaded))
    with written_back(loaded.paths.shards_dir, home, last=MANIFEST) as folder:
        result = shard_catalogue(
            path,
            image_root=bring(root, home),
            out=folder,
            settings=loaded.prep,
            state=state,
            title_column=title_column or columns.title_column,
            image_column=image_column or columns.image_column,
            id_column=id_column or columns.id_column,
            retry_rejects=retry_rejects,
            progress=progress(),
        )
    _show(result, as_json=as_json)


@app.command()
def verify(
    ctx: typer.Context,
    *,
    out: OutOption = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Also check that the shards are from this CSV.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Prove that the shards are whole and that every row of the CSV is accounted for."""
    from furnclip.console import print_json, progress, result, say
    from furnclip.preparing.verify import verify_shards
    from furnclip.remote import bring

    loaded = settings(ctx, paths={"shards_dir": out})
    folder = bring(loaded.paths.shards_dir, loaded.paths.state_file.parent)
    report = verify_shards(folder, csv_path=csv, progress=progress())
    if as_json:
        print_json(report)
    else:
        parts = " + ".join(f"{count:,} {name}" for name, count in report.accounting.items())
        result(f"{report.rows:,} rows = {parts.replace('_', ' ')}")
        for problem in report.problems:
            result(f"problem: {problem}")
        if not report.problems:
            say(f"{report.shards} shards are whole, {report.samples:,} samples readable")
    if report.problems:
        raise typer.Exit(ExitCode.DATA)


def _as_cleaned(state: StateStore, csv: Path) -> RunRow | None:
    """Return the cleaning run a CSV came from: it knows the image folder and the columns."""
    from furnclip.state.cleaning import image_root_of, list_runs

    root = image_root_of(state, csv)
    return next((run for run in list_runs(state) if run.image_root == root), None)


def _image_root(csv: Path, loaded: Settings) -> Path:
    return loaded.paths.image_dir if loaded.paths.image_dir.is_dir() else csv.parent


def _show(found: ShardResult, *, as_json: bool) -> None:
    from furnclip.console import next_step, print_json, print_table, result, say, warn

    for warning in found.warnings:
        warn(warning)
    if as_json:
        print_json(found)
        return
    print_table(
        None,
        ("split", "samples", "shards"),
        [(name, f"{count.samples:,}", count.shards) for name, count in found.splits.items()],
        right=(1, 2),
    )
    result(f"{found.rows:,} rows{_left_out(found)}")
    if found.twins:
        kinds = ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in found.twins.items())
        say(f"pictures shared by rows: {kinds}; see {found.out / 'duplicates.csv'}")
    if found.recovered:
        say(f"{found.recovered} images have concealed damage; --strict rejects them")
    if found.long_captions:
        say(f"{found.long_captions} captions exceed CLIP's 77 tokens and will be cut")
    if found.unchanged:
        say(f"nothing changed: {found.out} is up to date")
    else:
        say(
            f"{found.decoded:,} images read, {found.written_shards} shards written "
            f"in {found.seconds:.1f} s: {found.out}"
        )
    next_step("furnclip train")


def _left_out(found: ShardResult) -> str:
    parts = [f"{count:,} rejected ({reason})" for reason, count in found.rejected.items()]
    parts += [f"{found.duplicates:,} duplicates"] if found.duplicates else []
    parts += [f"{count:,} not clean ({status})" for status, count in found.not_clean.items()]
    return f"; left out: {', '.join(parts)}" if parts else ""
