"""Peers that need an environment of their own, run by that environment's Python: seconds, as JSON.

``PYTHON -m tests.bench.peers.goals_peers resize FOLDER`` or ``… embed FOLDER MODEL``; imports
nothing of furnclip. FOLDER holds JPEG files.
"""

import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def best(rounds: int, work: Callable[[], object]) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def resize(folder: Path) -> float:
    """img2dataset's resizer: letterbox to 224 with OpenCV's INTER_AREA, quality 95."""
    from img2dataset.resizer import Resizer

    resizer: Any = Resizer(224, "border", resize_only_if_bigger=False)
    photos = [path.read_bytes() for path in sorted(folder.glob("*.jpg"))]
    return best(5, lambda: [resizer(io.BytesIO(photo)) for photo in photos])


def embed(folder: Path, model: str) -> float:
    """sentence-transformers' CLIP wrapper in float32 on one thread, from decoded files on."""
    import torch
    from PIL import Image
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    encoder = SentenceTransformer(model, device="cpu")
    photos = [path.read_bytes() for path in sorted(folder.glob("*.jpg"))]

    def work() -> None:
        images: Any = [Image.open(io.BytesIO(photo)).convert("RGB") for photo in photos]
        encoder.encode(images, batch_size=32, show_progress_bar=False)

    return best(3, work)


if __name__ == "__main__":
    kind, where, *rest = sys.argv[1:]
    taken = resize(Path(where)) if kind == "resize" else embed(Path(where), rest[0])
    print(json.dumps(taken))
