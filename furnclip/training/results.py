"""What a training run gave, kept beside its checkpoints."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from furnclip.files import write_text_atomic

_RESULT = "result.json"


@dataclass(frozen=True)
class TrainingResult:
    """What a run gave.

    ``metrics`` has ``split`` (the one measured), ``base`` and ``tuned`` (name to value, such as
    ``text_to_image.hit@1``), and ``validation`` by alpha. ``model_path`` is None for zero_shot.
    """

    run_id: str
    scenario: str
    base: str
    model_path: Path | None
    metrics: dict[str, Any]
    best_epoch: int | None
    epochs: int
    steps: int
    alpha: float | None
    seconds: float
    peak_memory_mib: float
    trained_parameters: int
    parameters: int
    curves: Path | None


def keep(folder: Path, result: TrainingResult) -> None:
    """Write the result into the run's folder."""
    text = json.dumps(asdict(result), indent=1, default=str)
    write_text_atomic(folder / _RESULT, text)


def kept(folder: Path) -> TrainingResult | None:
    """Return the result of a finished run; None when it was not kept."""
    try:
        found = json.loads((folder / _RESULT).read_text("utf-8"))
        paths = {k: found[k] and Path(found[k]) for k in ("model_path", "curves")}
        return TrainingResult(**found | paths)
    except (OSError, ValueError, TypeError, KeyError):
        return None
