"""Embedding a whole catalogue: shards in, one vector file a shard and model out.

Every image is decoded once for all models. A finished shard is never embedded again, so a run
that was stopped goes on where it was, and several machines share the work: shard i belongs to
worker i mod n, and no worker touches the state file.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from furnclip.embeddings.files import (
    Samples,
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
from furnclip.errors import DataError, ImageError, Interrupted, UsageError
from furnclip.files import sole_writer, writing_in
from furnclip.images import load_letterboxed
from furnclip.machine import cores
from furnclip.model_files import model_sha, model_shape
from furnclip.progress import SILENT, Progress, Task
from furnclip.shards import ShardReader, index_shard
from furnclip.vectors import MASTER, ModelInfo

if TYPE_CHECKING:
    from furnclip.encoder import Encoder

UInt8 = npt.NDArray[np.uint8]
_AHEAD = 3  # batches decoded while one is embedded


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
    On a GPU eight times ``batch_size`` images go at once.

    Raises ``DataError`` for missing shards or models, vectors of another precision and while
    another process writes ``out`` (workers excepted), ``Interrupted`` on Ctrl-C.
    """
    index, count = worker
    if not 0 <= index < count:
        raise UsageError(f"no worker {index} of {count}", hint="count from 0: --worker 0/4 … 3/4")
    started = time.monotonic()
    shards = find_shards(shards_dir)
    mine = [shard for shard in shards if shard.number % count == index]
    run = _Run(out, batch_size, workers or cores(), device, progress)
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

    out: Path
    batch_size: int
    threads: int
    device: str
    progress: Progress
    infos: dict[str, ModelInfo] = field(default_factory=dict)
    encoders: dict[str, Encoder] = field(default_factory=dict)
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
                dtype = self._encoder(label, str(spec), "auto").precision
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

    def _encoder(self, label: str, spec: str, precision: str) -> Encoder:
        from furnclip.encoder import Encoder

        if label not in self.encoders:
            self.encoders[label] = Encoder.load(spec, device=self.device, precision=precision)
        return self.encoders[label]

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
        wanted = {label: self._encoder(label, i.spec, i.dtype) for label, i in infos.items()}
        with closing(ShardReader([job.shard.path])) as reader:
            samples = read_samples(reader)
            images = _image_vectors(
                reader, wanted, batch_size=self.batch_size, threads=self.threads, task=task
            )
        for label, encoder in wanted.items():
            write_vectors(
                vector_file(self.out, infos[label].sha, job.shard),
                job.shard,
                samples,
                image=images[label],
                text=_text_vectors(encoder, samples),
                info=infos[label],
                sha256=job.sha256,
            )


def _image_vectors(
    reader: ShardReader,
    encoders: Mapping[str, Encoder],
    *,
    batch_size: int,
    threads: int,
    task: Task,
) -> dict[str, npt.NDArray[np.float32]]:
    vectors = {
        label: np.empty((len(reader), encoder.dim), dtype=np.float32)
        for label, encoder in encoders.items()
    }
    on_gpu = any(encoder.device != "cpu" for encoder in encoders.values())
    step = batch_size * 8 if on_gpu else batch_size
    sizes = sorted({encoder.image_size for encoder in encoders.values()})
    starts = range(0, len(reader), step)
    with ThreadPoolExecutor(threads) as pool:
        batches = _decoded_batches(reader, pool, starts, step=step, sizes=sizes)
        for start, batch in zip(starts, batches, strict=True):
            rows = slice(start, start + len(batch[sizes[0]]))
            for label, encoder in encoders.items():
                vectors[label][rows] = encoder.pixels(batch[encoder.image_size])
            task.advance(rows.stop - rows.start)
    return vectors


def _decoded_batches(
    reader: ShardReader,
    pool: ThreadPoolExecutor,
    starts: Sequence[int],
    *,
    step: int,
    sizes: Sequence[int],
) -> Iterator[dict[int, UInt8]]:
    """Yield batches of squares by size in order, with the next few already being decoded."""

    def submit(start: int) -> list[Future[list[UInt8]]]:
        rows = range(start, min(start + step, len(reader)))
        return [pool.submit(_decode, reader, row, sizes) for row in rows]

    waiting = iter(starts)
    queue = [submit(start) for start in islice(waiting, _AHEAD)]
    while queue:
        decoded = [future.result() for future in queue.pop(0)]
        queue += [submit(start) for start in islice(waiting, 1)]
        yield {
            size: np.stack([squares[place] for squares in decoded])
            for place, size in enumerate(sizes)
        }


def _decode(reader: ShardReader, row: int, sizes: Sequence[int]) -> list[UInt8]:
    try:
        content = reader.jpg(row)
        return [np.asarray(load_letterboxed(content, size).image) for size in sizes]
    except ImageError as error:
        ref = reader.ref(row)
        raise DataError(
            f"{ref.shard}: cannot decode the image of {ref.key}: {error.reason}",
            hint="check the shards with `furnclip shard verify`",
        ) from error


def _text_vectors(encoder: Encoder, samples: Samples) -> npt.NDArray[np.float32]:
    """Embed each distinct caption once."""
    place: dict[str, int] = {}
    rows = [place.setdefault(caption, len(place)) for caption in samples.captions]
    return encoder.texts(list(place))[rows]
