"""Whatever stops a run, nothing half-written has a final name, and the next run heals it."""

import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from furnclip.preparing.verify import verify_shards
from furnclip.shards import index_shard
from tests.preparing.catalogues import SMALL, Project, picture, row, save_pictures, write_csv

_COMMAND = [sys.executable, "-m", "furnclip", "shard", "products.csv", "--out", "shards"]


def _environment() -> dict[str, str]:
    return {
        **os.environ,
        "FURNCLIP_PREP__IMAGE_SIZE": str(SMALL.image_size),
        "FURNCLIP_PREP__SAMPLES_PER_SHARD": str(SMALL.samples_per_shard),
        "FURNCLIP_PATHS__STATE_FILE": "state.duckdb",
    }


def start(project: Project, *, file_limit: int | None = None) -> subprocess.Popen[str]:
    write_csv(project.csv, project.rows)
    running = subprocess.Popen(
        _COMMAND, cwd=project.folder, env=_environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    if file_limit is not None:
        resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (file_limit, file_limit))
    return running


def assert_only_whole_tars(project: Project) -> None:
    for path in project.out.rglob("*.tar"):
        index_shard(path)


def test_full_disk_is_one_message_and_a_rerun_finishes(tmp_path: Path) -> None:
    project = Project(tmp_path / "a", 40)
    big = Project(tmp_path / "b", 40)
    big.shard()
    with start(project, file_limit=60_000) as running:
        _, message = running.communicate()
    assert running.returncode == 3
    assert "cannot write" in message
    assert "make room" in message
    assert not [path for path in project.out.rglob("*") if path.name.endswith(".tmp")]
    assert_only_whole_tars(project)
    project.shard()
    assert project.files() == big.files()


def test_full_disk_keeps_the_shards_before_it_and_a_rerun_reads_no_image(tmp_path: Path) -> None:
    project, undisturbed = Project(tmp_path / "a", 60), Project(tmp_path / "b", 60)
    for number in range(40, 60):  # their shards outgrow the limit, the images read do not
        name = f"{number} " + "oak " * 8_000
        project.rows[number]["name"] = undisturbed.rows[number]["name"] = name
    undisturbed.shard()
    with start(project, file_limit=400_000) as running:
        _, message = running.communicate()
    assert running.returncode == 3
    assert "make room" in message
    assert "Traceback" not in message
    finished = sorted(project.out.glob("train/*.tar"))
    assert finished
    for path in finished:
        assert path.read_bytes() == (undisturbed.out / path.relative_to(project.out)).read_bytes()
    assert not list(project.out.rglob(".*.tmp"))
    assert project.shard().decoded == 0
    assert project.files() == undisturbed.files()


def test_folder_that_may_not_be_written_is_one_message(tmp_path: Path) -> None:
    project = Project(tmp_path, 4)
    project.out.write_text("a file where the folder should be")
    with start(project) as running:
        _, message = running.communicate()
    assert running.returncode == 3
    assert "cannot write" in message
    assert "Traceback" not in message


def kill_somewhere(project: Project, seconds: float) -> bool:
    """Start a run and kill it after ``seconds``; returns whether it was still running."""
    with start(project) as running:
        time.sleep(seconds)
        was_running = running.poll() is None
        if was_running:
            running.send_signal(signal.SIGKILL)
        running.communicate()
    return was_running


def typical_seconds(project: Project) -> float:
    began = time.monotonic()
    with start(project) as running:
        running.communicate()
    assert running.returncode == 0
    return time.monotonic() - began


@pytest.mark.parametrize(
    "rounds", [1, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]
)
def test_killed_runs_end_byte_identical_to_an_undisturbed_one(tmp_path: Path, rounds: int) -> None:
    undisturbed = Project(tmp_path / "undisturbed", 300)
    seconds = typical_seconds(undisturbed)
    wanted = undisturbed.files()
    rng = random.Random(rounds)
    killed = 0
    for number in range(rounds):
        project = Project(tmp_path / f"killed-{number}", 300)
        for _ in range(2):
            killed += kill_somewhere(project, seconds * rng.uniform(0.3, 1.0))
            assert_only_whole_tars(project)
        project.shard()
        assert project.files() == wanted
        assert verify_shards(project.out, csv_path=project.csv).problems == []
    assert killed


