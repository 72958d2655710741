"""``furnclip arena`` without a terminal: refusals, statistics, export, and what it imports."""

import csv
import json
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from furnclip.arena.grading import ArenaGrader
from furnclip.cli import app
from tests.arena.project import make_project


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "furnclip", *arguments],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def _two_votes() -> None:
    grader = ArenaGrader(rater="ann")
    for query, choice in (("q1", "A"), ("q2, with a comma", "B")):
        grader.save_vote(query, "base", "tuned", choice, baseline_is_row_a=True)
    grader.close()


def test_without_a_terminal_it_says_what_to_do(tmp_path: Path) -> None:
    make_project(tmp_path)
    done = _run("arena")
    assert done.returncode == 2
    assert "terminal" in done.stderr
    assert "ssh" in done.stderr
    assert "Traceback" not in done.stderr


def test_stats_on_stdout_as_text_and_json() -> None:
    _two_votes()
    text = CliRunner().invoke(app, ["arena", "stats"])
    assert "tuned and base are level" in text.stdout
    found = json.loads(CliRunner().invoke(app, ["arena", "stats", "--json"]).stdout)
    assert (found["votes"], found["pairs"][0]["wins"], found["pairs"][0]["losses"]) == (2, 1, 1)


def test_stats_without_votes_say_so() -> None:
    assert "No votes yet" in CliRunner().invoke(app, ["arena", "stats"]).stdout


def test_export_writes_every_standing_vote(tmp_path: Path) -> None:
    _two_votes()
    result = CliRunner().invoke(app, ["arena", "export", "votes.csv"])
    assert result.exit_code == 0
    with (tmp_path / "votes.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["query"], row["outcome"]) for row in rows] == [
        ("q1", "baseline"), ("q2, with a comma", "challenger"),
    ]  # fmt: skip
    assert rows[0]["baseline_is_row_a"] == "true"


def test_every_option_has_help() -> None:
    for arguments in (["arena"], ["arena", "stats"], ["arena", "export"]):
        assert CliRunner().invoke(app, [*arguments, "--help"]).exit_code == 0


_NO_TORCH = """
import asyncio, sys
from pathlib import Path
from furnclip.arena.app import ArenaApp
from furnclip.terminal import Terminal

async def main():
    app = ArenaApp(terminal=Terminal("sixel"))
    app.dwell_seconds = 0.0
    async with app.run_test(size=(80, 24)) as pilot:
        for _ in range(2000):
            await pilot.pause(0.005)
            if app.canvas.complete_at is not None:
                break
        await pilot.press("a", "q")
        await pilot.pause(0.2)
    assert app.failure is None and app.session.judged == 1, app.failure

asyncio.run(main())
heavy = {"torch", "transformers", "openai", "scipy", "pandas"} & set(sys.modules)
assert not heavy, heavy
"""


def test_a_played_session_imports_neither_torch_nor_scipy(tmp_path: Path) -> None:
    make_project(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", _NO_TORCH], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
