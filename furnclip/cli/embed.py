"""``furnclip embed``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from furnclip.cli.common import JsonOption, settings, store
from furnclip.errors import UsageError

if TYPE_CHECKING:
    from furnclip.config import Settings


def embed(
    ctx: typer.Context,
    *,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Model to compare with the base: folder, hub id or `tuned` (default: the latest "
            "training run). May be repeated: the first is labelled tuned, others by their folder."
        ),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Base model; default: the one the run started from.")
    ] = None,
    shards: Annotated[Path | None, typer.Option(help="Folder of the shards.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the vector files.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="auto, fp32, bf16, fp16 or int8 (CPU; extra `fast`).")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images at once.")] = None,
    workers: Annotated[int | None, typer.Option(help="Threads that decode images.")] = None,
    worker: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Do share I (from 0) of N; then run once with --collect."),
    ] = None,
    collect: Annotated[
        bool, typer.Option("--collect", help="Only merge what all workers made.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compute base and tuned vectors of every product; resumes where it was stopped."""
    from furnclip import console
    from furnclip.embeddings.catalogue import embed_catalogue
    from furnclip.remote import bring, written_back
    from furnclip.vectors import MASTER

    loaded = settings(
        ctx,
        paths={"shards_dir": shards, "embeddings_dir": out},
        embedding={"precision": precision, "batch_size": batch_size, "workers": workers},
        model={"device": device},
    )
    share, local_device = _share(worker, loaded.model.device)
    home = loaded.paths.state_file.parent
    with written_back(loaded.paths.embeddings_dir, home, last=MASTER, partly=True) as folder:
        result = embed_catalogue(
            _models(loaded, model or [], base, is_worker=share[1] > 1),
            shards_dir=bring(loaded.paths.shards_dir, home),
            out=folder,
            batch_size=loaded.embedding.batch_size,
            precision=loaded.embedding.precision,
            device=local_device,
            workers=loaded.embedding.workers,
            worker=share,
            only_collect=collect,
            progress=console.progress(),
        )
    if as_json:
        console.print_json(result)
        return
    did = f"{result.files} files written" if result.files else "nothing to embed"
    console.result(f"{did}, {result.skipped} up to date, {result.seconds:.1f} s")
    if result.master is None:
        console.next_step("when all workers are done: furnclip embed --collect")
        return
    console.result(f"{result.rows} products by {', '.join(result.models)} in {result.master}")
    console.next_step('furnclip eval, furnclip search "black chair", furnclip arena')


def _share(worker: str | None, device: str) -> tuple[tuple[int, int], str]:
    """Return (i, n) and the device, from --worker or from what torchrun sets."""
    import os

    if worker is None and "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        worker = f"{os.environ['RANK']}/{os.environ['WORLD_SIZE']}"
        if device == "auto":
            import torch

            gpus = torch.cuda.device_count()
            local = int(os.environ.get("LOCAL_RANK", "0"))
            device = f"cuda:{local % gpus}" if gpus else "auto"
    if worker is None:
        return (0, 1), device
    first, slash, second = worker.partition("/")
    if not (slash and first.isdigit() and second.isdigit()):
        raise UsageError(f"--worker {worker}: not of the form I/N", hint="such as --worker 0/4")
    return (int(first), int(second)), device


def _models(
    loaded: Settings, typed: list[str], base: str | None, *, is_worker: bool
) -> dict[str, str | Path]:
    """Return label to model: base, tuned, then folder names."""
    run = None
    if (not typed or "tuned" in typed or base is None) and not is_worker:
        from furnclip.state.training import latest_run

        run = latest_run(store(loaded))
    if is_worker and not (typed and base):
        raise UsageError(
            "a worker needs --model and --base: it does not open the state file",
            hint="such as --model models/<run> --base openai/clip-vit-base-patch32",
        )
    if "tuned" in typed and (run is None or run.model_path is None):
        raise UsageError(
            "no finished training run to take `tuned` from", hint="run `furnclip train` first"
        )
    tuned = str(run.model_path) if run is not None and run.model_path else None
    wanted = [tuned if name == "tuned" else name for name in typed or ["tuned"]]
    models: dict[str, str | Path] = {"base": base or (run.base if run else loaded.model.name)}
    for name in wanted:
        if name is not None:
            label = "tuned" if "tuned" not in models else Path(name).name
            if label in models:
                raise UsageError(f"two models would be labelled {label!r}")
            models[label] = name
    return models
