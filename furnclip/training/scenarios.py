"""Every scenario from one configuration, to see which of them a catalogue needs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from furnclip.config import Scenario, TrainingSettings
from furnclip.errors import ConfigError, Interrupted
from furnclip.state import StateStore
from furnclip.state.training import find_run
from furnclip.training.main import run_training
from furnclip.training.results import TrainingResult, kept

_log = logging.getLogger(__name__)


def run_scenarios(
    settings: TrainingSettings,
    *,
    runs_dir: Path,
    state: StateStore,
    name: str | None = None,
    scenarios: Sequence[str] = get_args(Scenario),
    **where: Any,
) -> list[TrainingResult]:
    """Run the scenarios one after another from one configuration; ``where`` as ``run_training``.

    Runs are called ``<name>-<scenario>``. Called again with the same name, finished ones are read
    and one that was stopped goes on. A scenario that this base cannot be trained with (its targets
    match nothing) is left out, with a warning.
    """
    name = name or f"all-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    results: list[TrainingResult] = []
    for scenario in scenarios:
        chosen = settings.model_copy(update={"scenario": scenario})
        run_id = f"{name}-{scenario}"
        begun = (runs_dir / run_id).exists()
        run = find_run(state, run_id) if begun else None
        try:
            done = kept(runs_dir / run_id) if run and run.status == "finished" else None
            results.append(
                done
                or run_training(
                    chosen,
                    runs_dir=runs_dir,
                    state=state,
                    name=None if begun else run_id,
                    resume=run_id if begun else None,
                    **where,
                )
            )
        except ConfigError as error:
            _log.warning("%s is left out: %s (%s)", scenario, error, error.hint)
        except Interrupted as error:
            again = f"furnclip train --scenario all --name {name}"
            raise Interrupted(error.message, hint=f"{again}, with the same options") from error
    return results
