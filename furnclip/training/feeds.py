"""Where a step's pairs come from: rows of local shards in an exact order, or a remote stream."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from furnclip.training.checkpoint import Position
from furnclip.training.data import (
    epoch_batches,
    position_seed,
    rank_sizes,
    steps_per_epoch,
    text_hash,
    tokenised,
    trimmed,
)
from furnclip.training.distributed import World
from furnclip.training.loss import positive_pairs
from furnclip.training.remote import RemoteTrain
from furnclip.training.towers import Inputs, Towers
from furnclip.training.validation import Split

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import CLIPProcessor

Batch = tuple[Inputs, "Tensor | None"]
_log = logging.getLogger(__name__)


class Feed(Protocol):
    """The training split as steps."""

    def __len__(self) -> int:
        """Return the pairs of an epoch."""

    def batches(self, position: Position) -> Iterator[Batch]:
        """Yield the rest of an epoch: this rank's pairs, and the positives among all ranks'."""


@dataclass(frozen=True)
class LocalFeed:
    """Every row once an epoch, in an order that (seed, epoch) alone decides."""

    split: Split
    towers: Towers
    world: World
    batch_size: int
    seed: int

    def __len__(self) -> int:
        return len(self.split)

    def batches(self, position: Position) -> Iterator[Batch]:
        """Yield the rest of an epoch: this rank's pairs, and the positives among all ranks'."""
        order = epoch_batches(
            len(self.split), self.batch_size, seed=self.seed, epoch=position.epoch
        )[position.step_in_epoch :]
        shares = [rank_sizes(len(rows), self.world.size) for rows in order]
        starts = [sum(sizes[: self.world.rank]) for sizes in shares]
        own = [
            rows[start : start + sizes[self.world.rank]]
            for rows, sizes, start in zip(order, shares, starts, strict=True)
        ]
        streams = zip(order, shares, starts, own, self.split.images.stream(own), strict=True)
        for index, (rows, sizes, start, mine, image) in enumerate(streams, position.step_in_epoch):
            self.world.sizes = sizes
            place = (self.seed, position.epoch, index)
            yield (
                Inputs(
                    _moved(image, self.towers),
                    _moved(self.split.text(mine), self.towers),
                    _draws(self.towers, len(rows), slice(start, start + len(mine)), place),
                ),
                self._positives(rows),
            )

    def _positives(self, rows: np.ndarray) -> Tensor | None:
        import torch

        picked = torch.from_numpy(rows)
        table = self.split.table
        positives = positive_pairs(table.products[picked], table.captions[picked])
        return None if positives is None else _moved(positives, self.towers)


@dataclass(frozen=True)
class RemoteFeed:
    """As many pairs as the split has, drawn shard by shard with replacement.

    Best effort: a run that goes on in mid-epoch goes on with other pairs, and two runs differ.
    """

    train: RemoteTrain
    towers: Towers
    processor: CLIPProcessor
    world: World
    batch_size: int
    seed: int
    workers: int

    def __len__(self) -> int:
        return len(self.train)

    def batches(self, position: Position) -> Iterator[Batch]:
        """Yield the rest of an epoch: this rank's pairs, and the positives among all ranks'."""
        from furnclip.training.streaming import stream_samples

        if position.step_in_epoch:
            _log.warning("remote shards: the rest of epoch %d is drawn anew", position.epoch)
        sizes = rank_sizes(self.batch_size, self.world.size)
        place = (self.seed, position.epoch, position.step_in_epoch, self.world.rank)
        batches = stream_samples(
            self.train.urls,
            self.processor,
            batch_size=sizes[self.world.rank],
            workers=self.workers,
            seed=position_seed(*place) % 2**31,
            shuffled=True,
        )
        steps = range(position.step_in_epoch, steps_per_epoch(len(self), self.batch_size))
        for index, samples in zip(steps, batches, strict=False):
            self.world.sizes = sizes
            yield self._batch(samples, (self.seed, position.epoch, index))

    def _batch(self, samples: list[Any], place: tuple[int, int, int]) -> Batch:
        import torch

        pixels, texts, products = zip(*samples, strict=True)
        length = self.towers.clip.config.text_config.max_position_embeddings
        ids, lengths = tokenised(texts, self.processor, max_length=length)
        hashes = torch.tensor(
            [[text_hash(name) for name in names] for names in (products, texts)]
        ).T.contiguous()
        every = self.world.gather_rows(_moved(hashes, self.towers)).cpu()
        positives = positive_pairs(every[:, 0], every[:, 1])
        start = sum(self.world.sizes[: self.world.rank])
        inputs = Inputs(
            _moved(torch.stack(pixels), self.towers),
            _moved(trimmed(ids, lengths), self.towers),
            _draws(self.towers, len(every), slice(start, start + len(samples)), place),
        )
        return inputs, None if positives is None else _moved(positives, self.towers)


def _moved(values: Tensor, towers: Towers) -> Tensor:
    """Copy to the model's device; pinned first, or the copy would wait for the step before."""
    if towers.device.type == "cuda" and not values.is_pinned():
        values = values.pin_memory()
    return values.to(towers.device, non_blocking=True)


def _draws(
    towers: Towers, rows: int, mine: slice, place: tuple[int, int, int]
) -> torch.Tensor | None:
    """Draw the augmentation for the pairs of all ranks, and take this one's."""
    import torch

    draws = towers.transform.draw(rows, torch.Generator().manual_seed(position_seed(*place)))
    return None if draws is None else _moved(draws[mine], towers)
