"""Answers in the state file → the cleaned CSV: every row of the input, in order, with a status."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from furnclip.catalogue import (
    CLEANED_COLUMNS,
    csv_text,
    read_header,
    read_record_texts,
    read_records,
    write_widened_csv_atomic,
)
from furnclip.errors import DataError
from furnclip.files import writing_in
from furnclip.state import StateStore
from furnclip.state.cleaning import (
    RunCounts,
    RunRow,
    csv_tails,
    record_finalized,
    run_counts,
)
from furnclip.state.cleaning_parts import list_batches


@dataclass(frozen=True)
class FinalizeResult:
    """What became of the rows; ``cost`` is in dollars, None when a price is unknown."""

    run: str
    rows: int
    cleaned: int
    failed: int
    image_errors: int
    pending: int
    output: Path
    cost: float | None


def finalize(
    store: StateStore, run: RunRow, output: Path, *, allow_partial: bool = False
) -> FinalizeResult:
    """Write the cleaned CSV of a run, whole or not at all.

    Raises ``DataError`` while rows are not answered, unless ``allow_partial``, when the CSV is not
    the one that was prepared, and when ``output`` is that CSV or cannot be written.
    """
    counts = run_counts(store, run.run)
    if counts.pending and not allow_partial:
        raise DataError(
            f"{counts.pending:,} of {counts.rows:,} rows have no answer yet",
            hint=f"{_way_on(store, run)}; --allow-partial writes the file without",
        )
    check_output(run, output)
    _check_unchanged(run)
    names, rows = _original(run)
    with writing_in(output):
        header = [*names, *CLEANED_COLUMNS]
        write_widened_csv_atomic(output, header, rows, csv_tails(store, run.run))
    record_finalized(store, run.run, output, counts)
    return _result(store, run, counts, output)


def check_output(run: RunRow, output: Path) -> None:
    """Refuse to write where a folder or the raw CSV of the run is."""
    if output.is_dir():
        raise DataError(f"{output} is a folder", hint="name a file with --output")
    if output.resolve() == run.csv:
        raise DataError(f"{output} is the raw CSV itself", hint="name another file with --output")


def _way_on(store: StateStore, run: RunRow) -> str:
    unread = [batch for batch in list_batches(store, run=run.run) if not batch.harvested]
    if not unread:
        return "`furnclip clean upload` sends them"
    if all(batch.status == "orphaned" for batch in unread):
        return "`furnclip clean retry`, then `furnclip clean upload`, asks the lost ones again"
    return "`furnclip clean wait` fetches them"


def _check_unchanged(run: RunRow) -> None:
    try:
        with run.csv.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            f"cannot read {run.csv}, which run {run.run} was made from: {error.strerror}",
            hint="put it back, or prepare another with `furnclip clean prepare`",
        ) from error
    if digest != run.csv_sha256:
        raise DataError(
            f"{run.csv} was changed since run {run.run} was prepared",
            hint="run `furnclip clean prepare` again: only new or changed rows are asked",
        )


def _original(run: RunRow) -> tuple[list[str], Iterator[str]]:
    """Return the names and the rows, as CSV text, of the input without a former cleaning's."""
    names = read_header(run.csv)
    kept = [place for place, name in enumerate(names) if name not in CLEANED_COLUMNS]
    if len(kept) == len(names):
        return names, read_record_texts(run.csv)
    records = read_records(run.csv)
    return [names[place] for place in kept], (csv_text([row[n] for n in kept]) for row in records)


def _result(store: StateStore, run: RunRow, counts: RunCounts, output: Path) -> FinalizeResult:
    batches = list_batches(store, run=run.run)
    costs = [batch.usd for batch in batches if batch.harvested and batch.backend != "file"]
    known = [cost for cost in costs if cost is not None]
    return FinalizeResult(
        run=run.run,
        rows=counts.rows,
        cleaned=counts.answered,
        failed=counts.failed,
        image_errors=counts.image_errors,
        pending=counts.pending,
        output=output,
        cost=sum(known) if len(known) == len(costs) else None,
    )
