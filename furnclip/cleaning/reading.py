"""Output files of a million lines or more → the answers on them, classified on every core.

A file is cut into spans at line ends; each span becomes a Parquet file that the state file takes
in bulk. Measured: 9 s on two cores for a million lines of 900 bytes.

``python -m furnclip.cleaning.reading FILE FOLDER WORKER WORKERS`` is one worker: a process of its
own rather than ``multiprocessing``, which would run the script that called us once more.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from furnclip.cleaning.classify import classify
from furnclip.machine import cores
from furnclip.state.cleaning_results import ARRIVED, Answer

_SPAN_BYTES = 48 << 20


@dataclass(frozen=True)
class ReadAnswers:
    """``files`` are Parquet files of answers (columns ``ARRIVED``) in the order of the lines.

    ``broken`` lines are not output lines: the file was cut or damaged on its way.
    """

    files: tuple[Path, ...]
    broken: int


@contextmanager
def read_answers(path: Path) -> Iterator[ReadAnswers]:
    """Read an output file; the Parquet files go when the block ends.

    Raises ``OSError`` when the file cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="furnclip-answers-") as name:
        folder = Path(name)
        workers = min(cores(), path.stat().st_size // _SPAN_BYTES + 1)
        broken = read_share(path, folder, 0, 1) if workers == 1 else _shared(path, folder, workers)
        yield ReadAnswers(tuple(sorted(folder.glob("*.parquet"))), broken)


def read_share(path: Path, folder: Path, worker: int, workers: int) -> int:
    """Write the spans that fall to one of ``workers``; returns the number of broken lines."""
    return sum(
        _read_span(path, start, end, folder / f"{number:06d}.parquet")
        for number, (start, end) in enumerate(_spans(path, _SPAN_BYTES))
        if number % workers == worker
    )


def _shared(path: Path, folder: Path, workers: int) -> int:
    command = [sys.executable, "-m", __name__, str(path.resolve()), str(folder)]
    running = [
        subprocess.Popen([*command, str(worker), str(workers)], stdout=subprocess.PIPE)
        for worker in range(workers)
    ]
    answers = [process.communicate()[0] for process in running]
    for process in running:
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, process.args)
    return sum(map(int, answers))


def _spans(path: Path, size: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) byte ranges of about ``size`` that begin and end between lines."""
    total = path.stat().st_size
    start = 0
    with path.open("rb") as file:
        while start < total:
            file.seek(min(start + size, total))
            file.readline()
            end = min(file.tell(), total)
            yield start, end
            start = end


def _read_span(path: Path, start: int, end: int, target: Path) -> int:
    """Write the answers of one span to ``target``; returns the number of broken lines."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with path.open("rb") as file:
        file.seek(start)
        lines = file.read(end - start).split(b"\n")
    answers = [classify(line) for line in lines if line and not line.isspace()]
    kinds = {"VARCHAR": pa.string(), "BIGINT": pa.int64()}
    columns = Answer.columns(answers, start)
    arrays = {
        name: pa.array(values, kinds[kind])
        for (name, kind), values in zip(ARRIVED.items(), columns, strict=True)
    }
    pq.write_table(pa.table(arrays), target)
    return sum(not answer.custom_id for answer in answers)


if __name__ == "__main__":
    gc.disable()  # no answer refers to itself: looking for that takes a tenth of the time
    print(read_share(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))  # noqa: T201  the answer of the process
