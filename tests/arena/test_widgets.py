"""What a caption and a picture draw by themselves, without Textual's cache of lines."""

import asyncio
from pathlib import Path

import pytest
from textual.app import App, ComposeResult

from furnclip.arena.widgets import Caption
from furnclip.terminal.kitty import PLACEHOLDER
from tests.arena.fake_terminal import FakeTerminal
from tests.arena.project import make_project
from tests.terminal.test_probe import KITTY


class _OneCaption(App[None]):
    def __init__(self, text: str, size: tuple[int, int]) -> None:
        super().__init__()
        self.caption = Caption(text, markup=False)
        self.caption.styles.width, self.caption.styles.height = size

    def compose(self) -> ComposeResult:
        yield self.caption


@pytest.mark.parametrize(
    ("text", "size", "lines"),
    [
        ("Oak desk", (10, 1), ["Oak desk  "]),
        ("Oak desk with drawers", (10, 1), ["Oak desk \u2026"]),
        ("Oak desk with drawers", (10, 2), ["Oak desk  ", "with      "]),
        ("Oak desk with drawers", (12, 3), ["Oak desk    ", "with drawers", " " * 12]),
        ("Schreibtischstuhl", (10, 2), ["Schreibtis", "chstuhl   "]),
        ("[b]\u6728\u306e\u673a", (6, 1), ["[b]\u6728\u2026"]),
        ("Oak\n\tdesk", (10, 1), ["Oak desk  "]),
        ("", (4, 2), ["    ", "    "]),
    ],
)
def test_caption_is_cut_or_wrapped_to_its_box(
    text: str, size: tuple[int, int], lines: list[str]
) -> None:
    async def draw() -> list[str]:
        app = _OneCaption(text, size)
        async with app.run_test():
            strips = app.caption.render_lines(app.caption.size.region)
            assert {strip.cell_length for strip in strips} == {size[0]}
            return [strip.text for strip in strips]

    assert asyncio.run(draw()) == lines


def test_no_color_leaves_kitty_the_names_of_its_pictures(tmp_path: Path) -> None:
    make_project(tmp_path)
    plain = {"NO_COLOR": "1"}
    with FakeTerminal.arena(tmp_path, "--seed", "1", reply=KITTY, environment=plain) as terminal:
        terminal.wait_for(lambda: terminal.data.count(PLACEHOLDER.encode()) > 500)
        before_first = terminal.data.split(PLACEHOLDER.encode())[0]
        assert before_first.rsplit(b"\x1b[", 1)[1].startswith(b"38;5;")
