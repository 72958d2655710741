"""``furnclip search`` as typed, piped and in a terminal."""

import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from fcntl import ioctl
from pathlib import Path

import pytest
from typer.testing import CliRunner

from furnclip.cli import app
from furnclip.embeddings.catalogue import embed_catalogue
from furnclip.errors import DataError, UsageError
from tests.embeddings.shop import write_shop
from tests.tiny import build_tiny_clip


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    models = {
        label: build_tiny_clip(folder / label, seed=seed)
        for seed, label in enumerate(("base", "tuned"))
    }
    shards = write_shop(folder / "shards", splits={"train": (9,), "test": (7,)})
    embed_catalogue(models, shards_dir=shards, out=folder / "vectors")
    return folder / "vectors"


def _search(vectors: Path, *arguments: str) -> str:
    words = ["search", "--vectors", str(vectors), "--device", "cpu", *arguments]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_table_lists_the_tuned_results(vectors: Path) -> None:
    found = _search(vectors, "black chair", "-k", "3")
    assert "tuned" in found
    assert "base" not in found
    assert "score" in found


def test_json_carries_both_models_side_by_side(vectors: Path) -> None:
    found = json.loads(_search(vectors, "black chair", "--model", "both", "-k", "4", "--json"))
    assert [len(found["results"][label]) for label in ("base", "tuned")] == [4, 4]
    assert found["results"]["base"][0]["rank"] == 1
    assert found["query"] == "black chair"


def test_where_narrows_the_results(vectors: Path) -> None:
    found = json.loads(_search(vectors, "chair", "--where", "color = 'blue'", "--json"))
    assert {hit["color"] for hit in found["results"]["tuned"]} == {"blue"}
    assert "no product fulfils" in _search(vectors, "chair", "--where", "color = 'gold'")


def test_html_contact_sheet_is_written(vectors: Path, tmp_path: Path) -> None:
    assert "contact sheet in" in _search(vectors, "bed", "--html", str(tmp_path / "s.html"))
    assert "data:image/jpeg" in (tmp_path / "s.html").read_text("utf-8")


def test_piped_output_holds_no_escape_codes(vectors: Path) -> None:
    assert "\x1b" not in _search(vectors, "bed")


def test_errors_are_clear(vectors: Path) -> None:
    place = ["search", "--vectors", str(vectors)]
    for arguments in ([], ["x", "--where", "colour = 1"], ["x", "--graphics", "svg"]):
        assert isinstance(CliRunner().invoke(app, [*place, *arguments]).exception, UsageError)
    error = CliRunner().invoke(app, [*place, "x", "--model", "mine"]).exception
    assert isinstance(error, DataError)
    assert "base, tuned" in error.message


def test_thumbnails_are_drawn_in_a_terminal(vectors: Path) -> None:
    main, child = pty.openpty()
    ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    arguments = ["search", "black chair", "-k", "2", "--graphics", "cells", "--device", "cpu"]
    process = subprocess.Popen(
        [sys.executable, "-m", "furnclip", *arguments, "--vectors", str(vectors)],
        stdin=child,
        stdout=child,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"},
    )
    os.close(child)
    shown = _read_until_end(main, process)
    assert process.wait() == 0
    assert "▀".encode() in shown or "▄".encode() in shown
    assert b"\x1b[" in shown


def _read_until_end(main: int, process: subprocess.Popen[bytes]) -> bytes:
    shown = b""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        ready, _, _ = select.select([main], [], [], 0.2)
        if ready:
            try:
                chunk = os.read(main, 65536)
            except OSError:  # Linux: the other end is closed
                break
            if not chunk:
                break
            shown += chunk
        elif process.poll() is not None:
            break
    os.close(main)
    return shown
