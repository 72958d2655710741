"""Whole files or none: a final name is only ever given to complete, synced content."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from furnclip.errors import DataError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path``; on success sync it and rename it to ``path``.

    The parent folder is made when missing. On an exception the temporary file is removed and
    ``path`` keeps its old content. The temporary name starts with a dot and ends in ``.tmp``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        _fsync(temporary)
        temporary.replace(path)
        _fsync(path.parent)
    except BaseException:  # Ctrl-C leaves nothing behind either
        temporary.unlink(missing_ok=True)
        raise


def write_bytes_atomic(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` so that a crash leaves the old file or the new one."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text_atomic(path: Path, content: str) -> None:
    """Write UTF-8 ``content`` to ``path`` so that a crash leaves the old file or the new one."""
    write_bytes_atomic(path, content.encode())


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Be the only process that writes in ``folder``; raises ``DataError`` when another one is.

    The lock goes with the process, also after kill -9.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise DataError(
            f"another furnclip is writing {folder}", hint="wait until it has finished"
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def writing_in(folder: Path) -> Iterator[None]:
    """Turn what the file system raises inside into ``DataError`` with what to do."""
    try:
        yield
    except OSError as error:
        is_full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
        raise DataError(
            f"cannot write {error.filename or folder}: {error.strerror}",
            hint="make room and run the command again: what is finished is kept"
            if is_full
            else "check the folder and its permissions",
        ) from error


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
