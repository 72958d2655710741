"""One self-contained HTML page: style inside, pictures as data, no script, nothing fetched."""

import base64
from collections.abc import Sequence
from html import escape

_STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem;
       padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; } td, th { padding: .25rem .8rem .25rem 0;
       border-bottom: 1px solid var(--line); text-align: left; font-variant-numeric: tabular-nums; }
.row { display: flex; flex-wrap: wrap; gap: 1rem; margin: .8rem 0; }
figure { margin: 0; width: 11rem; } figure.right img { outline: 3px solid #2a9d4a; }
figure img { width: 11rem; height: 11rem; object-fit: contain; background: #fff;
       border: 1px solid var(--line); border-radius: 6px; }
figcaption { font-size: .85rem; overflow-wrap: anywhere; } .dim { opacity: .65; }
"""


def page(title: str, body: Sequence[str]) -> str:
    """Return a whole document; ``title`` is escaped, ``body`` is HTML already."""
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(title)}</h1>",
            *body,
            "</body></html>\n",
        ]
    )


def figure(image: bytes, lines: Sequence[str], *, right: bool = False) -> str:
    """Return a picture (encoded image file) with text lines below; ``right`` outlines it."""
    kind = "png" if image.startswith(b"\x89PNG") else "jpeg"
    kind = "webp" if image.startswith(b"RIFF") else kind
    data = base64.b64encode(image).decode()
    text = "<br>".join(
        f'<span class="{"dim" if place else ""}">{escape(line)}</span>'
        for place, line in enumerate(lines)
        if line
    )
    return (
        f'<figure class="{"right" if right else ""}">'
        f'<img alt="{escape(lines[0] if lines else "", quote=True)}" '
        f'src="data:image/{kind};base64,{data}"><figcaption>{text}</figcaption></figure>'
    )


def row(figures: Sequence[str]) -> str:
    """Return figures side by side."""
    return f'<div class="row">{"".join(figures)}</div>'


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table; every cell is escaped."""
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in cells) + "</tr>"
        for cells in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
