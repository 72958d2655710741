"""How good a model is on a held-out split: the whole gallery, both directions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from furnclip.metrics import (
    RetrievalMetrics,
    bootstrap_interval,
    paired_bootstrap_p,
    retrieval_metrics,
)
from furnclip.training.data import PairTable, Rows, trimmed
from furnclip.training.pixels import Held, RowSource
from furnclip.training.towers import Inputs, Towers

if TYPE_CHECKING:
    from torch import Tensor

SELECTED_BY = "text_to_image.ndcg@10"  # early stopping and the merge go by this metric


@dataclass(frozen=True)
class Split:
    """A split with its images; ``pooled_text`` stands in for the ids when the tower is frozen."""

    table: PairTable
    images: RowSource
    pooled_text: Tensor | None = None

    def __len__(self) -> int:
        return len(self.table)

    def text(self, rows: Rows) -> Tensor:
        """Return the text side of some rows: pooled features, or ids without needless padding."""
        import torch

        picked = torch.from_numpy(rows)
        if self.pooled_text is not None:
            return self.pooled_text[picked]
        return trimmed(self.table.ids[picked], self.table.lengths[picked])


def pooled(split: Split, towers: Towers, *, batch_size: int, images: bool, text: bool) -> Split:
    """Replace inputs by the pooled features of frozen towers, computed once.

    ``images`` is only sound when nothing augments them.
    """
    import torch

    towers.eval()
    if text:
        parts = _each(split, towers, batch_size, lambda inputs: inputs.text, images=False)
        split = Split(split.table, split.images, torch.cat(parts).cpu())
    if images:
        parts = _each(split, towers, batch_size, lambda inputs: inputs.image, images=True)
        split = Split(split.table, Held(torch.cat(parts).cpu()), split.pooled_text)
    return split


def _each(
    split: Split,
    towers: Towers,
    batch_size: int,
    take: Callable[[Inputs], Tensor],
    *,
    images: bool,
) -> list[Tensor]:
    """Run the frozen towers over a split in order; the other side is left out of the work."""
    import torch

    batches = _in_order(len(split), batch_size)
    streams = split.images.stream(batches) if images else iter([None] * len(batches))
    parts: list[Tensor] = []
    for rows, pixels in zip(batches, streams, strict=True):
        blank = torch.zeros((len(rows), 1))
        side = Inputs(
            blank if pixels is None else pixels.to(towers.device),
            blank if images else split.text(rows).to(towers.device),
        )
        part = take(towers.pool_frozen(side, micro_batch_size=batch_size))
        parts.append(part if part.dtype == torch.float64 else part.float())
    return parts


def evaluate(split: Split, towers: Towers, *, batch_size: int) -> dict[str, float]:
    """Return the retrieval metrics of both directions, named ``text_to_image.hit@1`` and so on.

    Right answers are the images (texts) of the same product.
    """
    return measure(split, towers, batch_size=batch_size).metrics


@dataclass(frozen=True)
class Measured:
    """Metrics by name, and of each query those that are means over queries."""

    metrics: dict[str, float]
    per_query: dict[str, np.ndarray]


def measure(split: Split, towers: Towers, *, batch_size: int) -> Measured:
    """Do as ``evaluate`` and keep the value of every query, for intervals and tests."""
    image, text = embed(split, towers, batch_size=batch_size)
    groups = split.table.groups
    forward = retrieval_metrics(text, image, query_groups=groups, gallery_groups=groups)
    backward = retrieval_metrics(image, text, query_groups=groups, gallery_groups=groups)
    both = {"text_to_image": forward, "image_to_text": backward}
    return Measured(
        {k: v for name, found in both.items() for k, v in _named(found, name).items()},
        {
            f"{name}.{metric}": values
            for name, found in both.items()
            for metric, values in found.per_query.items()
            if metric != "rank"
        },
    )


def intervals(measured: Measured) -> dict[str, list[float]]:
    """Return the 95% bootstrap interval of every mean, as (low, high)."""
    return {name: list(bootstrap_interval(values)) for name, values in measured.per_query.items()}


def compared(base: Measured, tuned: Measured) -> dict[str, dict[str, float]]:
    """Return ``difference`` with its interval and the paired bootstrap's ``p``, by metric."""
    found = {}
    for name, before in base.per_query.items():
        gain = tuned.per_query[name] - before
        low, high = bootstrap_interval(gain)
        p = paired_bootstrap_p(before, tuned.per_query[name], samples=2000)
        found[name] = {"difference": float(gain.mean()), "low": low, "high": high, "p": p}
    return found


def embed(split: Split, towers: Towers, *, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the normalised image and text vectors of a split, (n, d) float32 each."""
    import torch
    from torch.nn import functional

    towers.eval()
    batches = _in_order(len(split), batch_size)
    sides: tuple[list[Tensor], list[Tensor]] = ([], [])
    with torch.no_grad():
        for rows, pixels in zip(batches, split.images.stream(batches), strict=True):
            inputs = Inputs(pixels.to(towers.device), split.text(rows).to(towers.device))
            for side, features in zip(sides, towers.encode(inputs), strict=True):
                side.append(functional.normalize(features.float(), dim=-1).cpu())
    image, text = (torch.cat(side).numpy() for side in sides)
    return image, text


def _in_order(rows: int, batch_size: int) -> list[Rows]:
    return [np.arange(start, min(start + batch_size, rows)) for start in range(0, rows, batch_size)]


def _named(metrics: RetrievalMetrics, direction: str) -> dict[str, float]:
    low, high = bootstrap_interval(metrics.per_query["hit@1"])
    values = {
        **{f"hit@{k}": value for k, value in metrics.hit_at.items()},
        **{f"recall@{k}": value for k, value in metrics.recall_at.items()},
        "hit@1_low": low,
        "hit@1_high": high,
        "mrr": metrics.mrr,
        "ndcg@10": metrics.ndcg_at_10,
        "map": metrics.map,
        "median_rank": metrics.median_rank,
        "gallery_size": float(metrics.gallery_size),
    }
    return {f"{direction}.{name}": value for name, value in values.items()}
