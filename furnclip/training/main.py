"""The training stage: shards and a base model in, a tuned ``CLIPModel`` folder out.

``run_training`` reads top to bottom. The result does not depend on how it is reached: not on the
micro-batch, the number of loader processes, an interruption, or (up to rounding) of ranks.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

from furnclip.config import TrainingSettings, load_settings
from furnclip.progress import SILENT, Progress
from furnclip.state import StateStore
from furnclip.state.training import epochs_of, finish_run, steps_of
from furnclip.training.augment import ImageTransform
from furnclip.training.checkpoint import Position
from furnclip.training.curves import draw_curves
from furnclip.training.distributed import World, join_world
from furnclip.training.memory import used_mib
from furnclip.training.model import clip_of, get_model, trainable
from furnclip.training.publish import publish
from furnclip.training.quick import quicken
from furnclip.training.recording import Recorder, open_tracker
from furnclip.training.results import TrainingResult, keep
from furnclip.training.run import RunPlan, agreed, plan_run, recorded_run
from furnclip.training.run_data import check_data, open_data, open_feed
from furnclip.training.session import Session
from furnclip.training.towers import Towers, training_precision
from furnclip.training.trainer import Objective, Trainer
from furnclip.training.validation import SELECTED_BY


def run_training(
    settings: TrainingSettings,
    *,
    data: Path | str,
    base: str,
    runs_dir: Path,
    models_dir: Path,
    state: StateStore,
    device: str = "auto",
    name: str | None = None,
    resume: str | None = None,
    train_split: str = "train",
    progress: Progress = SILENT,
) -> TrainingResult:
    """Fine-tune ``base`` on ``data/<train_split>`` and publish the best of it.

    ``data`` is a folder of shards, or the URL (``s3://``, ``http(s)://``) of one, which is
    streamed: see ``furnclip.training.feeds.RemoteFeed`` for what that gives up.
    ``resume`` is the id of a run to go on with; its settings must be the same. Under several
    processes each calls this; the first writes. Raises ``UsageError``, ``ConfigError`` or
    ``DataError`` before anything is trained, ``Interrupted`` after Ctrl-C or SIGTERM.
    """
    # 1. Who and where: the run's folder, and this process among all.
    plan = plan_run(
        settings,
        data=data,
        base=base,
        runs_dir=runs_dir,
        models_dir=models_dir,
        name=name,
        resume=resume,
        train_split=train_split,
    )
    import torch

    from furnclip.encoder import pick_device

    world = join_world(pick_device(device))
    try:
        plan = agreed(plan, world)
        # 2. The model; LoRA's start values come from the seed, the same on all ranks.
        torch.manual_seed(settings.seed)
        model, processor = get_model(
            settings.scenario,
            base=base,
            lora_r=settings.lora_r,
            lora_alpha=settings.lora_alpha,
            lora_dropout=settings.lora_dropout,
            lora_targets=settings.lora_targets,
            unfrozen_targets=settings.unfrozen_targets,
        )
        model.to(world.device, torch.float64 if settings.precision == "fp64" else torch.float32)
        if not settings.compile:  # which compiles the plain model
            quicken(model)
        if settings.gradient_checkpointing:
            clip_of(model).activation_checkpointing_enable()
        frozen_images = settings.scenario in {"linear_probe", "zero_shot"}
        towers = Towers(
            model,
            ImageTransform.of(processor, "none" if frozen_images else settings.augmentation),
            device=world.device,
            precision=training_precision(settings.precision, world.device),
            compiled=settings.compile,
        )
        with recorded_run(plan, state, world):
            # 3. The data: every split indexed, decoded once when it fits in memory.
            shown = progress if world.leader else SILENT
            splits = open_data(plan, processor, towers, world, progress=shown)
            check_data(plan, splits, world)
            # 4. Train. Dropout draws differ between ranks from here on.
            torch.manual_seed(settings.seed + world.rank)
            position = Position()
            if settings.scenario != "zero_shot":
                trainer = Trainer(towers, Objective(towers, settings.loss), world, settings)
                with _recorder(plan, state, world) as recorder:
                    feed = open_feed(plan, splits, processor, towers, world)
                    session = Session(
                        plan, towers, feed, splits.val, trainer, recorder, world, shown
                    )
                    position = session.train()
            # 5. Interpolate with the base, merge, publish, measure once on test.
            with shown.task("merging and measuring", unit="models") as task:
                published = publish(plan, towers, processor, splits, world, task=task)
            result = TrainingResult(
                run_id=plan.run_id,
                scenario=settings.scenario,
                base=base,
                model_path=published.model_path,
                metrics=published.metrics,
                best_epoch=position.best_epoch or None,
                epochs=position.epoch - 1,
                steps=position.step,
                alpha=published.alpha,
                seconds=position.seconds,
                peak_memory_mib=used_mib(towers.device),
                trained_parameters=sum(p.numel() for p in trainable(model).values()),
                parameters=sum(p.numel() for p in model.parameters()),
                curves=plan.curves if position.step else None,
            )
            if world.leader:
                finish_run(
                    state,
                    plan.run_id,
                    seconds=result.seconds,
                    best_epoch=result.best_epoch,
                    model_path=result.model_path,
                    metrics=result.metrics,
                )
                _draw(plan, state)
                keep(plan.folder, result)
            return result
    finally:
        world.close()


def _draw(plan: RunPlan, state: StateStore) -> None:
    steps = [(float(step.step), step.loss) for step in steps_of(state, plan.run_id)]
    scores = [
        (float(epoch), metrics[SELECTED_BY]) for epoch, metrics in epochs_of(state, plan.run_id)
    ]
    if steps:
        draw_curves(
            plan.curves,
            title=plan.run_id,
            losses=steps,
            scores=scores,
            score_name="validation text to image nDCG@10",
        )


@contextmanager
def _recorder(plan: RunPlan, state: StateStore, world: World) -> Iterator[Recorder | None]:
    """Record on the leader, and write what is buffered however the run ends."""
    if not world.leader:
        yield None
        return
    tracker = open_tracker(
        plan.settings.track,
        plan.folder / "tracker",
        plan.run_id,
        settings=plan.described,
    )
    recorder = Recorder(state, plan.run_id, tracker)
    try:
        yield recorder
    finally:
        recorder.flush()
        if tracker is not None:
            tracker.close()


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the options of a training script; what is not given comes from the settings.

    The namespace has every training setting (``scenario``, ``lr``, ``epochs`` ...) and ``data``,
    ``base``, ``device``, ``name``, ``resume`` and ``train_split``. ``furnclip train`` has the
    same options and more.
    """
    settings = load_settings()
    parser = argparse.ArgumentParser(description="Fine-tune CLIP on a furniture catalogue.")
    for name, entry in TrainingSettings.model_fields.items():
        default = getattr(settings.training, name)
        option = f"--{name.replace('_', '-')}"
        if isinstance(default, bool):
            parser.add_argument(option, action=argparse.BooleanOptionalAction, default=default)
        elif isinstance(default, tuple):
            parser.add_argument(option, nargs="+", default=default, help=entry.description)
        else:
            choices = get_args(entry.annotation) or None
            parser.add_argument(option, type=type(default), choices=choices, default=default)
    parser.add_argument("--data", default=str(settings.paths.shards_dir))
    parser.add_argument("--base", default=settings.model.name)
    parser.add_argument("--device", default=settings.model.device)
    parser.add_argument("--name")
    parser.add_argument("--resume", metavar="RUN")
    parser.add_argument("--train-split", default="train", choices=("train", "mini_train"))
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> TrainingResult:
    """Run the complete training pipeline with the options of ``parse_args``."""
    options = vars(parse_args(arguments))
    paths = load_settings().paths
    training = {name: options.pop(name) for name in TrainingSettings.model_fields}
    return run_training(
        TrainingSettings(**training),
        runs_dir=paths.runs_dir,
        models_dir=paths.models_dir,
        state=StateStore(paths.state_file),
        **options,
    )
