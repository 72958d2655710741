"""``furnclip train`` and ``furnclip runs``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from furnclip.cli.common import JsonOption, settings, store
from furnclip.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from furnclip.config import TrainingSettings
    from furnclip.training.results import TrainingResult

_DATA, _LORA, _RUN = "Data", "LoRA", "Run"
_SHOWN = ("hit@1", "hit@5", "hit@10", "recall@10", "mrr", "ndcg@10", "map", "median_rank")


def train(
    ctx: typer.Context,
    *,
    scenario: Annotated[
        str | None,
        typer.Option(
            help="zero_shot, linear_probe, vision_lora, text_lora, dual_lora, unfrozen_targets; "
            "all: one after another, compared."
        ),
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training split.")] = None,
    effective_batch_size: Annotated[
        int | None, typer.Option(help="Pairs the loss compares at once.")
    ] = None,
    micro_batch_size: Annotated[
        int | None, typer.Option(help="Pairs in memory at once; 0 finds out what fits.")
    ] = None,
    loss: Annotated[str | None, typer.Option(help="clip or siglip.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32, bf16, fp16, fp64.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Folder of the shards; s3:// and https:// are streamed.", rich_help_panel=_DATA
        ),
    ] = None,
    mini: Annotated[
        bool, typer.Option("--mini", help="Train on mini_train.", rich_help_panel=_DATA)
    ] = False,
    augmentation: Annotated[
        str | None, typer.Option(help="none, simple or advanced.", rich_help_panel=_DATA)
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Threads that decode images ahead.", rich_help_panel=_DATA)
    ] = None,
    lora_r: Annotated[int | None, typer.Option(help="Rank.", rich_help_panel=_LORA)] = None,
    lora_alpha: Annotated[
        int | None, typer.Option(help="Scale, divided by the rank.", rich_help_panel=_LORA)
    ] = None,
    lora_dropout: Annotated[
        float | None, typer.Option(help="Dropout before LoRA.", rich_help_panel=_LORA)
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Hub id or folder of the base.", rich_help_panel=_RUN)
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps.", rich_help_panel=_RUN)
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the run and its model.", rich_help_panel=_RUN)
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(help="Go on with this run.", metavar="RUN", rich_help_panel=_RUN),
    ] = None,
    track: Annotated[
        str | None, typer.Option(help="none, wandb or tensorboard.", rich_help_panel=_RUN)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Fine-tune CLIP on the shards; the result is an ordinary transformers folder."""
    from furnclip.console import print_json, progress, say
    from furnclip.state.training import find_run

    typed: dict[str, object] = {
        "scenario": None if scenario == "all" else scenario,
        "lr": lr,
        "epochs": epochs,
        "effective_batch_size": effective_batch_size,
        "micro_batch_size": micro_batch_size,
        "loss": loss,
        "precision": precision,
        "seed": seed,
        "augmentation": augmentation,
        "workers": workers,
        "lora_r": lora_r,
        "lora_alpha": lora_alpha,
        "lora_dropout": lora_dropout,
        "track": track,
    }
    loaded = settings(ctx, training=typed, model={"name": base, "device": device})
    where = {
        "data": str(data or loaded.paths.shards_dir),
        "base": loaded.model.name,
        "train_split": "mini_train" if mini else "train",
    }
    chosen = loaded.training
    if resume is not None:
        if name is not None or scenario == "all":
            raise UsageError(
                "--resume excludes --name and --scenario all", hint="name one run to resume"
            )
        run = find_run(store(loaded), resume)
        if run is not None and run.status == "finished":
            say(f"{resume} is finished: {run.model_path or 'nothing to train'}")
            if as_json:
                print_json(run)
            return
        given = {"data": data, "base": base, "train_split": "mini_train" if mini else None}
        chosen, where = _as_begun(loaded.paths.runs_dir / resume, chosen, typed | given)
    from furnclip.training.main import run_training
    from furnclip.training.scenarios import run_scenarios

    context: dict[str, Any] = {
        "data": where["data"],
        "base": where["base"],
        "train_split": where["train_split"],
        "runs_dir": loaded.paths.runs_dir,
        "models_dir": loaded.paths.models_dir,
        "state": store(loaded),
        "device": loaded.model.device,
        "name": name,
        "progress": progress(),
    }
    if scenario == "all":
        _compare(run_scenarios(chosen, **context), as_json=as_json)
    else:
        _show(run_training(chosen, resume=resume, **context), as_json=as_json)


