"""One search from start to end: open the vectors, embed the query by each model, rank, show.

Only what the query needs is loaded: the image vectors of the chosen models, and the models
themselves after the cheap checks have passed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from furnclip.embeddings.search import (
    Hit,
    load_query_encoder,
    query_vector,
    rows_where,
    search,
)
from furnclip.errors import DataError, UsageError
from furnclip.files import write_text_atomic, writing_in
from furnclip.vectors import MASTER, MasterVectors, read_master, read_models


@dataclass(frozen=True)
class SearchSession:
    """The vectors of the chosen models."""

    master: MasterVectors

    @classmethod
    def open(cls, embeddings_dir: Path, *, model: str | None = None) -> SearchSession:
        """Open the master table; ``model`` is a label, ``both``, or None for tuned, else base.

        Raises ``DataError`` when there are no such vectors.
        """
        path = embeddings_dir / MASTER
        models = read_models(path)
        if model == "both":
            labels = list(models)
            if len(labels) < 2:
                raise DataError(
                    f"{path} has vectors of {labels[0]!r} only",
                    hint="train with `furnclip train`, then run `furnclip embed`",
                )
        else:
            labels = [model or ("tuned" if "tuned" in models else next(iter(models)))]
        return cls(read_master(path, labels=labels, kinds=["image"]))

    def search(
        self,
        *,
        text: str | None = None,
        image: Path | None = None,
        k: int = 10,
        where: str | None = None,
        image_weight: float = 0.5,
        device: str = "auto",
    ) -> dict[str, list[Hit]]:
        """Return the k best products of each model, by label.

        Raises ``UsageError`` without a query or for a bad condition, ``ImageError`` for a bad
        photo, ``DataError`` when a model has changed since its vectors were made.
        """
        if image is None and not (text and text.strip()):
            raise UsageError(
                "nothing to search for",
                hint='give words or --image: furnclip search "black chair"',
            )
        allowed = None if where is None else rows_where(self.master, where)
        results = {}
        for label, info in self.master.models.items():
            encoder = load_query_encoder(info, device=device, label=label)
            vector = query_vector(encoder, text=text, image=image, image_weight=image_weight)
            results[label] = search(self.master, vector, label=label, k=k, allowed=allowed)
        return results

    def write_sheet(
        self,
        path: Path,
        results: Mapping[str, Sequence[Hit]],
        *,
        text: str | None = None,
        image: Path | None = None,
    ) -> None:
        """Write the results as a self-contained HTML page."""
        from furnclip.embeddings.sheet import contact_sheet

        photo = None
        if image is not None:
            from furnclip.images import encode_jpeg, load_letterboxed

            photo = encode_jpeg(load_letterboxed(image, 224).image, quality=90)
        name = " + ".join(part for part in (text, image.name if image else None) if part)
        with writing_in(path):
            write_text_atomic(path, contact_sheet(results, self.master, query=name, photo=photo))
