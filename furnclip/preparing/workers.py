"""Decoding in processes that may die: a batch is tried again, then halved down to its poison row.

Threads would be as fast, since Pillow releases the interpreter lock, but one crash in a decoder,
or the kernel short of memory, would end the run.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from queue import SimpleQueue
from typing import IO

from furnclip.machine import cores
from furnclip.preparing.pictures import PictureStore, Recipe
from furnclip.preparing.worker import receive, send
from furnclip.state.preparing import Picture

Task = tuple[str, tuple[int, int]]
Made = list[tuple[Picture, bytes]]
WORKER = (sys.executable, "-m", "furnclip.preparing.worker")
_BATCH = 16
_PICTURES_PER_TAR = 256
# A process starts in the time that 60 images take.
_IMAGES_WORTH_A_WORKER = 64
_logger = logging.getLogger(__name__)


class _WorkerDiedError(Exception):
    """The process ended before it answered; the message says how."""


class Worker:
    """One decoding process, started when first needed and again after it died."""

    def __init__(self, root: Path, recipe: Recipe, command: Sequence[str] = WORKER) -> None:
        self._root, self._recipe, self._command = root, recipe, command
        self._process: subprocess.Popen[bytes] | None = None
        self._complaints: IO[bytes] | None = None

    def make(self, batch: Sequence[Task]) -> Made:
        """Read the images of ``batch``; one that kills the process every time is rejected."""
        try:
            return self._ask(batch)
        except _WorkerDiedError as error:
            _logger.info("a worker died (%s); trying its %d images again", error, len(batch))
        return self._halve(batch)

    def close(self) -> None:
        """End the process."""
        if self._process is None:
            return
        for pipe in (self._process.stdin, self._process.stdout, self._complaints):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    _logger.debug("the worker was gone already")
        self._process.wait()
        self._process = None

    def _halve(self, batch: Sequence[Task]) -> Made:
        try:
            return self._ask(batch)
        except _WorkerDiedError as error:
            if len(batch) > 1:
                middle = len(batch) // 2
                return self._halve(batch[:middle]) + self._halve(batch[middle:])
            ((source, stamp),) = batch
            message = f"the decoder crashed on {self._root / source}: {error}"
            return [(Picture(source, *stamp, self._recipe.name, "crashed", message), b"")]

    def _ask(self, batch: Sequence[Task]) -> Made:
        process = self._process or self._start()
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the worker has no pipes")
        try:
            send(process.stdin, batch)
            made: Made = receive(process.stdout)
        except (EOFError, BrokenPipeError):
            reason = self._last_words(process)
            self.close()
            raise _WorkerDiedError(reason) from None
        return made

    def _start(self) -> subprocess.Popen[bytes]:
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            start_new_session=True,
        )
        if self._process.stdin is not None:
            send(self._process.stdin, (self._root.resolve(), self._recipe))
        return self._process

    def _last_words(self, process: subprocess.Popen[bytes]) -> str:
        code = process.wait()
        if self._complaints is not None:
            self._complaints.seek(0)
            lines = self._complaints.read().decode(errors="replace").strip().splitlines()
            if lines and code > 0:
                return lines[-1]
        return signal.Signals(-code).name if code < 0 else f"exit status {code}"


def make_pictures(
    store: PictureStore,
    todo: Sequence[Task],
    *,
    root: Path,
    recipe: Recipe,
    workers: int,
    advance: Callable[[int], None],
    command: Sequence[str] = WORKER,
) -> None:
    """Read the files of ``todo`` (source and stamp) into ``store``; 0 workers: one a core.

    What is finished when an exception such as Ctrl-C arrives is kept in the store.
    """
    batches = [todo[start : start + _BATCH] for start in range(0, len(todo), _BATCH)]
    useful = -(-len(todo) // _IMAGES_WORTH_A_WORKER)
    count = min(workers or cores(), useful)
    staff = [Worker(root, recipe, command) for _ in range(count)]
    waiting: Made = []
    try:
        with closing(_in_order(batches, staff)) as results:
            for made in results:
                waiting += made
                advance(len(made))
                while len(waiting) >= _PICTURES_PER_TAR:
                    full, waiting = waiting[:_PICTURES_PER_TAR], waiting[_PICTURES_PER_TAR:]
                    store.add(full)
    finally:
        store.add(waiting)


def _in_order(batches: Sequence[Sequence[Task]], workers: Sequence[Worker]) -> Generator[Made]:
    """Hand batches to idle workers; yield what they made in order, a bounded number ahead."""
    if not workers:
        return
    idle: SimpleQueue[Worker] = SimpleQueue()
    for worker in workers:
        idle.put(worker)

    def work(batch: Sequence[Task]) -> Made:
        worker = idle.get()
        try:
            return worker.make(batch)
        finally:
            idle.put(worker)

    ahead: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(len(workers)) as pool:
        try:
            for batch in batches:
                ahead.append(pool.submit(work, batch))
                if len(ahead) > 2 * len(workers):
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
            for worker in workers:
                worker.close()
