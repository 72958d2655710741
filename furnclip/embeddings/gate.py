"""int8 vectors are let in only when they find the same products as float32 on these shards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from furnclip.embeddings.batches import image_vectors
from furnclip.embeddings.files import Shard
from furnclip.errors import DataError
from furnclip.files import write_text_atomic
from furnclip.progress import SILENT, Progress
from furnclip.shards import ShardReader

if TYPE_CHECKING:
    from furnclip.encoder import Encoder
    from furnclip.quantized import Int8Encoder

VERDICT = "int8.json"
LEAST_OVERLAP = 0.99
_SAMPLE = 512  # products; they are embedded twice


def proven_int8(
    full: Encoder,
    folder: Path,
    shards: Sequence[Shard],
    *,
    label: str,
    batch_size: int = 32,
    threads: int = 1,
    progress: Progress = SILENT,
) -> Int8Encoder:
    """Return the eight-bit encoder of ``full`` kept in ``folder``, once it has passed the gate.

    The gate: up to 512 products spread over ``shards``, each caption and each picture in float32
    as a query; the ten nearest among the int8 pictures must be 99% those among the float32 ones,
    for captions and for pictures. A verdict is kept beside the tower.
    Raises ``DataError`` with the overlap found when it is less; nothing is left behind.
    """
    from furnclip.quantized import MODEL, Int8Encoder

    low = Int8Encoder(full, folder)
    if (folder / VERDICT).is_file():
        return low
    with closing(ShardReader([shard.path for shard in shards])) as reader:
        by_words, by_photo, count = _overlaps(
            full, low, reader, batch_size=batch_size, threads=threads, progress=progress
        )
    if min(by_words, by_photo) < LEAST_OVERLAP:
        (folder / MODEL).unlink()
        raise DataError(
            f"int8 would find other products by {label}: of the ten nearest, {by_words:.1%} are "
            f"the same by words and {by_photo:.1%} by photo ({count} products of yours tried); "
            f"{LEAST_OVERLAP:.0%} are asked for",
            hint="use --precision auto",
        )
    verdict = {"words": by_words, "photo": by_photo, "products": count}
    write_text_atomic(folder / VERDICT, json.dumps(verdict, sort_keys=True) + "\n")
    return low


def _overlaps(
    full: Encoder,
    low: Int8Encoder,
    reader: ShardReader,
    *,
    batch_size: int,
    threads: int,
    progress: Progress,
) -> tuple[float, float, int]:
    from furnclip.quantized import top_overlap

    count = min(_SAMPLE, len(reader))
    rows = np.linspace(0, len(reader) - 1, count).astype(int).tolist()
    with progress.task("Trying int8", total=count, unit="images") as task:
        found = image_vectors(
            reader,
            {"full": full, "low": low},
            batch_size=batch_size,
            threads=threads,
            task=task,
            rows=rows,
        )
    texts = full.texts([reader.text(row) or str(reader.meta(row).get("title")) for row in rows])
    return (
        top_overlap(texts, found["full"], found["low"]),
        top_overlap(found["full"], found["full"], found["low"]),
        count,
    )
