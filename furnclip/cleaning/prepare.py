"""A CSV and its photos → request files and the rows, requests and parts in the state file.

Rows that ask the same question (same title, same photo) become one request. A request that is
already known, answered or on its way, is not written again.
"""

import functools
import hashlib
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path

from furnclip.catalogue import id_column, read_header, read_records, read_rows, require_column
from furnclip.cleaning.lexicon import rules_version
from furnclip.cleaning.locking import exclusive
from furnclip.cleaning.parts import PartLimits, PartWriter
from furnclip.cleaning.profiles import model_profile
from furnclip.cleaning.prompts import (
    EXPECTED_OUTPUT_TOKENS,
    Question,
    custom_id,
    request_key,
    request_line,
)
from furnclip.config import CleaningSettings
from furnclip.errors import DataError, ImageError
from furnclip.image_paths import require_image_root, resolve_image
from furnclip.images import encode_jpeg, load_letterboxed
from furnclip.progress import SILENT, Progress
from furnclip.state import StateStore
from furnclip.state.cleaning import (
    PartRow,
    RequestRow,
    RunRow,
    SourceRow,
    next_part_number,
    record_run,
    request_states,
)
from furnclip.state.cleaning_parts import forget_lost, parts_of_run, requeued_lines

_RULES_IMAGE_SIZE = 128
"""The rules look at colours only; a small photo gives the same answer as a large one."""
_CACHED_PHOTOS = 1024
_CHUNK = 1000
"""Rows between two looks into the state file."""


@dataclass(frozen=True)
class PrepareResult:
    """What was prepared.

    ``requests`` are new; ``deduplicated`` rows share one with another row of this CSV, ``known``
    requests were asked before. ``est_usd`` is None when the model's prices are unknown.
    """

    run: str | None
    rows: int
    requests: int
    deduplicated: int
    known: int
    rejected: int
    parts: int
    est_tokens: int
    est_output_tokens: int
    est_usd: float | None
    backend: str
    model: str
    part_files: tuple[Path, ...] = ()
    rejections: tuple[tuple[int, str], ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Photo:
    """A letterboxed JPEG, or why there is none."""

    jpeg: bytes = b""
    sha256: str = ""
    error: str | None = None


@dataclass
class _Plan:
    rows: list[SourceRow] = field(default_factory=list)
    requests: list[RequestRow] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    known: set[str] = field(default_factory=set)


def prepare(
    store: StateStore,
    csv: Path,
    image_root: Path,
    *,
    settings: CleaningSettings,
    batches_dir: Path,
    limit: int | None = None,
    dry_run: bool = False,
    incremental: bool = True,
    folder: Path | None = None,
    progress: Progress = SILENT,
    today: date | None = None,
) -> PrepareResult:
    """Prepare a CSV; with ``dry_run`` only count and price, and write nothing.

    ``folder`` receives the request files (default: one of the run's own in ``batches_dir``).
    Without ``incremental`` every row is asked again in a run of its own.

    Raises ``DataError`` for an unusable CSV, a missing column or image folder, ``ConfigError``
    for a model that was switched off.
    """
    question = _question(settings)
    warning = question.profile.shutdown_warning(today or datetime.now(UTC).date())
    require_image_root(image_root, option="--images")
    run = _run(
        csv, image_root, settings, question, batches_dir=batches_dir, limit=limit, folder=folder
    )
    if not incremental:
        question = replace(question, salt=f"{question.salt} {datetime.now(UTC).isoformat()}")
    with exclusive(store, "prepare"):
        if not dry_run:
            _forget_lost_files(store, run)
        plan, writer = _write_parts(
            store, run, settings, question, limit=limit, dry_run=dry_run, progress=progress
        )
        if not plan.rows:
            raise DataError(
                f"{csv} has no rows below its header", hint="give a CSV with one product a row"
            )
        if not dry_run:
            run = replace(run, row_count=len(plan.rows))
            record_run(store, run, plan.rows, plan.requests, writer.finished)
    return _result(run, plan, writer, question, warning, dry_run=dry_run)


def _question(settings: CleaningSettings) -> Question:
    rules = settings.backend == "rules"
    return Question(
        profile=model_profile(
            "furnclip-rules" if rules else settings.model, backend=settings.backend
        ),
        image_size=_RULES_IMAGE_SIZE if rules else settings.image_size,
        jpeg_quality=settings.jpeg_quality,
        max_completion_tokens=settings.max_completion_tokens,
        reasoning_effort=settings.reasoning_effort,
        salt=f"{settings.backend} {rules_version() if rules else ''}",
    )


def _run(
    csv: Path,
    image_root: Path,
    settings: CleaningSettings,
    question: Question,
    *,
    batches_dir: Path,
    limit: int | None,
    folder: Path | None,
) -> RunRow:
    """Name the run by everything that goes in, so that preparing it again is the same run."""
    header = read_header(csv)
    title = require_column(csv, header, settings.title_column, option="--title-column")
    image = require_column(csv, header, settings.image_column, option="--image-column")
    identity = id_column(header, settings.id_column, path=csv)
    with csv.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    parts = (
        str(csv.resolve()), digest, str(image_root.resolve()), title, image, settings.backend,
        question.fingerprint(), str(question.image_size), str(question.jpeg_quality), str(limit),
    )  # fmt: skip
    name = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:10]
    return RunRow(
        run=name,
        prepared_at=datetime.now(UTC),
        csv=csv.resolve(),
        csv_sha256=digest,
        image_root=image_root.resolve(),
        title_column=title,
        image_column=image,
        id_column=identity,
        backend=settings.backend,
        model=question.profile.name,
        base_url=settings.base_url,
        folder=(folder or batches_dir / name).resolve(),
        row_count=0,
    )


