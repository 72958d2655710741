"""Semantic search: a text, a photo or both in, the nearest products out.

Exact over all product images, in float32; a product with several photos is listed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from furnclip.errors import DataError, UsageError
from furnclip.vectors import TEXT_COLUMNS, MasterVectors, ModelInfo

if TYPE_CHECKING:
    from PIL import Image

Float32 = npt.NDArray[np.float32]


class QueryEncoder(Protocol):
    """What search needs of a model."""

    image_size: int

    def texts(self, texts: Sequence[str]) -> Float32:
        """Embed texts into (n, dim) float32 of unit length."""

    def images(self, images: Sequence[Image.Image]) -> Float32:
        """Embed images into (n, dim) float32 of unit length."""


@dataclass(frozen=True)
class Hit:
    """One product found; ``row`` is its row in the master table, ``score`` the cosine."""

    rank: int
    score: float
    row: int
    key: str
    product_id: str
    title: str
    clean_title: str
    object_type: str
    style: str
    color: str
    material: str
    split: str


def query_vector(
    encoder: QueryEncoder,
    *,
    text: str | None = None,
    image: Path | None = None,
    image_weight: float = 0.5,
) -> Float32:
    """Embed a query into (dim,) float32 of unit length.

    With both, the unit vectors are added with weights ``1 - image_weight`` and ``image_weight``.
    Raises ``ValueError`` when there is neither, ``ImageError`` for a photo that cannot be read.
    """
    parts = []
    if text is not None and text.strip():
        parts.append((1 - image_weight if image else 1.0) * encoder.texts([text])[0])
    if image is not None:
        from furnclip.images import load_letterboxed

        square = load_letterboxed(image, encoder.image_size).image
        parts.append((image_weight if parts else 1.0) * encoder.images([square])[0])
    if not parts:
        raise ValueError("neither text nor image")
    total = np.sum(parts, axis=0, dtype=np.float32)
    return np.asarray(total / max(float(np.linalg.norm(total)), 1e-12), dtype=np.float32)


def rows_where(master: MasterVectors, condition: str) -> npt.NDArray[np.bool_]:
    """Return which products fulfil an SQL condition on the master table's text columns.

    DuckDB evaluates it on a copy in memory that can reach no file and no network.
    Raises ``UsageError`` with the columns there are when it cannot.
    """
    import duckdb

    columns = [name for name in TEXT_COLUMNS if name in master.table.column_names]
    query = f"SELECT coalesce(({condition}\n)::BOOLEAN, false) AS wanted FROM products"  # noqa: S608
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET preserve_insertion_order = true")
        connection.register("products", master.table.select(columns))
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        try:
            if len(connection.extract_statements(query)) != 1:
                raise UsageError(f"--where {condition!r} is more than one condition")
            wanted = connection.execute(query).fetchnumpy()["wanted"]
        except duckdb.Error as error:
            raise UsageError(
                f"--where {condition!r}: {str(error).splitlines()[0]}",
                hint=f"write an SQL condition such as \"color = 'Black'\" on {', '.join(columns)}",
            ) from error
    if len(wanted) != len(master):
        raise UsageError(f"--where {condition!r} is not a condition on single products")
    return np.asarray(wanted, dtype=bool)


def search(
    master: MasterVectors,
    query: Float32,
    *,
    label: str,
    k: int = 10,
    allowed: npt.NDArray[np.bool_] | None = None,
) -> list[Hit]:
    """Return the k products whose images are nearest to ``query`` (dim,) by one model."""
    products = master.table.column("product_id")
    reachable = len(master) if allowed is None else int(np.count_nonzero(allowed))
    width = k
    while True:
        width = min(2 * width, reachable)
        indices, scores = master.nearest(query[None], width, label=label, allowed=allowed)
        best: dict[str, tuple[int, float]] = {}
        for row, score in zip(indices[0].tolist(), scores[0].tolist(), strict=True):
            best.setdefault(products[row].as_py(), (row, score))
        if len(best) >= k or width == reachable:
            break
    return [
        _hit(master, rank, row, score)
        for rank, (row, score) in enumerate(list(best.values())[:k], start=1)
    ]


def _hit(master: MasterVectors, rank: int, row: int, score: float) -> Hit:
    names = (
        "key", "product_id", "title", "clean_title", "object_type", "style", "color", "material",
        "split",
    )  # fmt: skip
    values = {name: str(master.table.column(name)[row].as_py() or "") for name in names}
    return Hit(rank=rank, score=round(score, 6), row=row, **values)


def load_query_encoder(
    info: ModelInfo, *, device: str = "auto", label: str = "model"
) -> QueryEncoder:
    """Load the model that made the vectors of ``info``, in numpy where that is possible.

    Raises ``DataError`` when it is gone, or is no longer the model that made them.
    """
    from furnclip import query_encoder
    from furnclip.model_files import locate, model_sha

    try:
        sha = model_sha(info.spec)
    except DataError as error:
        raise DataError(
            f"the model of the vectors ({label}) cannot be used: {error.message}",
            hint="put it back, or run `furnclip embed` with another",
        ) from error
    check_identity(sha, info, label=label)
    light = query_encoder.QueryEncoder.open(locate(info.spec))
    if light is not None:
        return light
    from furnclip.encoder import Encoder

    return Encoder.load(info.spec, device=device, precision="fp32")


def check_identity(sha: str, info: ModelInfo, *, label: str) -> None:
    """Refuse to compare a query with vectors of another model."""
    if sha != info.sha:
        raise DataError(
            f"the model {info.spec} has changed since its vectors ({label}) were made",
            hint="run `furnclip embed` again",
        )
