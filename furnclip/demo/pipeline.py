"""The whole pipeline on a drawn catalogue; each stage is the function that its command calls.

Every stage finds what an earlier call finished, so a second call resumes or does nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from furnclip.catalogue import CLEANED_FIELDS, read_rows
from furnclip.demo.catalogue import check_same_catalogue, write_catalogue
from furnclip.demo.project import BASE, TUNED, Project
from furnclip.demo.tiny_clip import build_clip
from furnclip.errors import Interrupted
from furnclip.progress import SILENT, Progress

if TYPE_CHECKING:
    from furnclip.cleaning.accuracy import FieldAccuracy
    from furnclip.config import TrainingSettings
    from furnclip.evaluation.compare import Report

PRODUCTS = 1024
COARSE_CAPTIONS = ("a {object_type}",)
_Made = TypeVar("_Made")


@dataclass(frozen=True)
class StageReport:
    """What one stage did, for the person who waits; ``did`` is False when it was done before."""

    name: str
    seconds: float
    did: bool
    summary: str


@dataclass(frozen=True)
class DemoResult:
    """What a demo leaves: the rules' accuracy against the key, base against tuned on test."""

    folder: Path
    products: int
    stages: list[StageReport]
    accuracy: list[FieldAccuracy]
    report: Report

    @property
    def unchanged(self) -> bool:
        """Whether every stage had been done before."""
        return not any(stage.did for stage in self.stages)


@dataclass
class _Demo:
    project: Project
    count: int
    seed: int
    progress: Progress
    announce: Callable[[StageReport], None]
    stages: list[StageReport] = field(default_factory=list)

    def stage(self, name: str, work: Callable[[], tuple[_Made, bool, str]]) -> _Made:
        """Time one stage and tell about it."""
        start = time.monotonic()
        made, did, summary = work()
        report = StageReport(name, time.monotonic() - start, did, summary)
        self.stages.append(report)
        self.announce(report)
        return made


def run_demo(
    project: Project,
    *,
    products: int = PRODUCTS,
    seed: int = 0,
    progress: Progress = SILENT,
    announce: Callable[[StageReport], None] = lambda _: None,
) -> DemoResult:
    """Draw, clean, shard, train a base, tune it, embed, and compare the two on unseen products.

    Raises ``UsageError`` when the folder holds a demo of other ``products`` or ``seed``.
    """
    demo = _Demo(project, products, seed, progress, announce)
    try:
        demo.stage("draw", lambda: _draw(demo))
        accuracy = demo.stage("clean", lambda: _clean(demo))
        demo.stage("shard", lambda: _shard(demo))
        demo.stage("base", lambda: _train_base(demo))
        demo.stage("tune", lambda: _tune(demo))
        demo.stage("embed", lambda: _embed(demo))
        report = demo.stage("evaluate", lambda: _evaluate(demo))
    except (KeyboardInterrupt, Interrupted):
        raise Interrupted(
            f"the demo stopped; what is finished is kept in {project.folder}",
            hint="run the same `furnclip demo` command again to go on",
        ) from None
    return DemoResult(project.folder, products, demo.stages, accuracy, report)


def _draw(demo: _Demo) -> tuple[None, bool, str]:
    paths = demo.project.settings.paths
    check_same_catalogue(paths.raw_csv, demo.count, demo.seed)
    drawn = write_catalogue(
        demo.count,
        demo.seed,
        csv=paths.raw_csv,
        image_root=paths.image_dir,
        key=demo.project.key,
        progress=demo.progress,
    )
    return None, drawn > 0, f"{drawn:,} photos of {demo.count:,} products"


def _clean(demo: _Demo) -> tuple[list[FieldAccuracy], bool, str]:
    from furnclip.cleaning.accuracy import measure_csv
    from furnclip.cleaning.service import Cleaner
    from furnclip.state.cleaning import image_root_of

    settings, state = demo.project.settings, demo.project.state
    paths = settings.paths
    did = not paths.cleaned_csv.is_file() or image_root_of(state, paths.cleaned_csv) is None
    if did:
        cleaner = Cleaner(state, settings.cleaning, paths.batches_dir)
        prepared = cleaner.prepare(paths.raw_csv, paths.image_dir, progress=demo.progress)
        run = cleaner.run(prepared.run)
        cleaner.upload(run, progress=demo.progress)
        cleaner.finalize(run, paths.cleaned_csv)
    accuracy = measure_csv(paths.cleaned_csv, demo.project.key)
    told = ", ".join(f"{found.field} {found.accuracy:.0%}" for found in accuracy)
    return accuracy, did, f"titles and photos read by rules; right: {told}"


