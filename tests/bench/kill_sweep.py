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
import traceback
from dataclasses import dataclass
from pathlib import Path

from furnclip.__main__ import main as furnclip

_MODEL = """
import sys; from pathlib import Path; from tests.tiny import build_tiny_clip
build_tiny_clip(Path(sys.argv[1]), image_size=224, seed=int(sys.argv[2]))
"""


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
        # In a process of its own: torch's threads, once started, do not survive a fork.
        folder = str(home / "models" / label)
        subprocess.run([sys.executable, "-c", _MODEL, folder, str(seed)], check=True)
    os.environ |= {"FURNCLIP_PREP__SAMPLES_PER_SHARD": "48", "HF_HUB_OFFLINE": "1"}
    import torch  # noqa: F401  imported, not used: its threads must start in the forks
    from transformers import CLIPModel, CLIPProcessor  # noqa: F401

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
    finish(start(calm, command), calm)
    usual = time.monotonic() - began
    wanted = files(calm / command.out)
    if command.name == "shard":
        shutil.copytree(calm / command.out, home / "shards")
    killed, different, moments = 0, 0, []
    for number in range(rounds):
        folder = home / f"{command.name}-{number}"
        process = start(folder, command)
        time.sleep(usual * rng.uniform(0.02, 0.98))
        os.kill(process, signal.SIGKILL)  # a zombie until it is waited for: never another process
        killed += os.WIFSIGNALED(os.waitpid(process, 0)[1])
        found = files(folder / command.out)
        moments.append(sum(wanted.get(name) == value for name, value in found.items()))
        finish(start(folder, command), folder)
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


def start(folder: Path, command: Command) -> int:
    """Run the command in ``folder`` in a fork, which has the slow imports behind it."""
    folder.mkdir(exist_ok=True)
    process = os.fork()
    if process:
        return process
    try:
        os.chdir(folder)
        with Path("output").open("wb") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        sys.argv = ["furnclip", *command.arguments]
        furnclip()
    except SystemExit as end:
        os._exit(int(end.code or 0))
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(70)


def finish(process: int, folder: Path) -> None:
    _, status = os.waitpid(process, 0)
    if status:
        raise RuntimeError((folder / "output").read_text())


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
