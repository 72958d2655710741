"""Taking answers from a batch output file that was made elsewhere, such as by vLLM's run-batch."""

import hashlib
from contextlib import ExitStack
from pathlib import Path

from furnclip.cleaning.locking import exclusive
from furnclip.cleaning.reading import read_answers
from furnclip.errors import DataError
from furnclip.state import StateStore
from furnclip.state.cleaning import RunRow
from furnclip.state.cleaning_answers import import_parquet
from furnclip.state.cleaning_parts import adopt_outside_batch, discard_if_empty


def import_outside(store: StateStore, run: RunRow, path: Path, *, max_attempts: int) -> int:
    """Import the lines of ``path`` that answer requests of ``run``; returns how many gained one.

    The file counts as a batch named by its content, so importing it again changes nothing.
    Raises ``DataError`` when the file is missing or answers no question of the run.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb"))
        except OSError as error:
            raise DataError(
                f"cannot read {path}: {error.strerror}", hint="give a batch output file with --from"
            ) from error
        answers = stack.enter_context(read_answers(path))  # begins at once, on other cores
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        batch_id = f"file_{run.run}_{digest[:16]}"
        stack.enter_context(exclusive(store, "take answers"))
        adopt_outside_batch(store, run.run, run.model, batch_id)
        answered = import_parquet(store, batch_id, answers.files(), max_attempts=max_attempts)
        is_empty = discard_if_empty(store, batch_id)
    if is_empty:
        raise DataError(
            f"{path} answers no question of run {run.run}",
            hint="it must be a batch output file with the custom ids of the request files",
        )
    return answered
