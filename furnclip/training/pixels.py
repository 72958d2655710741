"""From a shard's JPEGs to uint8 tensors: decoded once and held, or decoded by worker processes.

Only decoding happens here. Augmentation and normalisation run on the batch, on the model's
device, so that they do not depend on who decoded what.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from furnclip.images import load_letterboxed
from furnclip.machine import cores
from furnclip.progress import SILENT, Progress
from furnclip.shards import ShardReader
from furnclip.training.data import Rows

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import CLIPProcessor


class RowSource(Protocol):
    """Gives the images of batches of rows."""

    def stream(self, batches: Iterable[Rows]) -> Iterator[Tensor]:
        """Yield one tensor a batch, in order: uint8 pixels, or float features."""


@dataclass(frozen=True)
class Held:
    """All rows in memory."""

    rows: Tensor

    def stream(self, batches: Iterable[Rows]) -> Iterator[Tensor]:
        """Yield one tensor a batch, in order."""
        import torch

        rows = self.rows.numpy()  # picks a row in 0.04 ms, torch in 0.16 ms
        for batch in batches:
            yield torch.from_numpy(rows[batch])


@dataclass(frozen=True)
class Decoding:
    """Rows decoded when they are needed, by ``workers`` processes (0: this one).

    ``unit`` rows go to a worker at a time, so that several share one large batch.
    """

    reader: ShardReader
    size: int
    workers: int = 0
    unit: int = 64
    pin: bool = False

    def stream(self, batches: Iterable[Rows]) -> Iterator[Tensor]:
        """Yield one uint8 tensor (n, 3, size, size) a batch, in order."""
        import torch
        from torch.utils.data import DataLoader

        wanted = list(batches)
        units = [part for batch in wanted for part in self._units(batch)]
        loader: Any = DataLoader(
            cast("Any", _Decoded(self.reader, self.size)),
            batch_sampler=units,
            num_workers=self.workers,
            collate_fn=torch.stack,
            pin_memory=self.pin,
            # Its own: the loader would draw a seed from the state that dropout draws from.
            generator=torch.Generator(),
        )
        decoded = iter(loader)
        for batch in wanted:
            parts = [next(decoded) for _ in self._units(batch)]
            yield parts[0] if len(parts) == 1 else torch.cat(parts)

    def _units(self, batch: Rows) -> list[list[int]]:
        return [
            batch[start : start + self.unit].tolist() for start in range(0, len(batch), self.unit)
        ]


@dataclass(frozen=True)
class _Decoded:
    """The map-style dataset the workers run."""

    reader: ShardReader
    size: int

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, row: int) -> Tensor:
        return decoded(self.reader, row, self.size)


def decoded(reader: ShardReader, row: int, size: int) -> Tensor:
    """Return sample ``row`` as uint8 (3, size, size), letterboxed when it is not that square."""
    import torch

    image = load_letterboxed(reader.jpg(row), size, allow_truncated=True).image
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def open_pixels(
    reader: ShardReader,
    *,
    size: int,
    cache_bytes: int,
    workers: int = 0,
    pin: bool = False,
    progress: Progress = SILENT,
) -> RowSource:
    """Hold all images when they fit in ``cache_bytes``, else decode them batch by batch.

    A 224-pixel JPEG takes 0.52 ms to decode and a row 0.04 ms to pick from memory (one core). A
    CLIP of the demo's size trains a pair in 2 ms, so decoding anew would cost a quarter more.
    """
    rows = len(reader)
    if rows * 3 * size * size > cache_bytes:
        return Decoding(reader, size=size, workers=workers, pin=pin)
    return Held(_decode_all(reader, size, progress))


def _decode_all(reader: ShardReader, size: int, progress: Progress) -> Tensor:
    import torch

    rows = torch.empty((len(reader), 3, size, size), dtype=torch.uint8)

    def fill(row: int) -> None:
        rows[row] = decoded(reader, row, size)

    with (
        progress.task("decoding images", total=len(reader), unit="images") as task,
        ThreadPoolExecutor(cores()) as pool,
    ):
        for _ in pool.map(fill, range(len(reader)), chunksize=16):
            task.advance()
    return rows


def image_size(processor: CLIPProcessor) -> int:
    """Return the side in pixels the model's processor crops to."""
    crop: Any = processor.image_processor.crop_size
    return int(crop["height"])


def channel_statistics(processor: CLIPProcessor) -> tuple[Sequence[float], Sequence[float]]:
    """Return the mean and standard deviation the model expects its pixels normalised with."""
    images: Any = processor.image_processor
    return images.image_mean, images.image_std
