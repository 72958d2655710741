"""``furnclip eval``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from furnclip.cli.common import JsonOption, settings
from furnclip.errors import DataError

if TYPE_CHECKING:
    from furnclip.evaluation.compare import Direction, Report
    from furnclip.vectors import MasterVectors

_NAMES = {"text_to_image": "text → image", "image_to_text": "image → text"}


def evaluate(
    ctx: typer.Context,
    *,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    model: Annotated[
        list[str] | None,
        typer.Option(help="Only these labels or folders; the first is the baseline."),
    ] = None,
    slices: Annotated[
        str, typer.Option(help="Attributes to slice by, with commas; `none` for no slices.")
    ] = "object_type,style,color,material",
    vectors: Annotated[Path | None, typer.Option(help="Folder of the vector files.")] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Also write a report with the best and worst queries as pictures."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure retrieval on held-out products, base against tuned."""
    from furnclip import console
    from furnclip.evaluation import compare
    from furnclip.vectors import MASTER, read_master

    loaded = settings(ctx, paths={"embeddings_dir": vectors})
    path = loaded.paths.embeddings_dir / MASTER
    labels = _labels(path, model) if model else None
    master = read_master(path, labels=labels)
    names = [] if slices == "none" else [name.strip() for name in slices.split(",") if name.strip()]
    report = compare.evaluate(master, split=split, slices=names)
    if html is not None:
        _write_html(html, report, master)
    if as_json:
        console.print_json(report)
        return
    _print(report)
    if html is not None:
        console.result(f"report in {html}")
    console.next_step('furnclip search "black chair" --model both, furnclip arena')


def _labels(path: Path, wanted: list[str]) -> list[str]:
    """Turn labels or model folders into labels of the master table."""
    from furnclip.vectors import read_models

    models = read_models(path)
    labels = []
    for name in wanted:
        same = [k for k, info in models.items() if name in {k, info.spec, Path(info.spec).name}]
        if not same:
            raise DataError(
                f"{path} has no vectors of {name!r}, only of {', '.join(models)}",
                hint=f"embed them with `furnclip embed --model {name}`",
            )
        labels.append(same[0])
    return labels


def _write_html(path: Path, report: Report, master: MasterVectors) -> None:
    from furnclip.evaluation.html import report_page
    from furnclip.files import write_text_atomic, writing_in

    with writing_in(path):
        write_text_atomic(path, report_page(report, master))


def _print(report: Report) -> None:
    from furnclip import console

    for name, direction in report.directions.items():
        labels = list(direction.scores)
        console.print_table(
            f"{_NAMES[name]}: {direction.queries} queries, gallery of "
            f"{direction.gallery_size}, split {report.split} (mean and 95% interval)",
            ["metric", *labels, *(f"{label} - {labels[0]}" for label in labels[1:]), *_ps(labels)],
            _metric_rows(direction, labels),
            right=range(1, 3 * len(labels)),
        )
    if report.shared_captions:
        console.say(
            f"{report.shared_captions} captions belong to more than one product: only one of "
            "them counts as right, so no model reaches 1."
        )
    _print_slices(report)


def _ps(labels: list[str]) -> list[str]:
    return ["p"] if len(labels) == 2 else [f"p ({label})" for label in labels[1:]]


def _metric_rows(direction: Direction, labels: list[str]) -> list[list[str]]:
    rows = []
    for metric in _shown_metrics(direction):
        scores = [direction.scores[label][metric] for label in labels]
        changes = [direction.compared[label][metric] for label in labels[1:]]
        rows.append(
            [
                metric,
                *(f"{s.mean:.3f} {s.low:.2f}..{s.high:.2f}" for s in scores),
                *(f"{c.difference:+.3f} {c.low:+.2f}..{c.high:+.2f}" for c in changes),
                *(_p(c.p) for c in changes),
            ]
        )
    medians = [direction.median_rank[label] for label in labels]
    changes_of_rank = [f"{median - medians[0]:+g}" for median in medians[1:]]
    return [
        *rows,
        ["median rank", *(f"{m:g}" for m in medians), *changes_of_rank, *("" for _ in labels[1:])],
    ]


def _shown_metrics(direction: Direction) -> list[str]:
    """Leave out recall@k where every query has one right answer: it equals hit@k."""
    first = next(iter(direction.scores.values()))
    same = all(
        scores[f"recall@{k}"].mean == scores[f"hit@{k}"].mean
        for scores in direction.scores.values()
        for k in (1, 5, 10)
    )
    return [name for name in first if not (same and name.startswith("recall"))]


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _print_slices(report: Report) -> None:
    from furnclip import console

    labels = list(report.models)
    shown = [s for s in report.slices if s.direction == "text_to_image"]
    if not shown:
        return
    console.print_table(
        "text → image by attribute (nDCG@10; p not corrected for the number of rows)",
        ["attribute", "value", "queries", *labels, *_ps(labels)],
        [
            [
                s.attribute,
                s.value,
                s.queries,
                *(f"{s.means[label]['ndcg@10']:.3f}" for label in labels),
                *(_p(p) for p in s.p.values()),
            ]
            for s in shown
        ],
        right=range(2, 3 + 2 * len(labels)),
    )
