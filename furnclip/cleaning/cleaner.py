"""Cleaning as plain functions: the documented Python API over the same state as the commands.

Settings, key and state file are read as the command line reads them (``furnclip.toml``,
environment), from the current folder.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from furnclip.cleaning.schema import CleanedProduct
from furnclip.cleaning.service import Cleaner
from furnclip.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from furnclip.state.cleaning import RunRow

__all__ = [
    "CleanedProduct",
    "check_status",
    "finalize_results",
    "prepare_batch_jsonl",
    "upload_batch",
    "wait_for_completion",
]


def prepare_batch_jsonl(
    csv_path: Path,
    image_dir: Path,
    output_dir: Path,
    title_column: str | None = None,
    image_column: str | None = None,
    *,
    incremental: bool = True,
) -> int:
    """Write ``batch_input_001.jsonl`` and on into ``output_dir``; returns the number of requests.

    ``incremental`` leaves out what was asked before. Raises ``FileNotFoundError`` when there is no
    such CSV and ``DataError`` for one that cannot be used.
    """
    if not csv_path.is_file():
        raise FileNotFoundError(f"no such CSV file: {csv_path}")
    cleaner = _cleaner(title_column=title_column, image_column=image_column)
    return cleaner.prepare(csv_path, image_dir, folder=output_dir, incremental=incremental).requests


def upload_batch(path: Path) -> str:
    """Submit one request file and return its batch id; a submitted file is not submitted again.

    A file that furnclip did not prepare is uploaded as it is.
    """
    from furnclip.cleaning.locking import exclusive
    from furnclip.cleaning.submit import UNSUBMITTED, submit_part
    from furnclip.state.cleaning_parts import list_batches, part_by_path

    cleaner = _cleaner()
    with exclusive(cleaner.store, "submit"):
        part = part_by_path(cleaner.store, path)
        if part is None:
            return _upload_foreign(cleaner, path)
        if part.state in UNSUBMITTED:
            backend = cleaner.backend(part.backend, cleaner.settings.base_url)
            return submit_part(cleaner.store, backend, part.part, cleaner.submission())
        made = [b for b in list_batches(cleaner.store, run=part.run) if b.part == part.part]
    if not made:
        raise DataError(
            f"{path} was split to fit the provider's queue",
            hint="`furnclip clean upload` submits what became of it",
        )
    return made[-1].batch_id


def check_status(batch_id: str) -> dict[str, Any]:
    """Return ``id``, ``status``, ``request_counts`` and file ids of a batch, asked now."""
    batch = _cleaner().status(batch_id).batches[0]
    return {
        "id": batch.batch_id,
        "status": batch.status,
        "request_counts": {
            "total": batch.total,
            "completed": batch.completed,
            "failed": batch.failed,
        },
        "input_file_id": batch.input_file_id,
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
    }


def wait_for_completion(
    batch_id: str, max_wait_hours: float = 24, poll_seconds: float | None = None
) -> bool:
    """Wait until a batch is terminal; True when it completed, False when not or time ran out.

    A batch of a local backend is worked on here.
    """
    from furnclip.cleaning.backends import TERMINAL
    from furnclip.cleaning.locking import exclusive
    from furnclip.progress import SILENT
    from furnclip.state.cleaning_parts import list_batches

    cleaner = _cleaner()
    for batch in list_batches(cleaner.store, batch_id=batch_id):
        with exclusive(cleaner.store, "answer requests"):
            cleaner.backend_of()(batch).drive(batch_id, SILENT)
    end = time.monotonic() + max_wait_hours * 3600
    while True:
        status = check_status(batch_id)["status"]
        if status in TERMINAL:
            return bool(status == "completed")
        if time.monotonic() >= end:
            return False
        time.sleep(poll_seconds or cleaner.settings.poll_seconds)


def finalize_results(
    batch_output_path: Path, original_csv_path: Path, output_csv_path: Path
) -> pd.DataFrame:
    """Merge a batch's output file with the CSV it was prepared from, and write the result.

    When the file does not exist yet, the answers are fetched from the backend. Rows without an
    answer are in the result with ``clean_status`` pending. All columns are strings.
    """
    import pandas as pd

    cleaner = _cleaner()
    run = _run_of(cleaner, original_csv_path)
    if batch_output_path.is_file():
        cleaner.import_output(run, batch_output_path)
    cleaner.finalize(run, output_csv_path, allow_partial=True)
    return pd.read_csv(output_csv_path, dtype=str, keep_default_na=False)


def _run_of(cleaner: Cleaner, csv: Path) -> RunRow:
    found = [run for run, _ in cleaner.runs() if run.csv == csv.resolve()]
    if not found:
        raise DataError(f"{csv} was not prepared", hint="call prepare_batch_jsonl first")
    return found[0]


def _upload_foreign(cleaner: Cleaner, path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"no such request file: {path}")
    backend = cleaner.backend("openai", cleaner.settings.base_url)
    return backend.create(backend.upload(path, path.name), {}).batch_id


def _cleaner(**typed: object) -> Cleaner:
    from furnclip.config import load_settings
    from furnclip.state import StateStore

    given = {name: value for name, value in typed.items() if value is not None}
    settings = load_settings(overrides={"cleaning": given} if given else None)
    key = settings.openai_api_key
    return Cleaner(
        StateStore(settings.paths.state_file),
        settings.cleaning,
        settings.paths.batches_dir,
        key.get_secret_value() if key else None,
    )
