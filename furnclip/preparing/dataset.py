"""Shards from a table in memory, and a small training set from the shards of a large one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from furnclip.catalogue import Row, require_column
from furnclip.catalogue import id_column as choose_id_column
from furnclip.config import PrepConfig, PrepSettings
from furnclip.errors import DataError, UsageError
from furnclip.files import atomic_path
from furnclip.image_paths import require_image_root
from furnclip.images import quiet_decoders
from furnclip.preparing.captions import Template
from furnclip.preparing.output import (
    ShardWriter,
    exclusive,
    remove_stale,
    write_json,
    write_lists,
    write_sizes,
)
from furnclip.preparing.pictures import WORK, PictureStore, Recipe, stamps
from furnclip.preparing.plan import Plan, PlannedShard, drop_unusable, shard_capacity
from furnclip.preparing.rows import Catalogue, Columns, read_catalogue
from furnclip.preparing.splits import MINI
from furnclip.preparing.workers import make_pictures
from furnclip.progress import SILENT, Progress
from furnclip.shards import MANIFEST, index_shard, list_shards, read_manifest

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class DatasetResult:
    """The shards ``write_dataset`` wrote; rows = samples + rejected + duplicates + not_clean."""

    shards: list[Path]
    rows: int
    samples: int
    rejected: int
    duplicates: int
    not_clean: int


def write_dataset(
    df: pd.DataFrame,
    output_folder: str | Path,
    image_root_dir: str | Path,
    config: Any = PrepConfig,
    *,
    title_column: str = "name",
    image_column: str = "local_path",
    id_column: str | None = None,
    progress: Progress = SILENT,
) -> DatasetResult:
    """Write every usable row of ``df`` as one dataset of shards, ``<folder>-000000.tar`` on.

    ``config`` is ``PrepConfig`` (or a subclass that overrides its names) or a ``PrepSettings``.
    Rows that cannot be used are in ``rejects.csv`` beside the shards. No split is drawn:
    ``shard_catalogue`` does that. Raises ``DataError`` for missing columns or a missing folder,
    and when no row can be used.
    """
    settings = settings_of(config)
    out, root = Path(output_folder), Path(image_root_dir)
    templates = [Template.parse(text) for text in settings.captions]
    header = [str(name) for name in df.columns]
    table = Path("the table")
    if settings.group_column is not None:
        require_column(table, header, settings.group_column, option="group_column")
    columns = Columns(
        require_column(table, header, title_column, option="title_column"),
        require_column(table, header, image_column, option="image_column"),
        choose_id_column(header, id_column, path=table),
        settings.group_column,
    )
    require_image_root(root, option="image_root_dir")
    catalogue = read_catalogue(_rows(df), columns)
    with exclusive(out), quiet_decoders():
        return _write(
            catalogue, out, root=root, settings=settings, templates=templates, progress=progress
        )


def create_mini_train(
    train_folder: str | Path, mini_folder: str | Path, num_shards: int = 5
) -> list[Path]:
    """Copy the first ``num_shards`` training shards (or all there are) as a dataset of their own.

    Returns the copies. The manifest one folder up, when there is one, is brought up to date.
    Raises ``DataError`` when there are no training shards, ``UsageError`` for a wrong number or
    for a mini folder that is the training folder.
    """
    train, mini = Path(train_folder), Path(mini_folder)
    if num_shards < 1:
        raise UsageError(f"num_shards is {num_shards}", hint="take one shard or more")
    if train.resolve() == mini.resolve():
        raise UsageError(f"{mini} is the training folder", hint="name another folder")
    copies, sizes = [], {}
    with exclusive(mini):
        for number, shard in enumerate(list_shards(train)[:num_shards]):
            copy = mini / f"{mini.name}-{number:06d}.tar"
            with atomic_path(copy) as temporary:
                shutil.copyfile(shard, temporary)
            copies.append(copy)
            sizes[copy.name] = len(index_shard(copy))
        remove_stale(mini, set(sizes))
        write_sizes(mini, sizes)
    _update_manifest(train, mini, copies, sizes)
    return copies


def settings_of(config: Any) -> PrepSettings:
    """Return the settings of ``PrepConfig``, of an object with its upper-case names, or as is."""
    if isinstance(config, PrepSettings):
        return config
    names = {name: name.upper() for name in PrepSettings.model_fields}
    values = {
        name: getattr(config, upper) for name, upper in names.items() if hasattr(config, upper)
    }
    return PrepSettings(**values)


def _rows(df: pd.DataFrame) -> Iterator[Row]:
    text = df.astype(object).where(df.notna(), "").astype(str)
    names = [str(name) for name in text.columns]
    for number, values in enumerate(text.itertuples(index=False, name=None), start=1):
        yield Row(number, dict(zip(names, values, strict=True)))


def _write(
    catalogue: Catalogue,
    out: Path,
    *,
    root: Path,
    settings: PrepSettings,
    templates: list[Template],
    progress: Progress,
) -> DatasetResult:
    recipe = Recipe.of(settings)
    stamped = stamps(root, [sample.source for sample in catalogue.samples])
    store = PictureStore(out, {})
    store.recover(recipe.name)
    todo = [
        (source, found) for source, found in stamped.items()
        if source not in store.known
        or found != (store.known[source].file_size, store.known[source].mtime_ns)
    ]  # fmt: skip
    with progress.task("Images", total=len(todo), unit="images") as task:
        make_pictures(
            store, todo, root=root, recipe=recipe, workers=settings.workers, advance=task.advance
        )
    plan = Plan()
    usable = {sample.key for sample in drop_unusable(catalogue.samples, store.known, plan)}
    size = shard_capacity(settings)
    plan.groups = {sample.group: out.name for sample in catalogue.samples}
    for number, start in enumerate(range(0, len(catalogue.samples), size)):
        chosen = [s for s in catalogue.samples[start : start + size] if s.key in usable]
        if chosen:
            plan.shards.append(PlannedShard(f"{out.name}-{number:06d}.tar", out.name, chosen))
    rejects = [*catalogue.rejects, *plan.rejects]
    repeated = [*catalogue.repeated, *plan.repeated]
    write_lists(out, [*rejects, *repeated], plan.twins, plan.groups)
    if not plan.shards:
        raise DataError("no row of the table can be used", hint=f"see {out / 'rejects.csv'}")
    writer = ShardWriter(out, root, settings, templates, store)
    with progress.task("Shards", total=len(usable), unit="samples") as task:
        written = writer.write(plan.shards, {}, task.advance)
    sizes = {name: record.samples for name, record in written.shards.items()}
    remove_stale(out, set(sizes))
    write_sizes(out, sizes)
    shutil.rmtree(out / WORK, ignore_errors=True)
    return DatasetResult(
        [out / name for name in sizes],
        catalogue.rows,
        len(usable),
        len(rejects),
        len(repeated),
        sum(catalogue.not_clean.values()),
    )


def _update_manifest(train: Path, mini: Path, copies: list[Path], sizes: dict[str, int]) -> None:
    """Let the manifest say that ``mini_train`` now consists of copies of training shards."""
    home = mini.resolve().parent
    if mini.name != MINI or home != train.resolve().parent or not (home / MANIFEST).is_file():
        return
    manifest = read_manifest(home)
    entries = {entry["name"]: entry for entry in manifest["shards"]}
    sources = list_shards(train)
    manifest["shards"] = [e for e in manifest["shards"] if e["split"] != MINI] + [
        {**entries[f"{train.name}/{source.name}"], "name": f"{MINI}/{copy.name}", "split": MINI}
        for source, copy in zip(sources, copies, strict=False)
    ]
    manifest["shards"].sort(key=lambda entry: str(entry["name"]))
    manifest["splits"][MINI] = {"samples": sum(sizes.values()), "shards": len(sizes)}
    write_json(home / MANIFEST, manifest)
