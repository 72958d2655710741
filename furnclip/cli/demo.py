"""``furnclip demo``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from furnclip.cli.common import JsonOption

if TYPE_CHECKING:
    from furnclip.cleaning.accuracy import FieldAccuracy
    from furnclip.demo.pipeline import DemoResult, StageReport
    from furnclip.evaluation.compare import Report

_METRICS = ("hit@1", "hit@5", "hit@10", "mrr", "ndcg@10")
_DIRECTIONS = {"text_to_image": "text → image", "image_to_text": "image → text"}


def demo(
    *,
    folder: Annotated[
        Path, typer.Option("--dir", help="Folder of the project that the demo makes.")
    ] = Path("furnclip-demo"),
    products: Annotated[
        int | None, typer.Option(min=50, help="Products to draw; default: 1024.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    no_arena: Annotated[
        bool, typer.Option("--no-arena", help="Do not offer the arena at the end.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run the whole pipeline on a drawn catalogue: no key, no hub, no GPU, minutes."""
    from furnclip.console import print_json, progress
    from furnclip.demo.pipeline import PRODUCTS, run_demo
    from furnclip.demo.project import open_project

    project = open_project(folder)
    done = run_demo(
        project,
        products=products or PRODUCTS,
        seed=seed,
        progress=progress(),
        announce=_announce,
    )
    if as_json:
        print_json(done)
        return
    _print(done)
    _say_what_next(folder)
    if not no_arena:
        _offer_arena(project.folder)


def _announce(stage: StageReport) -> None:
    from furnclip.console import say

    took = f"{stage.seconds:5.1f} s" if stage.did or stage.name == "evaluate" else "  done "
    say(f"{stage.name:<9}{took}  {stage.summary}")


def _print(done: DemoResult) -> None:
    from furnclip.console import result, say

    if done.unchanged:
        say("nothing to do: the demo is complete, these are its results")
    _print_accuracy(done.accuracy)
    _print_report(done.report)
    for name, title in _DIRECTIONS.items():
        scores = done.report.directions[name].scores
        base, tuned = scores["base"]["hit@1"], scores["tuned"]["hit@1"]
        ratio = f"{tuned.mean / base.mean:.1f} times as often" if base.mean else "from none"
        result(f"{title}: the tuned model finds the right product first {ratio}")


def _print_accuracy(accuracy: list[FieldAccuracy]) -> None:
    from furnclip.console import print_table

    print_table(
        "cleaning by rules, against the answer key",
        ("field", "right", "answered", "products"),
        [(a.field, f"{a.accuracy:.1%}", f"{a.answered:,}", f"{a.total:,}") for a in accuracy],
        right=(1, 2, 3),
    )


def _print_report(report: Report) -> None:
    from furnclip.console import print_table

    for name, direction in report.directions.items():
        base, tuned = direction.scores["base"], direction.scores["tuned"]
        compared = direction.compared["tuned"]
        print_table(
            f"{_DIRECTIONS[name]}: {direction.queries} queries among {direction.gallery_size} "
            "products that neither model has seen (mean and 95% interval)",
            ("metric", "base", "tuned", "p"),
            [
                (
                    metric,
                    *(
                        f"{s.mean:.3f} {s.low:.2f}..{s.high:.2f}"
                        for s in (base[metric], tuned[metric])
                    ),
                    "<0.001" if compared[metric].p < 0.001 else f"{compared[metric].p:.3f}",
                )
                for metric in _METRICS
            ],
            right=(1, 2, 3),
        )


def _say_what_next(folder: Path) -> None:
    from furnclip.console import next_step

    next_step(
        f'cd {folder}, then furnclip search "green velvet armchair" --model both, furnclip arena'
    )


def _offer_arena(folder: Path) -> None:
    """Open the arena when somebody sits at the terminal and wants it."""
    import sys

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return
    if not typer.confirm("Judge base against tuned yourself, in the arena?", default=False):
        return
    from furnclip.arena.launch import play
    from furnclip.config import CONFIG_FILE, load_settings
    from furnclip.console import result, say

    options = {"baseline": "base", "challengers": ("tuned",), "queries_file": None, "seed": None}
    result(play(load_settings(folder / CONFIG_FILE), options, announce=say).report)