_DIES_MID_SHARD = """
import os, signal
from furnclip.preparing import output
members, left = output.sample_members, [40]
def deadly(samples):
    for member in members(samples):
        left[0] -= 1
        if not left[0]:
            {death}
        yield member
output.sample_members = deadly
from furnclip.__main__ import main
main()
"""


@pytest.mark.parametrize(
    "death", ["os.kill(os.getpid(), signal.SIGKILL)", "os._exit(1)", "raise RuntimeError('a bug')"]
)
def test_death_in_the_middle_of_a_shard_gives_it_no_name(tmp_path: Path, death: str) -> None:
    """The 40th member is the 14th sample of the first shard of 16."""
    project, undisturbed = Project(tmp_path / "a", 60), Project(tmp_path / "b", 60)
    undisturbed.shard()
    write_csv(project.csv, project.rows)
    code = _DIES_MID_SHARD.format(death=death)
    done = subprocess.run(
        [sys.executable, "-c", code, "shard", "products.csv", "--out", "shards"],
        cwd=project.folder, env=_environment(), capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert not list(project.out.glob("train/*.tar"))
    assert not (project.out / "manifest.json").exists()
    assert_only_whole_tars(project)
    assert project.shard().decoded == 0
    assert project.files() == undisturbed.files()
    assert verify_shards(project.out, csv_path=project.csv).problems == []


def test_leftovers_of_a_run_killed_at_its_very_end_are_removed(tmp_path: Path) -> None:
    project = Project(tmp_path, 10)
    project.shard()
    wanted = project.files()
    (project.out / ".work").mkdir()
    (project.out / ".work" / "old-000000.tar").write_bytes(b"")
    (project.out / "train" / ".train-000000.tar.4711-0123abcd.tmp").write_bytes(b"half")
    assert project.shard().unchanged
    assert project.files() == wanted


def test_update_killed_at_any_moment_ends_as_an_undisturbed_update(tmp_path: Path) -> None:
    def updated(folder: Path) -> Project:
        project = Project(folder, 120)
        project.shard()
        save_pictures(folder, range(120, 130))
        project.rows = [*(row(n) for n in range(120, 130)), *project.rows[5:]]
        project.rows[50]["name"] = "Another name"
        picture(777).save(folder / "images" / "60.jpg", quality=92)
        return project

    undisturbed = updated(tmp_path / "undisturbed")
    seconds = typical_seconds(undisturbed)
    wanted = undisturbed.files()
    for number, part in enumerate((0.7, 0.9)):
        project = updated(tmp_path / f"killed-{number}")
        kill_somewhere(project, seconds * part)
        project.shard()
        assert project.files() == wanted


def test_image_that_rots_in_a_shard_is_made_again_from_its_source(tmp_path: Path) -> None:
    project = Project(tmp_path, 20)
    project.shard()
    shard = project.out / "train" / "train-000000.tar"
    times = shard.stat()
    content = bytearray(shard.read_bytes())
    offset, size = index_shard(shard)[0].jpg
    content[offset + size // 2] ^= 0xFF
    shard.write_bytes(content)
    os.utime(shard, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert verify_shards(project.out).problems
    settings = SMALL.model_copy(update={"captions": ("a {title}",)})
    project.shard(settings)
    assert verify_shards(project.out).problems == []
    fresh = Project(tmp_path / "fresh", 20)
    fresh.shard(settings)
    assert {n: h for n, h in project.files().items() if n != "manifest.json"} == {
        n: h for n, h in fresh.files().items() if n != "manifest.json"
    }
