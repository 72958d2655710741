"""``python -m tests [pytest arguments]``: formatting, lint, types, architecture and tests."""

import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHECKS = (
    ("ruff", "format", "--check", "furnclip", "tests"),
    ("ruff", "check", "furnclip", "tests"),
    ("lint-imports",),
    ("mypy",),
)
# a file's tests share what is costly to make, so files go to the workers whole
PARALLEL = ("-n", "auto", "--dist", "loadfile")


def main() -> int:
    """Run every check even when one fails; the exit code is 0 when all passed."""
    scripts = sysconfig.get_path("scripts")
    failed = []
    # with a marker of one's own (slow, gpu) one after another: some kill at moments of a usual run
    pytest = ("pytest", *(() if "-m" in sys.argv else PARALLEL), *sys.argv[1:])
    for check in (*CHECKS, pytest):
        program = shutil.which(check[0], path=scripts)
        if program is None:
            print(f"{check[0]} is not installed: pip install -e '.[dev]'", file=sys.stderr)
            return 2
        print(f"── {' '.join(check)}", flush=True)
        began = time.monotonic()
        if subprocess.run([program, *check[1:]], cwd=ROOT, check=False).returncode:
            failed.append(check[0])
        print(f"   {time.monotonic() - began:.1f} s", flush=True)
    print(f"FAILED: {', '.join(failed)}" if failed else "all checks passed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
