"""Output files of a million lines or more → the answers on them, classified on every core.

A file is cut into spans at line ends; each span becomes a Parquet file that the state file takes
in bulk, while the next ones are read.

``python -m furnclip.cleaning.reading FILE FOLDER WORKER WORKERS`` is one worker: a process of its
own rather than ``multiprocessing``, which would run the script that called us once more.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from furnclip.cleaning.classify import classify
from furnclip.errors import DataError
from furnclip.machine import cores, keep_freed_memory
from furnclip.state.cleaning_answers import ARRIVED, Answer

_SPAN_BYTES = 24 << 20
_NAME = "{:06d}.parquet"
_POLL_SECONDS = 0.02
_OF_FEW_VALUES = ["outcome", "style", "material", "color", "object_type"]


@dataclass(frozen=True)
class ReadAnswers:
    """The answers of a file while it is read; ``count`` Parquet files (columns ``ARRIVED``)."""

    source: Path
    folder: Path
    count: int
    found_broken: int = 0
    running: Sequence[subprocess.Popen[bytes]] = ()

    def files(self) -> Iterator[Path]:
        """Yield the Parquet files in the order of the lines, each as soon as it is there.

        Raises ``DataError`` when the file changes meanwhile, or a worker dies.
        """
        for number in range(self.count):
            path = self.folder / _NAME.format(number)
            ended = False
            while not path.exists():
                if ended:
                    raise self._unread()
                ended = all(process.poll() is not None for process in self.running)
                time.sleep(_POLL_SECONDS)
            yield path

    def broken(self) -> int:
        """Return the lines that are no output lines, when all are read: cut or damaged on the way.

        Raises ``DataError`` when a worker died.
        """
        answers = [process.communicate()[0] for process in self.running]
        if any(process.returncode for process in self.running):
            raise self._unread()
        return self.found_broken + sum(map(int, answers))

    def _unread(self) -> DataError:
        return DataError(
            f"{self.source} could not be read to its end, or changed while it was read",
            hint="run the command again: what was taken is kept",
        )


@contextmanager
def read_answers(path: Path) -> Iterator[ReadAnswers]:
    """Read an output file; the Parquet files go when the block ends.

    Raises ``OSError`` when the file cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="furnclip-answers-") as name, ExitStack() as stack:
        folder = Path(name)
        count = sum(1 for _ in _spans(path, _SPAN_BYTES))
        workers = min(cores(), count)
        if workers <= 1:
            yield ReadAnswers(path, folder, count, read_share(path, folder, 0, 1))
            return
        command = [sys.executable, "-m", __name__, str(path.resolve()), str(folder)]
        running = [
            stack.enter_context(_stopping([*command, str(worker), str(workers)]))
            for worker in range(workers)
        ]
        yield ReadAnswers(path, folder, count, running=running)


@contextmanager
def _stopping(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def read_share(path: Path, folder: Path, worker: int, workers: int) -> int:
    """Write the spans that fall to one of ``workers``; returns the number of broken lines."""
    return sum(
        _read_span(path, start, end, folder / _NAME.format(number))
        for number, (start, end) in enumerate(_spans(path, _SPAN_BYTES))
        if number % workers == worker
    )


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
    whole = target.with_suffix(".tmp")
    pq.write_table(pa.table(arrays), whole, compression="none", use_dictionary=_OF_FEW_VALUES)
    whole.rename(target)
    return sum(not answer.custom_id for answer in answers)


if __name__ == "__main__":
    keep_freed_memory()
    gc.disable()  # no answer refers to itself: looking for that takes a tenth of the time
    print(read_share(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))  # noqa: T201  the answer of the process
