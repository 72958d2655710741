"""The ordered rules of protocol choice."""

import pytest

from furnclip.errors import UsageError
from furnclip.terminal.choose import Terminal, TmuxClient, cell_size, choose
from furnclip.terminal.detect import parse_tmux
from furnclip.terminal.probe import Replies, parse_replies
from tests.terminal.test_probe import FOOT, KITTY, MLTERM, SCREEN, TMUX, XTERM

UTF8 = {"TERM": "xterm-256color", "LANG": "en_US.UTF-8", "COLORTERM": "truecolor"}


def _choose(data: bytes, tmux: TmuxClient | None = None, requested: str = "auto") -> Terminal:
    return choose(parse_replies(data), requested=requested, environment=UTF8, tmux=tmux)


@pytest.mark.parametrize(
    ("data", "graphics"),
    [
        (XTERM, "sixel"),
        (MLTERM, "sixel"),
        (FOOT, "sixel"),
        (KITTY, "kitty"),
        (KITTY.replace(b"0.41.1", b"0.26.5"), "cells"),
        (b"\x1bP>|ghostty 1.0.1\x1b\\\x1b[?62;22c", "kitty"),
        (b"\x1bP>|Konsole 23.08.1\x1b\\\x1b[?62;1;4c", "sixel"),
        (b"\x1b_Gi=31;OK\x1b\\\x1b[?62c", "cells"),
        (SCREEN, "cells"),
        (TMUX, "cells"),  # seen through ssh, where tmux claims sixel whatever it runs in
        (b"", "cells"),
    ],
)
def test_outside_tmux_names_decide_then_da1(data: bytes, graphics: str) -> None:
    assert _choose(data).graphics == graphics


@pytest.mark.parametrize(
    ("answer", "graphics", "hint"),
    [
        ("XTerm(379)|256,sixel,title|0|3.5a||", "sixel", None),
        ("kitty(0.41.1)|256,RGB|1|3.5a||", "kitty", None),
        ("kitty(0.41.1)|256,RGB|0|3.5a||", "cells", "tmux set -g allow-passthrough on"),
        ("XTerm(379)|256|0|3.5a||", "cells", "tmux set -as terminal-features ',*:sixel'"),
        ("VTE(7006)|256|0|3.5a||", "cells", "use kitty (0.28 or newer)"),
        ("XTerm(379)|256|0|3.3a||", "cells", "run it outside tmux, or in tmux 3.4 or newer"),
        ("", "cells", "run it outside tmux"),
    ],
)
def test_inside_tmux_its_client_decides(answer: str, graphics: str, hint: str | None) -> None:
    chosen = _choose(TMUX, parse_tmux(answer))
    assert (chosen.graphics, chosen.tmux) == (graphics, True)
    assert chosen.hint == hint if hint is None else (chosen.hint or "").startswith(hint)


@pytest.mark.parametrize(
    ("data", "more", "hint"),
    [
        (XTERM.replace(b";4;", b";"), {}, "xterm -ti vt340"),
        (b"\x1bP>|VTE(7006)\x1b\\\x1b[?65;1;9c", {}, "use kitty (0.28 or newer)"),
        (SCREEN, {"STY": "1.tty"}, "run it outside screen"),
    ],
)
def test_a_terminal_without_graphics_is_told_what_would_help(
    data: bytes, more: dict[str, str], hint: str
) -> None:
    chosen = choose(parse_replies(data), environment=UTF8 | more)
    assert chosen.graphics == "cells"
    assert (chosen.hint or "").startswith(hint)


def test_names_known_for_true_colour_need_no_colorterm_over_ssh() -> None:
    environment = {"TERM": "xterm-256color", "LANG": "C.UTF-8"}
    assert choose(parse_replies(FOOT), environment=environment).depth == "truecolor"
    assert choose(parse_replies(SCREEN), environment=environment).depth == "256"


def test_explicit_choice_beats_everything() -> None:
    assert _choose(KITTY, parse_tmux(""), requested="sixel").graphics == "sixel"


def test_unknown_graphics_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="ascii-art"):
        _choose(KITTY, requested="ascii-art")


def test_dumb_terminal_gets_text_only() -> None:
    assert choose(parse_replies(XTERM), environment={"TERM": "dumb"}).graphics == "text"


@pytest.mark.parametrize(
    ("environment", "depth"),
    [
        (UTF8, "truecolor"),
        ({"TERM": "xterm", "LANG": "en_US.UTF-8"}, "256"),
        ({"TERM": "xterm", "LANG": "C", "COLORTERM": "truecolor"}, "ascii"),
        ({"TERM": "xterm", "LC_ALL": "C.utf8", "LANG": "C"}, "256"),
    ],
)
def test_colours_follow_colorterm_and_locale(environment: dict[str, str], depth: str) -> None:
    assert choose(Replies(), environment=environment).depth == depth


def test_cell_size_falls_back_step_by_step() -> None:
    window = (80, 24, 720, 432)
    assert cell_size(parse_replies(KITTY), window) == (10, 20)
    assert cell_size(parse_replies(XTERM), window) == (484 // 80, 316 // 24)
    assert cell_size(Replies(), window) == (9, 18)
    assert cell_size(Replies(), (80, 24, 0, 0)) == (10, 20)
    assert cell_size(Replies(), window, parse_tmux("a|b|0|3.5a|7|15")) == (7, 15)
