"""Embed queries in a process of its own: ``python -m furnclip.arena.embed_queries`` < job.

The job on standard input is JSON: ``kind`` photo or text, ``items`` (paths or texts) and
``models``, each with ``spec``, ``sha`` and ``out``, the .npy file written whole: (n, dim) float32.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from furnclip.errors import DataError, FurnclipError
from furnclip.files import atomic_path


def main() -> int:
    """Do the job; a problem the user can act on becomes one line on stderr."""
    job = json.load(sys.stdin)
    try:
        for model in job["models"]:
            out = Path(model["out"])
            embed(model["spec"], model["sha"], kind=job["kind"], items=job["items"], out=out)
    except FurnclipError as error:
        sys.stderr.write(f"{error.message}{f' ({error.hint})' if error.hint else ''}\n")
        return int(error.exit_code)
    return 0


def embed(spec: str, sha: str, *, kind: str, items: list[str], out: Path) -> None:
    """Embed ``items`` with the model at ``spec``, which must still be the one named by ``sha``."""
    from furnclip.encoder import Encoder
    from furnclip.images import load_letterboxed

    encoder = Encoder.load(spec)
    if encoder.sha != sha:
        raise DataError(
            f"{spec} is not the model the vectors were made with", hint="run `furnclip embed` again"
        )
    if kind == "photo":
        images = [load_letterboxed(Path(item), encoder.image_size).image for item in items]
        vectors = encoder.images(images)
    else:
        vectors = encoder.texts(items)
    with atomic_path(out) as temporary, temporary.open("wb") as file:
        np.save(file, vectors)


if __name__ == "__main__":
    sys.exit(main())
