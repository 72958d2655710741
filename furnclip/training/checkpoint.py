"""Checkpoints: everything a run needs to go on as if it had never stopped.

A checkpoint is a folder that gets its name when it is complete: ``trained.safetensors`` (the
trained parameters, ``logit_scale`` among them), ``optimizer.safetensors``, ``random.safetensors``
(one row a rank) and ``state.json``. Tensors and JSON only: nothing is unpickled.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from furnclip.errors import DataError, UsageError
from furnclip.files import write_text_atomic
from furnclip.training.cache import RandomState

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from furnclip.training.distributed import World

_KEPT = 2  # the newest may be on a disk that failed just then
# Settings that change how a result is reached, not the result.
_FREE = frozenset({"workers", "checkpoint_steps", "track", "cache_mib"})


@dataclass(frozen=True)
class Position:
    """Where training stands: ``step`` steps are done in all, ``step_in_epoch`` in this epoch.

    ``stale`` counts epochs since the best; ``best_epoch`` 0 means that none was validated.
    ``micro_batch_size`` is kept because sums over other chunks round differently.
    """

    epoch: int = 1
    step_in_epoch: int = 0
    step: int = 0
    best_epoch: int = 0
    best_score: float = -1.0
    stale: int = 0
    micro_batch_size: int = 0
    seconds: float = 0.0
    grad_scale: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(
    folder: Path,
    position: Position,
    *,
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    world: World,
) -> None:
    """Write a checkpoint under ``folder``; all ranks call it, the leader writes."""
    import torch
    from safetensors.torch import save_file

    random = _random_of_all_ranks(world)
    if not world.leader:
        return
    final = folder / f"step-{position.step:08d}"
    temporary = folder / ".unfinished.tmp"  # one name, so that a killed run leaves one at most
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_file(contiguous(parameters), temporary / "trained.safetensors")
    flat: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        for key, value in optimizer.state.get(parameter, {}).items():
            flat[f"{name}|{key}"] = torch.as_tensor(value).contiguous()
    save_file(flat, temporary / "optimizer.safetensors")
    save_file(random, temporary / "random.safetensors")
    (temporary / "state.json").write_text(json.dumps(asdict(position), indent=1), "utf-8")
    for path in [*temporary.iterdir(), temporary]:
        _fsync(path)
    if final.exists():  # saved at this very step before; the same content
        shutil.rmtree(final)
    temporary.rename(final)
    _fsync(folder)
    for old in _complete(folder)[:-_KEPT]:
        shutil.rmtree(old)


def load_checkpoint(
    folder: Path,
    *,
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    world: World,
) -> Position | None:
    """Put the newest checkpoint under ``folder`` back; None when there is none yet.

    Raises ``DataError`` when it is damaged, holds other parameters or was made with another number
    of processes.
    """
    import torch

    complete = _complete(folder)
    if not complete:
        return None
    newest = complete[-1]
    restore(parameters, load_tensors(newest / "trained.safetensors"), source=newest)
    by_name: dict[str, dict[str, Tensor]] = {}
    for name, value in load_tensors(newest / "optimizer.safetensors").items():
        parameter_name, _, key = name.rpartition("|")
        by_name.setdefault(parameter_name, {})[key] = value
    for name, parameter in parameters.items():
        if name in by_name:
            optimizer.state[parameter] = {
                key: value
                if key == "step" and not _fused(optimizer)
                else value.to(parameter.device)
                for key, value in by_name[name].items()
            }
    random = load_tensors(newest / "random.safetensors")
    if len(random["cpu"]) != world.size:
        raise DataError(
            f"{newest} was written by {len(random['cpu'])} processes, this run has {world.size}",
            hint="resume with the same number",
        )
    # Copies: torch reads a generator's state from a view as if it began where its file does.
    device = random["device"][world.rank].clone() if "device" in random else None
    RandomState(random["cpu"][world.rank].clone(), device).restore(torch.device(world.device))
    try:
        return replace(Position(), **json.loads((newest / "state.json").read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(newest / "state.json", error) from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file of a run; raises ``DataError`` when it is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(
        f"cannot read {path}: {error}",
        hint=f"remove {path.parent} to go on from the checkpoint before it",
    )


def restore(
    parameters: Mapping[str, nn.Parameter], saved: Mapping[str, Tensor], *, source: Path
) -> None:
    """Copy saved values into the parameters; raises ``DataError`` when the names differ."""
    import torch

    odd = sorted(set(parameters) ^ set(saved))
    if odd:
        raise DataError(f"{source} holds other parameters than this model: {odd[0]}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(saved[name])


def contiguous(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the values as safetensors wants them: detached, contiguous, on the CPU."""
    return {name: value.detach().cpu().contiguous() for name, value in parameters.items()}


def write_settings(run_dir: Path, settings: Mapping[str, Any]) -> None:
    """Keep what the run was started with, for ``read_settings`` and ``check_same``."""
    write_text_atomic(run_dir / "settings.json", json.dumps(dict(settings), indent=1))


def read_settings(run_dir: Path) -> dict[str, Any]:
    """Return what the run was started with; ``UsageError`` when there is no such run."""
    path = run_dir / "settings.json"
    if not path.is_file():
        raise UsageError(f"no run to resume in {run_dir}", hint="`furnclip runs` lists the runs")
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}", hint="start a new run") from error
    if not isinstance(found, dict):
        raise DataError(f"{path} holds no object", hint="start a new run")
    return found


def check_same(run_dir: Path, settings: Mapping[str, Any]) -> None:
    """Raise ``UsageError`` naming the settings that differ from the run's own."""
    saved = read_settings(run_dir)
    changed = [
        f"{name} is {settings.get(name)!r}, the run has {saved.get(name)!r}"
        for name in sorted(set(saved) | set(settings))
        if name not in _FREE and saved.get(name) != settings.get(name)
    ]
    if changed:
        raise UsageError(
            f"cannot resume {run_dir.name}: {'; '.join(changed)}",
            hint="use the same settings, or start a new run without --resume",
        )


def _random_of_all_ranks(world: World) -> dict[str, Tensor]:
    """Return each rank's random state as one row of a tensor; the same on all ranks."""
    import torch

    mine = RandomState.capture(torch.device(world.device))
    states = {"cpu": mine.cpu} | ({} if mine.device is None else {"device": mine.device})
    return {
        name: torch.stack(world.gather_equal(state.to(world.device))).cpu()
        for name, state in states.items()
    }


def _complete(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step-*") if (path / "state.json").is_file())


def _fused(optimizer: torch.optim.Optimizer) -> bool:
    return bool(optimizer.param_groups[0].get("fused"))


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
