"""``furnclip search``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from furnclip.cli.common import JsonOption, settings
from furnclip.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from furnclip.embeddings.search import Hit
    from furnclip.vectors import MasterVectors


def search(
    ctx: typer.Context,
    query: Annotated[str | None, typer.Argument(help='Words, such as "oak coffee table".')] = None,
    *,
    image: Annotated[Path | None, typer.Option(help="A photo; alone or with words.")] = None,
    k: Annotated[int | None, typer.Option("-k", min=1, help="Results.")] = None,
    model: Annotated[
        str | None, typer.Option(help="base, tuned or both; default: tuned when there is one.")
    ] = None,
    where: Annotated[
        str | None, typer.Option(metavar="SQL", help="Condition, such as \"color = 'Black'\".")
    ] = None,
    image_weight: Annotated[
        float | None, typer.Option(min=0, max=1, help="Weight of the photo beside words.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a contact sheet there.")] = None,
    graphics: Annotated[
        str, typer.Option(help="Pictures in the terminal: auto, kitty, sixel, cells, text.")
    ] = "auto",
    vectors: Annotated[Path | None, typer.Option(help="Folder of the vector files.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, mps.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Find products by words, by a photo, or by both."""
    from furnclip import console
    from furnclip.embeddings.session import SearchSession

    loaded = settings(
        ctx,
        search={"k": k, "image_weight": image_weight},
        paths={"embeddings_dir": vectors},
        model={"device": device},
    )
    session = SearchSession.open(loaded.paths.embeddings_dir, model=model)
    results = session.search(
        text=query,
        image=image,
        k=loaded.search.k,
        where=where,
        image_weight=loaded.search.image_weight,
        device=loaded.model.device,
    )
    if html is not None:
        session.write_sheet(html, results, text=query, image=image)
    if as_json:
        console.print_json({"query": query, "image": image, "results": results})
        return
    _print(results, session.master, graphics)
    if html is not None:
        console.result(f"contact sheet in {html}")


def _print(results: Mapping[str, Sequence[Hit]], master: MasterVectors, graphics: str) -> None:
    from furnclip import console

    for label, hits in results.items():
        if not hits:
            console.result(f"{label}: no product fulfils the condition")
            continue
        _draw(hits, master, graphics)
        console.print_table(
            label,
            ["", "score", "product", "title", "color", "material", "type"],
            [
                [
                    hit.rank,
                    f"{hit.score:.3f}",
                    hit.product_id,
                    hit.clean_title or hit.title,
                    hit.color,
                    hit.material,
                    hit.object_type,
                ]
                for hit in hits
            ],
            right=[0, 1],
        )


def _draw(hits: Sequence[Hit], master: MasterVectors, graphics: str) -> None:
    """Draw thumbnails where standard output is a terminal that can, else nothing."""
    import shutil
    import sys

    if graphics not in {"auto", "kitty", "sixel", "cells", "text"}:
        raise UsageError(
            f"--graphics {graphics}: no such protocol", hint="use auto, kitty, sixel, cells or text"
        )
    if graphics == "text" or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return
    from furnclip.images import load_image
    from furnclip.terminal import detect, draw

    images = [load_image(master.thumbnail(hit.row)).image for hit in hits]
    captions = [f"{hit.rank}. {hit.clean_title or hit.title}" for hit in hits]
    columns = shutil.get_terminal_size().columns
    content = draw(images, columns=columns, terminal=detect(graphics), captions=captions)
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()
