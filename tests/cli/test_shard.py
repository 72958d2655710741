"""``furnclip shard`` as typed: options, output, exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.preparing.catalogues import Project, picture, write_csv


def furnclip(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "furnclip", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path, 40)
    write_csv(made.csv, made.rows)
    return made


def test_shard_then_verify_needs_no_option_beside_the_csv(project: Project) -> None:
    done = furnclip("shard", "products.csv", cwd=project.folder)
    assert done.returncode == 0, done.stderr
    assert "40 rows" in done.stdout
    assert "40 images read, " in done.stderr
    assert "furnclip train" in done.stderr
    verified = furnclip("shard", "verify", "--csv", "products.csv", cwd=project.folder)
    assert verified.returncode == 0, verified.stdout
    assert verified.stdout.startswith("40 rows = ")
    assert (project.folder / "data/shards/train/train-000000.tar").is_file()


def test_options_may_follow_the_csv_and_json_is_the_whole_stdout(project: Project) -> None:
    arguments = ("shard", "products.csv", "--out", "s", "--workers", "1", "--json")
    found = json.loads(furnclip(*arguments, cwd=project.folder).stdout)
    assert found["rows"] == 40
    assert found["splits"]["train"]["shards"] == 1
    assert json.loads(furnclip(*arguments, cwd=project.folder).stdout)["unchanged"] is True
    report = furnclip("shard", "verify", "--out", "s", "--json", cwd=project.folder)
    assert json.loads(report.stdout)["problems"] == []


def test_second_run_says_that_nothing_changed(project: Project) -> None:
    furnclip("shard", "products.csv", cwd=project.folder)
    assert "nothing changed" in furnclip("shard", "products.csv", cwd=project.folder).stderr


def test_damaged_shard_fails_verification_with_the_data_exit_code(project: Project) -> None:
    furnclip("shard", "products.csv", cwd=project.folder)
    shard = project.folder / "data/shards/train/train-000000.tar"
    content = bytearray(shard.read_bytes())
    content[600] ^= 1
    shard.write_bytes(content)
    done = furnclip("shard", "verify", cwd=project.folder)
    assert done.returncode == 3
    assert "train-000000.tar: not the file that was written" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("shard",), 3, "no cleaned CSV at data/processed/cleaned.csv"),
        (("shard",), 3, "furnclip clean finalize"),
        (("shard", "products.csv", "--images", "nowhere"), 3, "no such image folder: nowhere"),
        (("shard", "products.csv", "--title-column", "nme"), 3, "did you mean name?"),
        (("shard", "products.csv", "--group-column", "x"), 3, "--group-column"),
        (("shard", "products.csv", "--max-reject-rate", "7"), 2, "--max-reject-rate"),
        (("shard", "verify"), 3, "furnclip shard"),
    ],
)
def test_wrong_input_is_one_message_without_traceback(
    project: Project, arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = furnclip(*arguments, cwd=project.folder)
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def _spoiled(folder: Path) -> Project:
    """One photo cut short, one damaged where decoders conceal it, one larger than the others."""
    project = Project(folder, 40)
    images = folder / "images"
    cut = (images / "1.jpg").read_bytes()
    (images / "1.jpg").write_bytes(cut[: len(cut) * 2 // 3])
    damaged = bytearray((images / "2.jpg").read_bytes())
    start = len(damaged) * 2 // 3
    damaged[start : start + 40] = b"\x55" * 40
    (images / "2.jpg").write_bytes(damaged)
    picture(3, size=(80, 60)).save(images / "3.jpg")
    write_csv(project.csv, project.rows)
    return project


@pytest.mark.parametrize(
    ("options", "rejected", "recovered"),
    [
        ((), {"truncated": 1}, 1),
        (("--allow-truncated",), {}, 2),
        (("--strict",), {"corrupt": 1, "truncated": 1}, 0),
        (("--max-pixels", "4799"), {"too_large": 1, "truncated": 1}, 1),
        (("--max-pixels", "4800"), {"truncated": 1}, 1),
    ],
)
def test_options_decide_which_images_are_rejected(
    tmp_path: Path, options: tuple[str, ...], rejected: dict[str, int], recovered: int
) -> None:
    project = _spoiled(tmp_path)
    found = json.loads(
        furnclip("shard", "products.csv", "--json", *options, cwd=project.folder).stdout
    )
    assert (found["rejected"], found["recovered"]) == (rejected, recovered)
    assert furnclip("shard", "verify", "--csv", "products.csv", cwd=project.folder).returncode == 0


def test_concealed_damage_is_said(tmp_path: Path) -> None:
    done = furnclip("shard", "products.csv", cwd=_spoiled(tmp_path).folder)
    assert "1 images have concealed damage; --strict rejects them" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_keeps_what_is_done_and_the_next_run_goes_on(
    tmp_path: Path, number: signal.Signals
) -> None:
    project = Project(tmp_path, 400)
    write_csv(project.csv, project.rows)
    undisturbed = Project(tmp_path / "other", 400)
    undisturbed.shard()
    command = [sys.executable, "-m", "furnclip", "shard", "products.csv", "--out", "shards"]
    environment = {**os.environ, "FURNCLIP_PREP__IMAGE_SIZE": "32"}
    environment["FURNCLIP_PREP__SAMPLES_PER_SHARD"] = "16"
    with subprocess.Popen(
        [*command, "--workers", "1"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE
    ) as running:
        work = project.out / ".work"
        deadline = time.monotonic() + 60
        while not list(work.glob("pictures-*.tar")) and time.monotonic() < deadline:
            time.sleep(0.001)
        running.send_signal(number)
        _, message = running.communicate()
    if running.returncode == 0:
        pytest.skip("the run was faster than the signal")
    assert running.returncode == 130
    assert b"goes on" in message
    again = subprocess.run(
        [*command, "--json"], cwd=tmp_path, env=environment, capture_output=True, check=True
    )
    assert 0 < json.loads(again.stdout)["decoded"] < 400
    assert project.files() == undisturbed.files()
