"""Embedding a whole catalogue: shards in, one vector file a shard and model out.

Every image is decoded once for all models. A finished shard is never embedded again, so a run
that was stopped goes on where it was, and several machines share the work: shard i belongs to
worker i mod n, and no worker touches the state file.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from furnclip.embeddings.batches import CatalogueEncoder, image_vectors, text_vectors
from furnclip.embeddings.files import (
    Shard,
    collect,
    find_shards,
    is_current,
    precision_of,
    read_samples,
    shard_sha,
    vector_file,
    write_vectors,
)
from furnclip.errors import Interrupted, UsageError
from furnclip.files import sole_writer, writing_in
from furnclip.machine import cores
from furnclip.model_files import model_sha, model_shape
from furnclip.progress import SILENT, Progress, Task
from furnclip.shards import ShardReader, index_shard
from furnclip.vectors import MASTER, ModelInfo


@dataclass(frozen=True)
class EmbedResult:
    """What an embedding run did; ``master`` is None until all workers' files are collected."""

    rows: int
    dim: int
    files: int
    skipped: int
    seconds: float
    models: dict[str, ModelInfo]
    master: Path | None


@dataclass(frozen=True)
class _Job:
    """One shard, its content hash, and the labels whose vectors it lacks."""

    shard: Shard
    sha256: str
    labels: tuple[str, ...]


def embed_catalogue(
    models: Mapping[str, str | Path],
    *,
    shards_dir: Path,
    out: Path,
    batch_size: int = 32,
    precision: str = "auto",
    device: str = "auto",
    workers: int = 0,
    worker: tuple[int, int] = (0, 1),
    only_collect: bool = False,
    progress: Progress = SILENT,
) -> EmbedResult:
    """Embed every product of ``shards_dir`` with each of ``models`` (label to folder or hub id).

    With ``worker`` (i, n), n > 1, only this worker's shards are embedded and nothing is collected;
    ``only_collect`` merges the files all workers made. ``workers`` threads decode (0: one a core).
    On a GPU eight times ``batch_size`` images go at once. ``precision`` int8 (CPU only) is let
    in when it finds the same products as float32 on a sample of these shards.

    Raises ``DataError`` for missing shards or models, vectors of another precision and while
    another process writes ``out`` (workers excepted), or int8 that finds others; ``Interrupted``
    on Ctrl-C.
    """
    index, count = worker
    if not 0 <= index < count:
        raise UsageError(f"no worker {index} of {count}", hint="count from 0: --worker 0/4 … 3/4")
    started = time.monotonic()
    shards = find_shards(shards_dir)
    mine = [shard for shard in shards if shard.number % count == index]
    run = _Run(shards, out, batch_size, workers or cores(), device, progress)
    rows = 0
    is_whole = count == 1 or only_collect
    try:
        with writing_in(out), sole_writer(out) if is_whole else nullcontext():
            run.plan(models, [] if only_collect else mine, precision=precision)
            run.embed()
            if is_whole:
                rows = collect(shards, out, run.infos, progress=progress)
    except KeyboardInterrupt:
        kept = f"{len(mine) - len(run.jobs) + run.done} of {len(mine)}" if run.jobs else "finished"
        raise Interrupted(
            f"stopped; the vectors of {kept} shards are kept",
            hint="run the same `furnclip embed` command again to go on",
        ) from None
    written = sum(len(job.labels) for job in run.jobs)
    return EmbedResult(
        rows=rows,
        dim=max(info.dim for info in run.infos.values()),
        files=written,
        skipped=0 if only_collect else len(mine) * len(run.infos) - written,
        seconds=time.monotonic() - started,
        models=run.infos,
        master=out / MASTER if rows else None,
    )


@dataclass
class _Run:
    """One run: what it was asked, the models it has loaded, and how far it is."""

    shards: Sequence[Shard]
    out: Path
    batch_size: int
    threads: int
    device: str
    progress: Progress
    infos: dict[str, ModelInfo] = field(default_factory=dict)
    encoders: dict[str, CatalogueEncoder] = field(default_factory=dict)
    jobs: list[_Job] = field(default_factory=list)
    done: int = 0

    def plan(
        self, models: Mapping[str, str | Path], shards: Sequence[Shard], *, precision: str
    ) -> None:
        """Find out what is missing; no model is loaded when its vectors are all there."""
        infos: dict[str, ModelInfo] = {}
        # Of all models before the first is loaded: a wrong path is told at once.
        shas = {label: model_sha(spec) for label, spec in models.items()}
        for label, spec in models.items():
            sha = shas[label]
            dim, image_size = model_shape(spec)
            dtype = precision if precision != "auto" else precision_of(self.out, sha)
            if dtype is None:
                dtype = self._encoder(label, str(spec), sha, "auto").precision
            if dtype == "int8":
                self._require_runtime()
            infos[label] = ModelInfo(str(spec), sha, dim, dtype, image_size)
        self.infos = infos
        self.jobs = list(self._missing(shards))

    def _missing(self, shards: Sequence[Shard]) -> Iterator[_Job]:
        for shard in shards:
            sha256 = shard_sha(shard.path)
            labels = tuple(
                label
                for label, info in self.infos.items()
                if not is_current(vector_file(self.out, info.sha, shard), info, sha256)
            )
            if labels:
                yield _Job(shard, sha256, labels)

    def _require_runtime(self) -> None:
        from furnclip.quantized import require_runtime

        require_runtime(self.device)

    def _encoder(self, label: str, spec: str, sha: str, precision: str) -> CatalogueEncoder:
        from furnclip.encoder import Encoder

        if label in self.encoders:
            return self.encoders[label]
        found: CatalogueEncoder
        if precision == "int8":
            from furnclip.embeddings.gate import proven_int8

            full = Encoder.load(spec, device="cpu", precision="fp32")
            found = proven_int8(
                full,
                self.out / sha,
                self.shards,
                label=label,
                batch_size=self.batch_size,
                threads=self.threads,
                progress=self.progress,
            )
        else:
            found = Encoder.load(spec, device=self.device, precision=precision)
        self.encoders[label] = found
        return found

    def embed(self) -> None:
        """Embed what is missing, shard by shard."""
        if not self.jobs:
            return
        total = sum(len(index_shard(job.shard.path)) for job in self.jobs)
        with self.progress.task("Embedding", total=total, unit="images") as task:
            for job in self.jobs:
                self._embed_shard(job, task)
                self.done += 1

    def _embed_shard(self, job: _Job, task: Task) -> None:
        infos = {label: self.infos[label] for label in job.labels}
        wanted = {label: self._encoder(label, i.spec, i.sha, i.dtype) for label, i in infos.items()}
        with closing(ShardReader([job.shard.path])) as reader:
            samples = read_samples(reader)
            images = image_vectors(
                reader, wanted, batch_size=self.batch_size, threads=self.threads, task=task
            )
        for label, encoder in wanted.items():
            write_vectors(
                vector_file(self.out, infos[label].sha, job.shard),
                job.shard,
                samples,
                image=images[label],
                text=text_vectors(encoder, samples),
                info=infos[label],
                sha256=job.sha256,
            )