def _forget_lost_files(store: StateStore, run: RunRow) -> None:
    """Have questions written anew whose request file was deleted before it was sent."""
    unsent = parts_of_run(store, run.run, ("ready", "uploading", "waiting"))
    parts = [p.part for p in unsent if p.file_id is None and not _is_whole(p)]
    again = requeued_lines(store, run.run)
    keys = [line.request_key for path, line, *_ in again if not path.is_file()]
    if parts or keys:
        forget_lost(store, parts, keys)


def _is_whole(part: PartRow) -> bool:
    return part.path.is_file() and part.path.stat().st_size == part.bytes


def _write_parts(
    store: StateStore,
    run: RunRow,
    settings: CleaningSettings,
    question: Question,
    *,
    limit: int | None,
    dry_run: bool,
    progress: Progress,
) -> tuple[_Plan, PartWriter]:
    fingerprint = question.fingerprint()
    plan = _Plan()
    limits = PartLimits(
        settings.max_requests_per_part, settings.max_part_bytes, settings.max_enqueued_tokens
    )
    number = next_part_number(store, run)
    writer = PartWriter(run.folder, run.run, question.profile, run.backend, limits, number)
    # Read once whole before the photos: a broken line is found now, not after hours of work.
    total = sum(1 for _ in islice(read_records(run.csv), limit))
    rows = ((r.number, r.values) for r in islice(read_rows(run.csv), limit))
    triples = ((n, v[run.title_column], v[run.image_column]) for n, v in rows)
    with (
        progress.task("Preparing", total=total, unit="rows") as task,
        writer,
        ThreadPoolExecutor(settings.workers or os.cpu_count() or 1) as pool,
    ):
        chunk: list[tuple[SourceRow, bytes]] = []
        photos = _with_photos(triples, run.image_root, question, pool)
        for number_, title, image, photo in photos:
            key = request_key(fingerprint, title, photo.sha256) if photo.error is None else None
            status = "ready" if key else "image_error"
            chunk.append((SourceRow(number_, title, image, key, status, photo.error), photo.jpeg))
            task.advance()
            if len(chunk) == _CHUNK:
                _take(store, chunk, plan, writer, question, dry_run=dry_run)
                chunk = []
        _take(store, chunk, plan, writer, question, dry_run=dry_run)
    return plan, writer


def _take(
    store: StateStore,
    chunk: list[tuple[SourceRow, bytes]],
    plan: _Plan,
    writer: PartWriter,
    question: Question,
    *,
    dry_run: bool,
) -> None:
    """Add a chunk of rows to the plan and write the requests nobody has asked yet."""
    keys = list({row.request_key for row, _ in chunk if row.request_key} - plan.seen)
    plan.known |= request_states(store, keys).keys() if keys else set()
    for row, jpeg in chunk:
        plan.rows.append(row)
        key = row.request_key
        if key is None or key in plan.seen:
            continue
        plan.seen.add(key)
        if key in plan.known:
            continue
        request = RequestRow(
            key,
            custom_id(key),
            question.profile.name,
            question.input_tokens(row.title),
            EXPECTED_OUTPUT_TOKENS,
        )
        plan.requests.append(request)
        if not dry_run:
            writer.add(request, request_line(request.custom_id, question.body(row.title, jpeg)))


def _with_photos(
    rows: Iterable[tuple[int, str, str]], root: Path, question: Question, pool: ThreadPoolExecutor
) -> Iterator[tuple[int, str, str, _Photo]]:
    """Yield the rows in order, each with its photo, read a little ahead in parallel."""

    @functools.lru_cache(maxsize=_CACHED_PHOTOS)
    def start(image: str) -> Future[_Photo]:
        return pool.submit(_photo, root, image, question.image_size, question.jpeg_quality)

    ahead: deque[tuple[int, str, str, Future[_Photo]]] = deque()
    for number, title, image in rows:
        ahead.append((number, title, image, start(image)))
        if len(ahead) >= 64:
            first = ahead.popleft()
            yield (*first[:3], first[3].result())
    for number, title, image, future in ahead:
        yield number, title, image, future.result()


def _photo(root: Path, image: str, size: int, quality: int) -> _Photo:
    try:
        loaded = load_letterboxed(resolve_image(root, image), size)
    except ImageError as error:
        return _Photo(error=f"{error.reason}: {error.message}")
    jpeg = encode_jpeg(loaded.image, quality=quality)
    return _Photo(jpeg, hashlib.sha256(jpeg).hexdigest())


def _result(
    run: RunRow,
    plan: _Plan,
    writer: PartWriter,
    question: Question,
    warning: str | None,
    *,
    dry_run: bool,
) -> PrepareResult:
    rejections = tuple((row.number, row.error or "") for row in plan.rows if row.error is not None)
    tokens = sum(request.input_tokens for request in plan.requests)
    output = sum(request.output_tokens for request in plan.requests)
    profile = question.profile
    return PrepareResult(
        run=None if dry_run else run.run,
        rows=len(plan.rows),
        requests=len(plan.requests),
        deduplicated=len(plan.rows) - len(rejections) - len(plan.seen),
        known=len(plan.known),
        rejected=len(rejections),
        parts=len(writer.finished),
        est_tokens=tokens,
        est_output_tokens=output,
        est_usd=profile.usd(tokens, output, batch=run.backend == "openai"),
        backend=run.backend,
        model=profile.name,
        part_files=tuple(part.path for part, _ in writer.finished),
        rejections=rejections,
        warnings=(warning,) if warning else (),
    )
