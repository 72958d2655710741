"""One static HTML page that shows photo, raw title and cleaned fields of every row.

The photos are embedded as small JPEGs, so the file can be sent to somebody; there is no outside
reference and everything from the catalogue is escaped.
"""

import base64
import html
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from itertools import islice
from pathlib import Path
from string import Template

from furnclip.cleaning.finalize import check_output
from furnclip.errors import ImageError
from furnclip.files import atomic_path, writing_in
from furnclip.image_paths import resolve_image
from furnclip.images import encode_jpeg, load_letterboxed
from furnclip.progress import SILENT, Progress
from furnclip.state import StateStore
from furnclip.state.cleaning import RowResult, RunRow, row_results

_THUMBNAIL = 128
_QUALITY = 80
_FIELDS = ("object_type", "color", "material", "style")


def write_page(
    store: StateStore, run: RunRow, output: Path, *, limit: int, progress: Progress = SILENT
) -> int:
    """Write the page, rows without an answer first, then in input order; returns the rows shown."""
    check_output(run, output)
    results = sorted(row_results(store, run.run), key=lambda row: row.status == "ok")
    shown = list(islice(results, limit))
    page = Template((files("furnclip.cleaning") / "data" / "inspect.html").read_text("utf-8"))
    counts = {
        "failed": sum(row.status != "ok" for row in shown),
        "changed": sum(_changed(row) for row in shown),
    }
    head, _, tail = page.substitute(
        title=html.escape(run.csv.name), run=run.run, total=len(shown), **counts
    ).partition("<!--rows-->")
    with (
        writing_in(output),
        atomic_path(output) as temporary,
        temporary.open("w", encoding="utf-8") as file,
    ):
        file.write(head)
        with progress.task("Drawing", total=len(shown), unit="rows") as task:
            for text in _rows(run.image_root, shown):
                file.write(text)
                task.advance()
        file.write(tail)
    return len(shown)


def _rows(root: Path, shown: list[RowResult]) -> Iterator[str]:
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        thumbnails = pool.map(lambda row: _thumbnail(root, row.image), shown)
        for row, thumbnail in zip(shown, thumbnails, strict=True):
            yield _row(row, thumbnail)


def _thumbnail(root: Path, image: str) -> str:
    try:
        loaded = load_letterboxed(resolve_image(root, image), _THUMBNAIL)
    except ImageError as error:
        return f'<div class="none">{html.escape(error.reason)}</div>'
    encoded = base64.b64encode(encode_jpeg(loaded.image, quality=_QUALITY)).decode("ascii")
    return f'<img loading="lazy" alt="" src="data:image/jpeg;base64,{encoded}">'


def _row(row: RowResult, thumbnail: str) -> str:
    kinds = [row.status, *(["changed"] if _changed(row) else [])]
    fields = "".join(
        f"<dt>{name.replace('_', ' ')}</dt><dd>{html.escape(getattr(row, name) or '–')}</dd>"  # noqa: RUF001
        for name in _FIELDS
    )
    error = f'<p class="error">{html.escape(row.error)}</p>' if row.error else ""
    return (
        f'<article class="{" ".join(kinds)}"><span class="number">{row.number}</span>{thumbnail}'
        f'<div><p class="raw">{html.escape(row.title)}</p>'
        f'<p class="clean">{html.escape(row.clean_title or row.status)}</p>{error}</div>'
        f"<dl>{fields}</dl></article>\n"
    )


def _changed(row: RowResult) -> bool:
    return row.clean_title is not None and row.clean_title.casefold() != row.title.casefold()
