"""Is this machine ready? One check a concern, each with the way to mend it."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from furnclip.errors import FurnclipError

if TYPE_CHECKING:
    from furnclip.config import Settings

_GIB = 1 << 30


@dataclass(frozen=True)
class Check:
    """One finding; ``mend`` says what to do when the status is not ok."""

    name: str
    status: Literal["ok", "warning", "error"]
    finding: str
    mend: str = ""


def run_checks(settings: Settings) -> list[Check]:
    """Look at this machine and project; never raises for what it finds."""
    checks: tuple[Callable[[Settings], Check], ...] = (
        _python,
        _torch,
        _memory,
        _disk,
        _state_file,
        _api_key,
        _model,
        _terminal,
    )
    return [check(settings) for check in checks]


def _python(settings: Settings) -> Check:
    return Check("python", "ok", f"{platform.python_version()} at {sys.executable}")


def _torch(settings: Settings) -> Check:
    import torch

    from furnclip.encoder import pick_device

    try:
        device = pick_device(settings.model.device)
    except FurnclipError as error:
        return Check("torch", "error", error.message, error.hint or "")
    finding = f"torch {torch.__version__}, device {device}"
    if device.startswith("cuda"):
        name, total = torch.cuda.get_device_name(), torch.cuda.mem_get_info()[1]
        return Check("torch", "ok", f"{finding} ({name}, {total / _GIB:.0f} GiB)")
    if device == "cpu" and shutil.which("nvidia-smi"):
        return Check(
            "torch",
            "warning",
            f"{finding}, though this machine has an NVIDIA driver",
            "install a CUDA build of torch (see pytorch.org)",
        )
    if importlib.util.find_spec("torchvision"):
        try:
            importlib.import_module("torchvision")
        except (ImportError, RuntimeError) as error:
            return Check(
                "torch",
                "error",
                f"torchvision does not match torch: {str(error).splitlines()[0]}",
                "pip uninstall torchvision (furnclip does not use it)",
            )
    return Check("torch", "ok", f"{finding}, {torch.get_num_threads()} threads")


def _memory(settings: Settings) -> Check:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / _GIB
    if total < 4:
        return Check(
            "memory", "warning", f"{total:.1f} GiB", "set training.micro_batch_size to 16 or less"
        )
    return Check("memory", "ok", f"{total:.1f} GiB")


def _disk(settings: Settings) -> Check:
    folder = _existing(settings.paths.shards_dir)
    free = shutil.disk_usage(folder).free / _GIB
    finding = f"{free:.1f} GiB free at {folder.resolve()}"
    if free < 5:
        return Check("disk", "warning", finding, "a million products need about 15 GiB of shards")
    return Check("disk", "ok", finding)


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents, Path()) if folder.exists())


def _state_file(settings: Settings) -> Check:
    from furnclip.state import StateStore

    path = settings.paths.state_file
    if not path.exists():
        return Check("state file", "ok", f"{path}: not there yet, made by the first command")
    try:
        with StateStore(path, budget_seconds=5).transaction():
            return Check("state file", "ok", f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    except FurnclipError as error:
        return Check("state file", "error", error.message, error.hint or "")


def _api_key(settings: Settings) -> Check:
    if settings.cleaning.backend != "openai":
        return Check("API key", "ok", f"not needed by backend {settings.cleaning.backend}")
    if settings.openai_api_key is not None:
        return Check("API key", "ok", "present (not shown)")
    return Check(
        "API key",
        "warning",
        "none",
        "export OPENAI_API_KEY=…, or clean offline with --backend rules",
    )


def _model(settings: Settings) -> Check:
    name = settings.model.name
    if Path(name).is_dir():
        from furnclip.encoder import model_sha

        try:
            return Check("model", "ok", f"{name}: folder, sha {model_sha(name)}")
        except FurnclipError as error:
            return Check("model", "error", error.message, error.hint or "")
    return _hub_model(name)


def _hub_model(name: str) -> Check:
    import httpx2
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        if isinstance(try_to_load_from_cache(name, "config.json"), str):
            return Check("model", "ok", f"{name}: in the hub cache")
        HfApi().model_info(name, timeout=5)
    except (OSError, HFValidationError, HfHubHTTPError, httpx2.HTTPError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Check(
            "model",
            "warning",
            f"{name}: not a folder, not in the hub cache, and the hub cannot be reached ({reason})",
            "set model.name to a folder, or fetch it where the hub can be reached",
        )
    return Check("model", "ok", f"{name}: on the hub, downloaded when first used")


def _terminal(settings: Settings) -> Check:
    from furnclip.terminal.detect import detect

    try:
        found = detect(settings.arena.graphics)
    except FurnclipError as error:
        return Check("terminal", "warning", error.message, error.hint or "")
    finding = f"{found.graphics}: {found.reason}" if found.reason else found.graphics
    return Check("terminal", "warning" if found.hint else "ok", finding, found.hint or "")
