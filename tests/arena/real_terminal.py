"""Real terminal emulators on a virtual screen: start, type, take a picture of what they show.

``python -m tests.arena.real_terminal PROJECT FOLDER [NAME…] [-- ssh -t HOST]`` plays a few
keys in every terminal that is installed and leaves NAME-before.png, -after, -help, … in FOLDER.
What follows ``--`` is put between the terminal and the arena.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from PIL import Image

_XTERM = [
    "xterm", "-ti", "vt340", "-geometry", "130x42+0+0", "-fa", "DejaVu Sans Mono", "-fs", "11",
    "-bg", "black", "-fg", "white",
    "-xrm", "XTerm*numColorRegisters: 1024", "-xrm", "XTerm*sixelScrolling: true",
    "-xrm", "XTerm*decGraphicsID: vt340", "-e",
]  # fmt: skip
_TMUX = ["tmux", "-L", "{socket}", "-f", "{config}", "new-session"]
_WESTON = """
export XDG_RUNTIME_DIR={folder}
weston --backend=x11-backend.so --use-pixman --width=1400 --height=950 --shell=kiosk-shell.so \\
    --socket=screen --idle-time=0 &
until [ -S {folder}/screen ]; do sleep 0.1; done
WAYLAND_DISPLAY=screen foot -f "DejaVu Sans Mono:size=11" "$@"
"""
TERMINALS: dict[str, list[str]] = {
    "xterm": _XTERM,
    "mlterm": [
        "mlterm", "-g", "130x42", "-w", "14", "--fontsize", "14",
        "-b", "black", "-f", "white", "-e",
    ],
    "xterm-tmux": [*_XTERM, *_TMUX],
    "foot": ["sh", "-c", _WESTON, "foot"],
    "kitty": [
        "kitty", "-o", "initial_window_width=130c", "-o", "initial_window_height=42c",
        "-o", "remember_window_size=no", "-o", "update_check_interval=0",
    ],
}  # fmt: skip
_SIZE = (1500, 1000)


class RealTerminal:
    """A terminal emulator on an X server of its own that runs ``command`` in ``folder``."""

    def __init__(
        self,
        emulator: Sequence[str],
        command: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="furnclip-screen-")
        self._socket = f"furnclip-{os.getpid()}-{time.monotonic_ns()}"
        config = Path(self._folder.name) / "tmux.conf"
        config.write_text("set -g default-terminal tmux-256color\nset -g allow-passthrough on\n")
        reading, writing = os.pipe()
        self._server = subprocess.Popen(
            ["Xvfb", "-displayfd", str(writing), "-screen", "0", f"{_SIZE[0]}x{_SIZE[1]}x24"],
            pass_fds=[writing], stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(writing)
        with os.fdopen(reading) as file:
            self._display = f":{file.readline().strip()}"
        self._environment = {
            **{k: v for k, v in os.environ.items() if k not in {"TMUX", "COLUMNS", "LINES"}},
            "DISPLAY": self._display, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8",
            "LIBGL_ALWAYS_SOFTWARE": "1", **(environment or {}),
        }  # fmt: skip
        words = [
            word.format(socket=self._socket, config=config, folder=self._folder.name)
            for word in emulator
        ]
        self.process = subprocess.Popen(
            [*words, *command], cwd=folder, env=self._environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        subprocess.run(
            ["tmux", "-L", self._socket, "kill-server"], capture_output=True, check=False
        )
        os.killpg(self.process.pid, signal.SIGTERM)
        self._server.terminate()
        for process in (self.process, self._server):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._folder.cleanup()

    def screenshot(self) -> Image.Image:
        """Return the whole screen."""
        path = Path(self._folder.name) / "screen.png"
        subprocess.run(
            ["import", "-window", "root", str(path)],
            env=self._environment, check=True, capture_output=True,
        )  # fmt: skip
        with Image.open(path) as image:
            return image.convert("RGB")

    def type(self, *keys: str) -> None:
        """Press keys by their X names."""
        subprocess.run(["xdotool", "key", *keys], env=self._environment, check=True)

    def wait_for(
        self, condition: Callable[[Image.Image], bool], *, seconds: float = 90
    ) -> Image.Image:
        """Take screenshots until one meets ``condition`` and stays the same; return it."""
        deadline = time.monotonic() + seconds
        last: Image.Image | None = None
        while time.monotonic() < deadline:
            image = self.screenshot()
            if condition(image) and last is not None and last.tobytes() == image.tobytes():
                return image
            last = image
            time.sleep(0.3)
        raise AssertionError(f"not on screen after {seconds:.0f} s")


def light(image: Image.Image) -> float:
    """Return the share of the screen that is light: pictures on the dark theme."""
    return float((np.asarray(image.resize((375, 250))).max(axis=2) > 150).mean())


def installed(name: str) -> bool:
    """Tell whether everything that this terminal needs is there."""
    programs = {"Xvfb", "import", "xdotool", *name.split("-")}
    programs |= {"weston"} if name == "foot" else set()
    return all(shutil.which(program) for program in programs)


def record(name: str, command: Sequence[str], *, project: Path, out: Path) -> None:
    """Play a, b, help and quit in one terminal; keep a picture of each."""
    with RealTerminal(TERMINALS[name], command, folder=project) as terminal:
        shots = {"before": terminal.wait_for(lambda image: light(image) > 0.1)}
        for key, label in (("a", "after"), ("question", "help"), ("Escape", "back"), ("q", "end")):
            terminal.type(key)
            time.sleep(2)
            shots[label] = terminal.screenshot()
    for label, image in shots.items():
        box = image.point([255 if v > 8 else 0 for v in range(256)] * 3).getbbox()
        image.crop(box).save(out / f"{name}-{label}.png", optimize=True)
        print(f"{name}-{label}.png")


def main() -> None:
    """Take the pictures."""
    arguments, ssh = sys.argv[1:], []
    if "--" in arguments:
        cut = arguments.index("--")
        arguments, ssh = arguments[:cut], arguments[cut + 1 :]
    project, out = Path(arguments[0]).resolve(), Path(arguments[1])
    out.mkdir(parents=True, exist_ok=True)
    for name in arguments[2:] or list(TERMINALS):
        if not installed(name):  # say so rather than leave a gap nobody sees
            print(f"{name}: not installed")
            continue
        user = f"shot-{time.time_ns()}"
        command = [sys.executable, "-m", "furnclip", "arena", "--user", user, "--seed", "3"]
        if ssh:
            remote = f"cd {shlex.quote(str(project))} && {shlex.join(command)}"
            command = [*ssh, f"LANG=C.UTF-8 LC_ALL=C.UTF-8 sh -c {shlex.quote(remote)}"]
        record(name, command, project=project, out=out)


if __name__ == "__main__":
    main()
