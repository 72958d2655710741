import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from furnclip.cli import app

HEAVY = {
    *("torch", "transformers", "peft", "openai", "duckdb", "textual", "webdataset", "pandas"),
    *("scipy", "pyarrow", "numpy", "pydantic", "pydantic_settings", "PIL"),
}


def _imported(*arguments: str) -> set[str]:
    code = (
        "import sys, atexit\n"
        "atexit.register(lambda: print('\\nMODULES', *sys.modules))\n"
        f"sys.argv = ['furnclip', *{list(arguments)!r}]\n"
        "from furnclip.__main__ import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MODULES" in done.stdout, done.stderr
    return set(done.stdout.split("MODULES")[1].split())


def _commands() -> Iterator[tuple[str, ...]]:
    def walk(command: object, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        yield path
        for name, child in getattr(command, "commands", {}).items():
            yield from walk(child, (*path, name))

    yield from walk(get_command(app), ())


def test_help_imports_nothing_heavy() -> None:
    assert not _imported("--help") & HEAVY


def test_clean_status_imports_no_torch() -> None:
    assert not _imported("clean", "status") & {"torch", "transformers", "textual", "openai"}


@pytest.mark.parametrize("path", list(_commands()), ids=" ".join)
def test_every_command_has_help(path: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, [*path, "--help"])
    assert done.exit_code == 0
    assert "Usage:" in done.output


def test_commands_of_the_contract_exist() -> None:
    names = {" ".join(path) for path in _commands()}
    verbs = "prepare upload status wait finalize cancel retry list inspect"
    assert names >= {f"clean {verb}" for verb in verbs.split()}
    assert names >= {
        *("init", "doctor", "demo", "train", "runs", "embed", "eval", "search"),
        *("shard", "shard verify", "arena", "arena stats", "arena export"),
    }


def test_init_writes_a_file_that_the_settings_accept_and_reports_it_as_json() -> None:
    done = CliRunner().invoke(app, ["init", "--json"])
    assert json.loads(done.stdout) == {"path": "furnclip.toml"}
    assert Path("furnclip.toml").is_file()


def _furnclip(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "furnclip", *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--config", "nope.toml", "runs"], 2, "no such settings file: nope.toml"),
        (["clean", "prepare", "nope.csv", "--images", "."], 3, "no such file: nope.csv"),
        (["nonsense"], 2, "No such command 'nonsense'"),
    ],
)
def test_user_errors_have_their_exit_code_and_no_traceback(
    arguments: list[str], code: int, message: str
) -> None:
    done = _furnclip(*arguments)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_ctrl_c_says_that_it_stopped() -> None:
    code = (
        "import signal, sys\n"
        "from furnclip.config import load\n"
        "load._check_environment = lambda: signal.raise_signal(signal.SIGINT)\n"
        "sys.argv = ['furnclip', 'clean', 'list']\n"
        "from furnclip.__main__ import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "Stopped; run the same command again to go on.\n"


def test_version_is_printed() -> None:
    assert _furnclip("--version").stdout.startswith("furnclip 0.")


def test_every_option_of_the_root_is_documented() -> None:
    command = get_command(app)
    assert isinstance(command, typer.core.TyperGroup)
    assert all(getattr(parameter, "help", None) for parameter in command.params)
