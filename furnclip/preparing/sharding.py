"""Shards: a cleaned catalogue and its images in, WebDataset tars of every split out.

Three passes. Every image file is read once, by threads, into a work folder. Splits and shards are
planned from hashes and row order. Shards whose content changed are written by copying bytes.
The result depends on the input alone: not on the number of workers, nor on what was interrupted.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from furnclip.config import PrepSettings
from furnclip.errors import DataError
from furnclip.image_paths import require_image_root
from furnclip.images import quiet_decoders
from furnclip.preparing.captions import Template, captions_of, is_long
from furnclip.preparing.dataset import create_mini_train, write_dataset
from furnclip.preparing.output import (
    FAILED,
    ShardWriter,
    Written,
    clearing_up,
    exclusive,
    is_intact,
    remove_stale,
    write_json,
    write_lists,
    write_rejects,
    write_sizes,
)
from furnclip.preparing.pictures import WORK, PictureStore, Recipe, stamps
from furnclip.preparing.plan import Plan, make_plan, scheme_of
from furnclip.preparing.rows import Catalogue, Columns, read_csv, words
from furnclip.preparing.splits import MINI, SPLITS
from furnclip.preparing.workers import make_pictures
from furnclip.progress import SILENT, Progress
from furnclip.shards import MANIFEST
from furnclip.state.preparing import ShardMemory, read_memory, write_memory

if TYPE_CHECKING:
    from furnclip.state import StateStore

__all__ = ["ShardResult", "SplitCount", "create_mini_train", "shard_catalogue", "write_dataset"]

_logger = logging.getLogger(__name__)
_MANIFEST_VERSION = 1


@dataclass(frozen=True)
class SplitCount:
    """How much is in one split."""

    samples: int
    shards: int


@dataclass(frozen=True)
class ShardResult:
    """What a run found and did.

    ``rows`` is the sum of the samples of train, val and test, ``rejected``, ``duplicates`` and
    ``not_clean``. ``decoded`` images were read, ``written_shards`` written; both are 0 when
    ``unchanged``. ``twins`` counts rows whose picture is another row's.
    """

    out: Path
    rows: int
    splits: dict[str, SplitCount]
    rejected: dict[str, int]
    duplicates: int
    not_clean: dict[str, int]
    twins: dict[str, int]
    recovered: int
    long_captions: int
    decoded: int
    written_shards: int
    unchanged: bool
    warnings: list[str]
    seconds: float


@dataclass(frozen=True)
class _Inputs:
    """The input of one run, read and stamped."""

    catalogue: Catalogue
    stamps: dict[str, tuple[int, int]]
    csv_sha256: str
    fingerprint: str


def shard_catalogue(
    csv: Path,
    *,
    image_root: Path,
    out: Path,
    settings: PrepSettings,
    state: StateStore,
    title_column: str = "name",
    image_column: str = "local_path",
    id_column: str | None = None,
    retry_rejects: bool = False,
    progress: Progress = SILENT,
) -> ShardResult:
    """Write the shards of a cleaned CSV into ``out``: one folder a split, and a manifest.

    Rows take part when ``clean_status`` is ok, or all when there is no such column. Run again,
    it does only what changed; ``retry_rejects`` reads refused images again.

    Raises ``DataError`` for a CSV or image folder that cannot be used, for a full disk and when
    more than ``settings.max_reject_rate`` of the rows are refused; ``ConfigError`` for a wrong
    caption template; ``Interrupted`` on Ctrl-C, keeping every image already read.
    """
    start = time.monotonic()
    templates = [Template.parse(text) for text in settings.captions]
    columns = Columns.choose(
        csv, title=title_column, image=image_column, product=id_column, group=settings.group_column
    )
    require_image_root(image_root, option="--images")
    with exclusive(out), quiet_decoders():
        memory = read_memory(state, str(out.resolve()), scheme=scheme_of(settings))
        inputs = _read_inputs(csv, columns, image_root, settings)
        if not retry_rejects and _is_unchanged(out, memory, inputs.fingerprint):
            _logger.info("nothing changed since %s was written", out)
            shutil.rmtree(out / WORK, ignore_errors=True)
            return _from_memory(memory.result, out, time.monotonic() - start)
        run = _Run(csv, image_root, out, settings, templates, inputs, memory)
        store, decoded = run.read_pictures(progress, retry_rejects=retry_rejects)
        result, memory, plan = run.write(store, decoded, progress)
        result = replace(result, seconds=time.monotonic() - start)
        memory = replace(memory, result=_as_json(result))
        with clearing_up(out):
            write_memory(
                state, str(out.resolve()), scheme=scheme_of(settings), csv=str(csv),
                image_root=str(image_root), memory=memory, rejects=[*plan.rejects, *plan.repeated],
            )  # fmt: skip
    return result


@dataclass(frozen=True)
class _Run:
    csv: Path
    root: Path
    out: Path
    settings: PrepSettings
    templates: Sequence[Template]
    inputs: _Inputs
    memory: ShardMemory

    def read_pictures(self, progress: Progress, *, retry_rejects: bool) -> tuple[PictureStore, int]:
        """Read every image that is new, changed or lost; returns where they are and how many."""
        recipe = Recipe.of(self.settings)
        store = PictureStore(self.out, self.memory.pictures)
        store.recover(recipe.name)
        intact = {name for name, r in self.memory.shards.items() if is_intact(self.out, r)}
        store.drop(
            [
                source for source, picture in store.known.items()
                if picture.recipe != recipe.name
                or self.inputs.stamps.get(source) != (picture.file_size, picture.mtime_ns)
                or (picture.file in self.memory.shards and picture.file not in intact)
                or (retry_rejects and picture.reason)
            ]
        )  # fmt: skip
        todo = [(s, stamp) for s, stamp in self.inputs.stamps.items() if s not in store.known]
        with progress.task("Images", total=len(todo), unit="images") as task:
            make_pictures(
                store, todo, root=self.root, recipe=recipe,
                workers=self.settings.workers, advance=task.advance,
            )  # fmt: skip
        return store, len(todo)

    def write(
        self, store: PictureStore, decoded: int, progress: Progress
    ) -> tuple[ShardResult, ShardMemory, Plan]:
        """Plan, write what changed, and put the lists and the manifest beside it."""
        catalogue = self.inputs.catalogue
        plan = make_plan(
            catalogue.samples, store.known, self.settings, groups=self.memory.groups,
            settled={s: p.image_sha256 for s, p in self.memory.pictures.items()},
        )  # fmt: skip
        plan.rejects[:0] = catalogue.rejects
        plan.repeated[:0] = catalogue.repeated
        self._check_rejects(plan)
        write_lists(self.out, [*plan.rejects, *plan.repeated], plan.twins, plan.groups)
        writer = ShardWriter(self.out, self.root, self.settings, self.templates, store)
        total = sum(len(shard.samples) for shard in plan.shards)
        with progress.task("Shards", total=total, unit="samples") as task:
            written = writer.write(plan.shards, self.memory.shards, task.advance)
        self._finish(written)
        result = self._result(plan, store, written, decoded)
        write_json(self.out / MANIFEST, self._manifest(result, written))
        memory = ShardMemory(
            fingerprint=self.inputs.fingerprint,
            pictures=written.pictures,
            groups=plan.groups,
            shards=written.shards,
        )
        return result, memory, plan

    def _check_rejects(self, plan: Plan) -> None:
        rows = self.inputs.catalogue.rows - sum(self.inputs.catalogue.not_clean.values())
        reasons = Counter(found.reason for found in plan.rejects)
        listed = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common(4))
        failed = self.out / FAILED
        failed.unlink(missing_ok=True)
        if plan.shards and len(plan.rejects) <= self.settings.max_reject_rate * rows:
            return
        write_rejects(failed, plan.rejects)
        if not plan.shards:
            raise DataError(
                f"{self.csv}: no row can be used" + (f" ({listed})" if listed else ""),
                hint=f"see {failed}; is --images the folder the image paths start in?",
            )
        raise DataError(
            f"{len(plan.rejects)} of {rows} rows are rejected ({listed})",
            hint=f"see {failed}; mend them, or allow more with --max-reject-rate",
        )

    def _finish(self, written: Written) -> None:
        for split in (*SPLITS, MINI):
            sizes = {
                Path(name).name: record.samples
                for name, record in written.shards.items()
                if record.split == split
            }
            remove_stale(self.out / split, set(sizes))
            if sizes:
                write_sizes(self.out / split, sizes)
            elif (self.out / split).is_dir():
                shutil.rmtree(self.out / split)

    def _result(
        self, plan: Plan, store: PictureStore, written: Written, decoded: int
    ) -> ShardResult:
        catalogue = self.inputs.catalogue
        counts = {
            split: SplitCount(
                sum(r.samples for r in written.shards.values() if r.split == split),
                sum(r.split == split for r in written.shards.values()),
            )
            for split in (*SPLITS, MINI)
        }
        spoken = [words(s) for shard in plan.shards if shard.split != MINI for s in shard.samples]
        return ShardResult(
            out=self.out,
            rows=catalogue.rows,
            splits=counts,
            rejected=dict(sorted(Counter(r.reason for r in plan.rejects).items())),
            duplicates=len(plan.repeated),
            not_clean=dict(sorted(catalogue.not_clean.items())),
            twins=dict(sorted(Counter(twin.kind for twin in plan.twins).items())),
            recovered=sum(
                store.known[s.source].recovered
                for shard in plan.shards if shard.split != MINI for s in shard.samples
            ),
            long_captions=sum(
                any(is_long(caption) for caption in captions_of(values, self.templates))
                for values in spoken
            ),
            decoded=decoded,
            written_shards=written.fresh,
            unchanged=False,
            warnings=_warnings(counts, plan, self.settings),
            seconds=0.0,
        )  # fmt: skip

    def _manifest(self, result: ShardResult, written: Written) -> dict[str, Any]:
        settings = self.settings.model_dump(mode="json", exclude={"workers", "max_reject_rate"})
        return {
            "version": _MANIFEST_VERSION,
            "csv": {"name": self.csv.name, "sha256": self.inputs.csv_sha256, "rows": result.rows},
            "settings": settings,
            "rejected": result.rejected,
            "duplicates": result.duplicates,
            "not_clean": result.not_clean,
            "twins": result.twins,
            "splits": {split: asdict(count) for split, count in result.splits.items()},
            "shards": [
                {
                    "name": record.name, "split": record.split, "samples": record.samples,
                    "bytes": record.size, "sha256": record.sha256, "content": record.content,
                }
                for record in sorted(written.shards.values(), key=lambda record: record.name)
            ],
        }  # fmt: skip


def _read_inputs(csv: Path, columns: Columns, root: Path, settings: PrepSettings) -> _Inputs:
    catalogue = read_csv(csv, columns)
    stamped = stamps(root, dict.fromkeys(sample.source for sample in catalogue.samples))
    with csv.open("rb") as file:
        csv_sha256 = file_digest(file, "sha256").hexdigest()
    digest = blake2b(digest_size=16)
    # max_reject_rate and workers do not change what is written.
    chosen = settings.model_dump(mode="json", exclude={"workers", "max_reject_rate"})
    digest.update(json.dumps([csv_sha256, asdict(columns), str(root.resolve()), chosen]).encode())
    for source, (size, mtime) in stamped.items():
        digest.update(f"{source}\0{size}\0{mtime}\n".encode())
    return _Inputs(catalogue, stamped, csv_sha256, digest.hexdigest())


def _is_unchanged(out: Path, memory: ShardMemory, fingerprint: str) -> bool:
    return (
        memory.fingerprint == fingerprint
        and (out / MANIFEST).is_file()
        and all(is_intact(out, record) for record in memory.shards.values())
    )


def _warnings(counts: Mapping[str, SplitCount], plan: Plan, settings: PrepSettings) -> list[str]:
    found = []
    for split, fraction in (("val", settings.val_fraction), ("test", settings.test_fraction)):
        if fraction and not counts[split].samples:
            found.append(
                f"no product fell into {split}: the catalogue is small; more products or a larger "
                f"prep.{split}_fraction fill it"
            )
    if plan.largest_family > max(20, len(plan.groups) // 20):
        found.append(
            f"{plan.largest_family} products share a picture and so one split: "
            "is it a placeholder image?"
        )
    return found


def _as_json(result: ShardResult) -> dict[str, Any]:
    return {**asdict(result), "out": str(result.out)}


def _from_memory(values: Mapping[str, Any], out: Path, seconds: float) -> ShardResult:
    splits = {name: SplitCount(**count) for name, count in values["splits"].items()}
    return ShardResult(
        **{
            **values, "out": out, "splits": splits, "unchanged": True,
            "decoded": 0, "written_shards": 0, "seconds": seconds,
        }
    )  # fmt: skip
