import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from furnclip import console
from furnclip.errors import DataError
from furnclip.progress import SILENT


@dataclass
class _Row:
    path: Path
    count: int


def test_json_goes_to_stdout_with_dataclasses_and_paths(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_json({"rows": [_Row(Path("a/b"), 1)], "names": {"x"}})
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"rows": [{"path": "a/b", "count": 1}], "names": ["x"]}
    assert captured.err == ""


def test_text_that_looks_like_markup_is_printed_as_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console.print_table("t", ["[a]"], [["[/foo] [red]x"]])
    console.say("[/foo]")
    console.render_error(DataError("cannot read [/foo]", hint="try [/bar]"))
    captured = capsys.readouterr()
    assert "[/foo] [red]x" in captured.out
    assert captured.err.splitlines() == ["[/foo]", "Error: cannot read [/foo]", "  try [/bar]"]


def test_quiet_hides_notes_but_not_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    console.set_verbosity(quiet=True, verbose=False)
    try:
        console.say("note")
        console.next_step("more")
        console.warn("careful")
    finally:
        console.set_verbosity(quiet=False, verbose=False)
    assert capsys.readouterr().err == "Warning: careful\n"


def test_progress_is_silent_when_stderr_is_no_terminal() -> None:
    assert console.progress() is SILENT
