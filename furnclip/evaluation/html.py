"""The evaluation as one HTML page: the tables, and the best and worst queries as pictures."""

from __future__ import annotations

from html import escape

import numpy as np

from furnclip.evaluation.compare import MEANS, Direction, Report, per_query
from furnclip.page import figure, page, row, table
from furnclip.vectors import MasterVectors, top_k

_SHOWN = 8  # queries of each kind
_NAMES = {"text_to_image": "text → image", "image_to_text": "image → text"}


def report_page(report: Report, master: MasterVectors) -> str:
    """Return a self-contained page.

    The pictures are of text → image queries: those the last model gained and lost most ranks on
    against the first, each with both models' first five answers; right ones are outlined.
    """
    body = [f"<p>Split {escape(report.split)}, {report.products} products.</p>"]
    for name, direction in report.directions.items():
        body.append(f"<h2>{_NAMES[name]}</h2>")
        body.append(_metrics(direction))
    body += _slices(report)
    body += _queries(report, master)
    return page(f"furnclip eval: {' against '.join(report.models)}", body)


def _metrics(direction: Direction) -> str:
    labels = list(direction.scores)
    rows: list[list[str]] = []
    for metric in MEANS:
        scores = [direction.scores[label][metric] for label in labels]
        compared = [direction.compared[label][metric] for label in labels[1:]]
        rows.append(
            [
                metric,
                *(f"{s.mean:.3f} [{s.low:.3f}, {s.high:.3f}]" for s in scores),
                *(f"{c.difference:+.3f} [{c.low:+.3f}, {c.high:+.3f}]" for c in compared),
                *(_p(c.p) for c in compared),
            ]
        )
    medians = [f"{direction.median_rank[label]:g}" for label in labels]
    rows.append(["median rank", *medians, *("" for _ in labels[1:] for _ in range(2))])
    changes = [f"{label} - {labels[0]}" for label in labels[1:]]
    changes += [f"p ({label})" for label in labels[1:]]
    note = f"<p>{direction.queries} queries, gallery of {direction.gallery_size}.</p>"
    return note + table(["metric", *labels, *changes], rows)


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _slices(report: Report) -> list[str]:
    labels = list(report.models)
    rows = [
        [
            _NAMES[s.direction],
            s.attribute,
            s.value,
            s.queries,
            *(f"{s.means[label]['ndcg@10']:.3f}" for label in labels),
            *(_p(p) for p in s.p.values()),
        ]
        for s in report.slices
    ]
    if not rows:
        return []
    ps = [f"p ({label})" for label in labels[1:]]
    head = ["direction", "attribute", "value", "queries", *labels, *ps]
    return ["<h2>By attribute, nDCG@10 (p not corrected)</h2>", table(head, rows)]


def _queries(report: Report, master: MasterVectors) -> list[str]:
    labels = list(report.models)
    ranks = {}
    for label in (labels[0], labels[-1]):
        rows, metrics = per_query(
            master, split=report.split, direction="text_to_image", label=label
        )
        ranks[label] = metrics.per_query["rank"]
    first, last = ranks[labels[0]], ranks[labels[-1]]
    if len(labels) == 1:
        gain, names = -last, ("Best queries", "Worst queries")
    else:
        gain = np.log(first) - np.log(last)
        names = (f"{labels[-1]} gains most", f"{labels[-1]} loses most")
    order = np.argsort(-gain, kind="stable")
    body = []
    for name, chosen in zip(names, (order[:_SHOWN], order[::-1][:_SHOWN]), strict=True):
        body.append(f"<h2>{escape(name)}</h2>")
        for place in chosen.tolist():
            body += _query(
                report, master, int(rows[place]), {k: r[place] for k, r in ranks.items()}
            )
    return body


def _query(report: Report, master: MasterVectors, query: int, ranks: dict[str, float]) -> list[str]:
    product = master.row(query)
    found = ", ".join(f"{label} rank {rank:g}" for label, rank in ranks.items())
    body = [f"<p><b>{escape(product['caption'])}</b> <span class=dim>{escape(found)}</span></p>"]
    allowed = np.array([name == report.split for name in master.column("split")])
    for label in ranks:
        text = master.vectors(label, "text")[query][None]
        indices, scores = top_k(text, master.vectors(label, "image"), 5, allowed=allowed)
        body.append(f"<p class=dim>{escape(label)}</p>")
        body.append(
            row(
                [
                    _answer(master, index, score, product["product_id"])
                    for index, score in zip(indices[0].tolist(), scores[0].tolist(), strict=True)
                ]
            )
        )
    return body


def _answer(master: MasterVectors, index: int, score: float, wanted: str) -> str:
    found = master.row(index)
    lines = [found["clean_title"] or found["title"], f"{found['product_id']} · {score:.3f}"]
    return figure(master.thumbnail(index), lines, right=found["product_id"] == wanted)
