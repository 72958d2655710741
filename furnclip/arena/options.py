"""What a session is made of. Imports nothing heavy: the screen comes before the vectors."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from furnclip.errors import UsageError

if TYPE_CHECKING:
    from furnclip.config import Settings


@dataclass(frozen=True)
class ArenaOptions:
    """What a session is made of; paths, models by their label in the master table, and sizes."""

    embeddings_dir: Path
    evaluation_dir: Path
    state_file: Path
    baseline: str = "base"
    challengers: tuple[str, ...] = ("tuned",)
    queries_file: Path | None = None
    k: int = 5
    limit: int = 200
    repeat_fraction: float = 0.1
    graphics: str = "auto"
    user: str | None = None
    seed: int = field(default_factory=lambda: secrets.randbits(31))

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Return every pair of models, the earlier one as baseline."""
        labels = [self.baseline, *self.challengers]
        if len(set(labels)) != len(labels):
            raise UsageError("a model cannot be compared with itself", hint=", ".join(labels))
        return [(a, b) for i, a in enumerate(labels) for b in labels[i + 1 :]]


def options_from(settings: Settings, **chosen: object) -> ArenaOptions:
    """Take the arena's options from the settings; ``chosen`` overrides them, None is not chosen."""
    values: dict[str, object] = {
        "embeddings_dir": settings.paths.embeddings_dir,
        "evaluation_dir": settings.paths.evaluation_dir,
        "state_file": settings.paths.state_file,
        "k": settings.arena.k,
        "limit": settings.arena.queries,
        "repeat_fraction": settings.arena.repeat_fraction,
        "graphics": settings.arena.graphics,
        "user": settings.arena.user,
    }
    values.update({name: value for name, value in chosen.items() if value is not None})
    return ArenaOptions(**values)  # type: ignore[arg-type]  # names and types as in Settings
