"""From shards to vectors: pictures decoded ahead by threads, each once for all models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Protocol

import numpy as np
import numpy.typing as npt

from furnclip.embeddings.files import Samples
from furnclip.errors import DataError, ImageError
from furnclip.images import load_letterboxed
from furnclip.progress import Task
from furnclip.shards import ShardReader

Float32 = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]
_AHEAD = 3  # batches decoded while one is embedded


class CatalogueEncoder(Protocol):
    """What embedding a catalogue needs of a model."""

    dim: int
    image_size: int
    device: str
    precision: str

    def pixels(self, pixels: UInt8) -> Float32:
        """Embed decoded squares (n, size, size, 3) into (n, dim) float32 of unit length."""

    def texts(self, texts: Sequence[str]) -> Float32:
        """Embed texts into (n, dim) float32 of unit length."""


def image_vectors(
    reader: ShardReader,
    encoders: Mapping[str, CatalogueEncoder],
    *,
    batch_size: int,
    threads: int,
    task: Task,
    rows: Sequence[int] | None = None,
) -> dict[str, Float32]:
    """Embed the pictures of ``rows`` (default: all) by each encoder, (n, dim) float32 by label."""
    rows = range(len(reader)) if rows is None else rows
    vectors = {
        label: np.empty((len(rows), encoder.dim), dtype=np.float32)
        for label, encoder in encoders.items()
    }
    on_gpu = any(encoder.device != "cpu" for encoder in encoders.values())
    step = batch_size * 8 if on_gpu else batch_size
    sizes = sorted({encoder.image_size for encoder in encoders.values()})
    parts = [rows[start : start + step] for start in range(0, len(rows), step)]
    with ThreadPoolExecutor(threads) as pool:
        done = 0
        for batch in _decoded_batches(reader, pool, parts, sizes):
            place = slice(done, done + len(batch[sizes[0]]))
            for label, encoder in encoders.items():
                vectors[label][place] = encoder.pixels(batch[encoder.image_size])
            task.advance(place.stop - done)
            done = place.stop
    return vectors


def _decoded_batches(
    reader: ShardReader,
    pool: ThreadPoolExecutor,
    parts: Sequence[Sequence[int]],
    sizes: Sequence[int],
) -> Iterator[dict[int, UInt8]]:
    """Yield batches of squares by size in order, with the next few already being decoded."""

    def submit(rows: Sequence[int]) -> list[Future[list[UInt8]]]:
        return [pool.submit(_decode, reader, row, sizes) for row in rows]

    waiting = iter(parts)
    queue = [submit(rows) for rows in islice(waiting, _AHEAD)]
    while queue:
        decoded = [future.result() for future in queue.pop(0)]
        queue += [submit(rows) for rows in islice(waiting, 1)]
        yield {
            size: np.stack([squares[place] for squares in decoded])
            for place, size in enumerate(sizes)
        }


def _decode(reader: ShardReader, row: int, sizes: Sequence[int]) -> list[UInt8]:
    try:
        content = reader.jpg(row)
        return [np.asarray(load_letterboxed(content, size).pixels) for size in sizes]
    except ImageError as error:
        ref = reader.ref(row)
        raise DataError(
            f"{ref.shard}: cannot decode the image of {ref.key}: {error.reason}",
            hint="check the shards with `furnclip shard verify`",
        ) from error


def text_vectors(encoder: CatalogueEncoder, samples: Samples) -> Float32:
    """Embed each distinct caption once."""
    place: dict[str, int] = {}
    rows = [place.setdefault(caption, len(place)) for caption in samples.captions]
    return encoder.texts(list(place))[rows]
