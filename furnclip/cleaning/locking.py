"""One mutating clean command at a time on one state file; reading needs no turn."""

from collections.abc import Iterator
from contextlib import contextmanager

from furnclip.errors import StateLockedError
from furnclip.state import StateStore

_WAIT_SECONDS = 30.0


@contextmanager
def exclusive(store: StateStore, doing: str) -> Iterator[None]:
    """Hold the clean lock beside the state file; ``StateLockedError`` when another command does.

    The lock goes with the process, also after kill -9. Raises ``StateError`` when the folder of the
    state file cannot be made.
    """
    from filelock import FileLock, Timeout

    store.make_folder()
    lock = FileLock(f"{store.path}.clean.lock", thread_local=False)
    try:
        with lock.acquire(timeout=_WAIT_SECONDS):
            yield
    except Timeout as error:
        raise StateLockedError(
            f"another `furnclip clean` command is working; cannot {doing} now",
            hint="wait for it to finish (`furnclip clean status` works meanwhile)",
        ) from error
