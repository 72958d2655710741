"""Embedding images, texts or a whole catalogue with models you have at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from furnclip.embeddings.catalogue import EmbedResult, embed_catalogue
from furnclip.vectors import fixed_size_list, write_table

if TYPE_CHECKING:
    from furnclip.encoder import Encoder

__all__ = ["EmbedResult", "EmbeddingGenerator", "embed_catalogue"]

Float32 = npt.NDArray[np.float32]


class EmbeddingGenerator:
    """Embeds with any ``CLIPModel`` and ``CLIPProcessor``; for use by one thread at a time.

    ``batch_size`` images or texts go through the model at once; ``precision`` is auto, fp32,
    bf16 or fp16.
    """

    def __init__(self, *, batch_size: int = 32, precision: str = "auto") -> None:
        self.batch_size = batch_size
        self.precision = precision

    def generate_image_embeddings(
        self,
        *,
        model: Any,
        processor: Any,
        image_paths: Sequence[str | Path],
        embedding_save_path: str | Path | None = None,
    ) -> Float32:
        """Embed image files into (n, dim) float32 of unit length, on the model's own device.

        With ``embedding_save_path`` a parquet of ``path`` and ``embedding`` (float16) is written.
        Raises ``ImageError`` naming the first file that cannot be used.
        """
        from furnclip.images import load_letterboxed

        encoder = self._encoder(model, processor)
        vectors = np.empty((len(image_paths), encoder.dim), dtype=np.float32)
        for start in range(0, len(image_paths), self.batch_size):
            paths = [Path(path) for path in image_paths[start : start + self.batch_size]]
            images = [load_letterboxed(path, encoder.image_size).image for path in paths]
            vectors[start : start + len(paths)] = encoder.images(images)
        if embedding_save_path is not None:
            names = [str(path) for path in image_paths]
            _save(Path(embedding_save_path), "path", names, vectors)
        return vectors

    def generate_text_embeddings(
        self,
        *,
        model: Any,
        processor: Any,
        texts: Sequence[str],
        embedding_save_path: str | Path | None = None,
    ) -> Float32:
        """Embed texts into (n, dim) float32 of unit length, on the model's own device.

        With ``embedding_save_path`` a parquet of ``text`` and ``embedding`` (float16) is written.
        """
        vectors = self._encoder(model, processor).texts(texts, batch_size=self.batch_size)
        if embedding_save_path is not None:
            _save(Path(embedding_save_path), "text", list(texts), vectors)
        return vectors

    def generate_all_embeddings(
        self,
        *,
        models: Mapping[str, str | Path],
        shards_dir: str | Path,
        embeddings_dir: str | Path,
        device: str = "auto",
    ) -> EmbedResult:
        """Embed all shards with each of ``models`` (label to folder or hub id), resumably.

        Writes ``embeddings_dir/master.parquet``, which search, evaluation and the arena read.
        """
        return embed_catalogue(
            models,
            shards_dir=Path(shards_dir),
            out=Path(embeddings_dir),
            batch_size=self.batch_size,
            precision=self.precision,
            device=device,
        )

    def _encoder(self, model: Any, processor: Any) -> Encoder:
        from furnclip.encoder import Encoder

        return Encoder.from_modules(model, processor, precision=self.precision)


def _save(path: Path, column: str, names: Sequence[str], vectors: Float32) -> None:
    table = pa.table({column: pa.array(names, pa.string()), "embedding": fixed_size_list(vectors)})
    write_table(path, [table], {"dim": vectors.shape[1]})
