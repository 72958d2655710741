"""kill -9 at random moments of ``shard`` and ``embed`` on a catalogue of yours; files compared.

``python -m tests.bench.kill_sweep FOLDER [--rounds 50] [--seed 0]``: FOLDER holds
``products.csv`` and the images it names. Each round kills one run of each command at a random
moment of its usual time, runs it again to the end, and compares every file with those of a run
that nobody disturbed. Exit status 1 when any differs, or when no run was caught alive.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.tiny import build_tiny_clip


@dataclass(frozen=True)
class Command:
    """A furnclip command that writes one folder, and the name of that folder."""

    name: str
    arguments: tuple[str, ...]
    out: str


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("catalogue", type=Path)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    catalogue = options.catalogue.resolve()
    home = Path(tempfile.mkdtemp(prefix="kill-sweep-"))
    for seed, label in enumerate(("base", "tuned")):
        build_tiny_clip(home / "models" / label, image_size=224, seed=seed)
    shard = Command(
        "shard",
        ("shard", str(catalogue / "products.csv"), "--images", str(catalogue), "--out", "shards"),
        "shards",
    )
    models = ("--model", str(home / "models/tuned"), "--base", str(home / "models/base"))
    embed = Command("embed", ("embed", "--shards", "../shards", "--out", "out", *models), "out")
    rng = random.Random(options.seed)
    try:
        sound = all(
            [
                sweep(home, shard, rounds=options.rounds, rng=rng),
                sweep(home, embed, rounds=options.rounds, rng=rng),
            ]
        )
    finally:
        shutil.rmtree(home)
    sys.exit(not sound)


def sweep(home: Path, command: Command, *, rounds: int, rng: random.Random) -> bool:
    """Kill ``rounds`` runs; says whether all ended as the undisturbed one did."""
    calm = home / f"{command.name}-calm"
    began = time.monotonic()
    finish(start(calm, command))
    usual = time.monotonic() - began
    wanted = files(calm / command.out)
    if command.name == "shard":
        shutil.copytree(calm / command.out, home / "shards")
    killed, different, moments = 0, 0, []
    for number in range(rounds):
        folder = home / f"{command.name}-{number}"
        running = start(folder, command)
        time.sleep(usual * rng.uniform(0.02, 0.98))
        if running.poll() is None:
            os.kill(running.pid, signal.SIGKILL)
            killed += 1
        running.wait()
        found = files(folder / command.out)
        moments.append(sum(wanted.get(name) == value for name, value in found.items()))
        finish(start(folder, command))
        if files(folder / command.out) != wanted:
            different += 1
            print(f"  round {number}: {compare(wanted, files(folder / command.out))}")
        shutil.rmtree(folder)
    print(
        f"{command.name}: {rounds} runs of {usual:.1f} s, {killed} killed alive, with "
        f"{min(moments)} to {max(moments)} of {len(wanted)} files finished; "
        f"{rounds - different} of {rounds} reruns byte-identical in all {len(wanted)} files",
        flush=True,
    )
    return different == 0 and killed > 0


def start(folder: Path, command: Command) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "FURNCLIP_PREP__SAMPLES_PER_SHARD": "48", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "furnclip", *command.arguments],
        cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(running: subprocess.Popen[bytes]) -> None:
    _, message = running.communicate()
    if running.returncode:
        raise RuntimeError(message.decode())


def files(folder: Path) -> dict[str, str]:
    """Every file below ``folder`` with a hash of its bytes."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def compare(wanted: dict[str, str], found: dict[str, str]) -> str:
    names = sorted(wanted.keys() | found.keys())
    return ", ".join(name for name in names if wanted.get(name) != found.get(name))


if __name__ == "__main__":
    main()
