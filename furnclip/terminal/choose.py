"""Which way of drawing a terminal gets: an ordered list of rules, first match wins.

The order was measured on real terminals: an ``OK`` to a kitty query proves nothing (kitty 0.26
says it and shows boxes), tmux claims sixel whatever is outside, and Konsole's kitty support is
worse than its sixel. So names decide, then DA1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from furnclip.errors import UsageError
from furnclip.terminal.probe import Replies

Graphics = Literal["kitty", "sixel", "cells", "text"]
Depth = Literal["truecolor", "256", "ascii"]
FALLBACK_CELL = (10, 20)
_GRAPHICS: Mapping[str, Graphics] = {
    "kitty": "kitty", "sixel": "sixel", "cells": "cells", "text": "text"
}  # fmt: skip
_TRUE_COLOR = (
    "XTerm", "kitty", "ghostty", "foot", "WezTerm", "Konsole", "iTerm2", "VTE", "mintty", "contour"
)  # fmt: skip
_SIXEL = ("XTerm", "foot", "WezTerm", "Konsole", "iTerm2", "mintty", "contour")
_TMUX_PASSTHROUGH = "tmux set -g allow-passthrough on"
_OTHER_TERMINAL = "use kitty (0.28 or newer), ghostty, foot or xterm -ti vt340"
_LEAVE_TMUX = "run it outside tmux, or in tmux 3.4 or newer"
_TMUX_AROUND_SSH = "furnclip arena --graphics sixel, if tmux can draw it"
_LEAVE_SCREEN = "run it outside screen"
_TMUX_SIXEL = "tmux set -as terminal-features ',*:sixel'"


@dataclass(frozen=True)
class TmuxClient:
    """What tmux knows about the terminal it runs in."""

    termtype: str
    features: frozenset[str]
    passthrough: bool
    version: tuple[int, int] = (0, 0)
    cell: tuple[int, int] | None = None


@dataclass(frozen=True)
class Terminal:
    """How to draw: protocol, cell size in pixels (width, height), colours, and tmux or not.

    ``reason`` says why this protocol; ``hint`` is the command that would improve it, if any.
    ``complete`` is False when replies to the probe may still arrive.
    """

    graphics: Graphics
    cell: tuple[int, int] = FALLBACK_CELL
    depth: Depth = "truecolor"
    tmux: bool = False
    name: str = ""
    reason: str = ""
    hint: str | None = None
    complete: bool = True


def choose(
    replies: Replies,
    *,
    requested: str = "auto",
    environment: Mapping[str, str],
    tmux: TmuxClient | None = None,
    window: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> Terminal:
    """Choose for one terminal; ``window`` is its columns, rows, width and height in pixels."""
    graphics, reason, hint = _protocol(replies, requested, environment, tmux)
    return Terminal(
        graphics=graphics,
        cell=cell_size(replies, window, tmux),
        depth=_depth(environment, (tmux.termtype if tmux else replies.name) or ""),
        tmux=tmux is not None,
        name=(tmux.termtype if tmux else replies.name) or environment.get("TERM", ""),
        reason=reason,
        hint=hint,
        complete=replies.complete,
    )


def cell_size(
    replies: Replies, window: tuple[int, int, int, int], tmux: TmuxClient | None = None
) -> tuple[int, int]:
    """Width and height of a cell in pixels: CSI 16t, 14t over the window, winsize, else 10x20."""
    columns, rows, width, height = window
    if tmux is not None and tmux.cell is not None:
        return tmux.cell
    if replies.cell is not None:
        return replies.cell
    for area in (replies.text_area, (width, height)):
        if area and columns and rows and area[0] >= columns and area[1] >= rows:
            return area[0] // columns, area[1] // rows
    return FALLBACK_CELL


def draws_kitty_placeholders(name: str) -> bool:
    """Tell whether XTVERSION's name is a terminal that is known to draw unicode placeholders."""
    if name.lower().startswith("ghostty"):
        return True
    found = re.match(r"kitty\((\d+)\.(\d+)", name)
    return found is not None and (int(found[1]), int(found[2])) >= (0, 28)


def _protocol(
    replies: Replies, requested: str, environment: Mapping[str, str], tmux: TmuxClient | None
) -> tuple[Graphics, str, str | None]:
    asked = _GRAPHICS.get(requested)
    if asked is not None:
        return asked, "asked for", None
    if requested != "auto":
        raise UsageError(
            f"no graphics named {requested}", hint="one of auto, kitty, sixel, cells, text"
        )
    if environment.get("TERM", "dumb") == "dumb":
        return "text", "TERM is dumb", None
    if tmux is not None:
        return _inside_tmux(tmux)
    graphics, reason, hint = _by_replies(replies)
    if graphics == "cells" and environment.get("STY"):
        return graphics, "screen passes no graphics on", _LEAVE_SCREEN
    return graphics, reason, hint


def _by_replies(replies: Replies) -> tuple[Graphics, str, str | None]:
    name = replies.name or ""
    if draws_kitty_placeholders(name):
        return "kitty", f"{name} draws placeholders", None
    if name.startswith("tmux"):  # around an ssh: it says sixel whatever is outside
        return "cells", "tmux around ssh cannot be asked", _TMUX_AROUND_SSH
    if 4 in (replies.attributes or ()):
        return "sixel", "the terminal says it draws sixel", None
    if name.startswith("XTerm"):
        return "cells", "xterm without sixel", "xterm -ti vt340"
    return "cells", "no graphics protocol was announced", _OTHER_TERMINAL


def _inside_tmux(tmux: TmuxClient) -> tuple[Graphics, str, str | None]:
    if "sixel" in tmux.features:
        return "sixel", "tmux draws sixel here", None
    if draws_kitty_placeholders(tmux.termtype):
        if tmux.passthrough:
            return "kitty", f"{tmux.termtype} through tmux", None
        return "cells", "tmux passes no graphics on", _TMUX_PASSTHROUGH
    if tmux.version < (3, 4):
        hint = _LEAVE_TMUX
    else:
        hint = _TMUX_SIXEL if tmux.termtype.startswith(_SIXEL) else _OTHER_TERMINAL
    return "cells", "tmux draws no graphics here", hint


def _depth(environment: Mapping[str, str], name: str) -> Depth:
    """Choose colours; ssh does not pass COLORTERM on, so names known to draw true colour count."""
    locale = next(
        (environment[key] for key in ("LC_ALL", "LC_CTYPE", "LANG") if environment.get(key)), ""
    )
    if "utf-8" not in locale.lower() and "utf8" not in locale.lower():
        return "ascii"
    said = environment.get("COLORTERM") in {"truecolor", "24bit"}
    return "truecolor" if said or name.startswith(_TRUE_COLOR) else "256"