def runs(ctx: typer.Context, *, as_json: JsonOption = False) -> None:
    """List the training runs with their metrics, the newest first."""
    from furnclip.console import next_step, print_json, print_table, say
    from furnclip.state.training import list_runs

    found = list_runs(store(settings(ctx)))
    if as_json:
        print_json({"runs": found})
        return
    if not found:
        say("no training runs yet")
        next_step("furnclip train")
        return
    print_table(
        None,
        ("run", "scenario", "status", "minutes", "base hit@1", "tuned hit@1"),
        [
            (
                run.run_id,
                run.scenario,
                run.status,
                "" if run.seconds is None else f"{run.seconds / 60:.1f}",
                _number(run.metrics.get("base", {}).get("text_to_image.hit@1")),
                _number(run.metrics.get("tuned", {}).get("text_to_image.hit@1")),
            )
            for run in found
        ],
        right=(3, 4, 5),
    )


def _as_begun(
    folder: Path, now: TrainingSettings, typed: Mapping[str, object]
) -> tuple[TrainingSettings, dict[str, str]]:
    """Return a run's own settings; an option typed otherwise is refused by the trainer, by name."""
    from pydantic import ValidationError

    from furnclip.config import TrainingSettings
    from furnclip.training.checkpoint import read_settings

    saved = read_settings(folder)
    fields = TrainingSettings.model_fields
    again = {key: value for key, value in typed.items() if value is not None}
    merged = saved | {k: getattr(now, k) if k in fields else str(v) for k, v in again.items()}
    try:
        where = {key: str(merged.pop(key)) for key in ("data", "base", "train_split")}
        return TrainingSettings(**merged), where
    except (KeyError, ValidationError) as error:
        raise DataError(
            f"{folder / 'settings.json'} is of another version of furnclip", hint="start a new run"
        ) from error


def _show(result: TrainingResult, *, as_json: bool) -> None:
    from furnclip.console import next_step, print_json, print_table, say

    if as_json:
        print_json(result)
        return
    metrics = result.metrics
    print_table(
        f"{metrics['split']} split, base against {result.scenario}"
        + (" (mean and 95% interval)" if "intervals" in metrics else ""),
        ("metric", "base", "tuned", "change", "p"),
        [_metric_row(name, metrics) for name in metrics["tuned"] if name.split(".")[1] in _SHOWN],
        right=(1, 2, 3, 4),
    )
    if result.model_path is None:
        say("zero_shot trains nothing; no model was written")
        return
    best = f", best after epoch {result.best_epoch}" if result.best_epoch else ""
    say(
        f"{result.trained_parameters:,} of {result.parameters:,} parameters trained, "
        f"{result.steps} steps in {result.seconds:.0f} s{best}, alpha {result.alpha:.1f}"
    )
    say(f"model: {result.model_path}   curves: {result.curves}")
    next_step("furnclip embed")


def _metric_row(name: str, metrics: Mapping[str, Any]) -> list[str]:
    """Return a metric of base and tuned with intervals, the change and its p-value."""
    values = [metrics[which][name] for which in ("base", "tuned")]
    cells = [_number(value) for value in values] + [f"{values[1] - values[0]:+.3f}", ""]
    change = metrics.get("compared", {}).get(name)
    if change is not None:
        for place, which in enumerate(("base", "tuned")):
            low, high = metrics["intervals"][which][name]
            cells[place] += f" {low:.2f}..{high:.2f}"
        cells[2] += f" {change['low']:+.2f}..{change['high']:+.2f}"
        cells[3] = "<0.001" if change["p"] < 0.001 else f"{change['p']:.3f}"
    return [name.replace("_", " ").replace(".", ", "), *cells]


def _compare(results: Sequence[TrainingResult], *, as_json: bool) -> None:
    from furnclip.console import print_json, print_table

    if as_json:
        print_json({"runs": results})
        return
    shown = [f"text_to_image.{name}" for name in ("hit@1", "hit@10", "mrr", "ndcg@10")]
    print_table(
        None,
        ("scenario", "trained", "seconds", "alpha", *(name.split(".")[1] for name in shown)),
        [
            (
                result.scenario,
                f"{result.trained_parameters:,}",
                f"{result.seconds:.0f}",
                "" if result.alpha is None else f"{result.alpha:.1f}",
                *(_number(result.metrics["tuned"].get(name)) for name in shown),
            )
            for result in results
        ],
        right=range(1, 4 + len(shown)),
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