def _shard(demo: _Demo) -> tuple[None, bool, str]:
    from furnclip.preparing.sharding import shard_catalogue

    settings = demo.project.settings
    coarse = settings.prep.model_copy(update={"captions": COARSE_CAPTIONS})
    fine, kinds = (
        shard_catalogue(
            settings.paths.cleaned_csv,
            image_root=settings.paths.image_dir,
            out=out,
            settings=prep,
            state=demo.project.state,
            progress=demo.progress,
        )
        for out, prep in (
            (settings.paths.shards_dir, settings.prep),
            (demo.project.coarse_shards, coarse),
        )
    )
    sizes = ", ".join(f"{count.samples:,} {split}" for split, count in fine.splits.items())
    return None, not (fine.unchanged and kinds.unchanged), sizes


def _train_base(demo: _Demo) -> tuple[None, bool, str]:
    settings = demo.project.settings.training.model_copy(
        update={
            "scenario": "unfrozen_targets",
            "unfrozen_targets": (".*",),
            "patience": 0,
            "seed": demo.seed,
        }
    )
    blank = demo.project.random_model
    if not (blank / "config.json").is_file():
        build_clip(blank, _texts(demo.project.settings.paths.cleaned_csv), seed=demo.seed)
    did = _train(demo, BASE, settings, data=demo.project.coarse_shards, base=blank)
    return None, did, 'a CLIP from scratch on coarse captions such as "a sofa"'


def _tune(demo: _Demo) -> tuple[None, bool, str]:
    settings, paths = demo.project.settings.training, demo.project.settings.paths
    did = _train(demo, TUNED, settings, data=paths.shards_dir, base=paths.models_dir / BASE)
    return None, did, f"{settings.scenario} on the cleaned captions"


def _train(demo: _Demo, name: str, settings: TrainingSettings, *, data: Path, base: Path) -> bool:
    """Train a run of this name, or go on with it; False when it is finished."""
    from furnclip.state.training import find_run
    from furnclip.training.main import run_training

    paths, state = demo.project.settings.paths, demo.project.state
    run = find_run(state, name)
    if run is not None and run.status == "finished":
        return False
    run_training(
        settings,
        data=data,
        base=str(base),
        runs_dir=paths.runs_dir,
        models_dir=paths.models_dir,
        state=state,
        device=demo.project.settings.model.device,
        name=None if run else name,
        resume=name if run else None,
        progress=demo.progress,
    )
    return True


def _embed(demo: _Demo) -> tuple[None, bool, str]:
    from furnclip.embeddings.catalogue import embed_catalogue

    settings = demo.project.settings
    models = settings.paths.models_dir
    made = embed_catalogue(
        {"base": models / BASE, "tuned": models / TUNED},
        shards_dir=settings.paths.shards_dir,
        out=settings.paths.embeddings_dir,
        batch_size=settings.embedding.batch_size,
        precision=settings.embedding.precision,
        device=settings.model.device,
        workers=settings.embedding.workers,
        progress=demo.progress,
    )
    return None, made.files > 0, f"{made.rows:,} products by base and tuned"


def _evaluate(demo: _Demo) -> tuple[Report, bool, str]:
    from furnclip.evaluation.compare import evaluate
    from furnclip.vectors import MASTER, read_master

    path = demo.project.settings.paths.embeddings_dir / MASTER
    report = evaluate(read_master(path, labels=["base", "tuned"]), split="test")
    return report, False, f"{report.products:,} products that neither has seen"


def _texts(cleaned: Path) -> list[str]:
    """Return the words that the tokenizer learns: the catalogue's own."""
    return [
        text
        for row in read_rows(cleaned)
        for text in (row.values[name] for name in CLEANED_FIELDS)
        if text
    ]
