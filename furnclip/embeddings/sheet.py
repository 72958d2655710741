"""Search results as one HTML page with pictures: a contact sheet to keep or send."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from furnclip.embeddings.search import Hit
from furnclip.page import figure, page, row
from furnclip.vectors import MasterVectors


def contact_sheet(
    results: Mapping[str, Sequence[Hit]],
    master: MasterVectors,
    *,
    query: str,
    photo: bytes | None = None,
) -> str:
    """Return a self-contained page: the query, then a row of pictures for each model label.

    ``photo`` is the query's image file, letterboxed. Raises ``DataError`` when the shards moved.
    """
    body = []
    if photo is not None:
        body += ["<h2>query photo</h2>", row([figure(photo, [])])]
    for label, hits in results.items():
        body.append(f"<h2>{escape(label)}: {len(hits)} results</h2>")
        body.append(row([figure(master.thumbnail(hit.row), caption(hit)) for hit in hits]))
    return page(f"furnclip search: {query}", body)


def caption(hit: Hit) -> list[str]:
    """Return the lines below a picture: title, attributes, rank and score."""
    attributes = [hit.color, hit.material, hit.object_type, hit.style]
    return [
        hit.clean_title or hit.title,
        ", ".join(value for value in attributes if value),
        f"{hit.rank}. {hit.product_id} · {hit.score:.3f}",
    ]
