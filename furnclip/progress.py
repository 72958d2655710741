"""How a stage reports progress without knowing who watches.

Stages take a ``Progress`` and default to ``SILENT``; the command line passes the one of
``furnclip.console``, which draws bars on stderr.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """One running piece of work."""

    def advance(self, amount: float = 1) -> None:
        """Count ``amount`` more units as done; safe from any thread."""

    def total(self, total: int) -> None:
        """Set the number of units once it is known."""

    def note(self, text: str) -> None:
        """Show a line of text below the bar, such as the current loss."""

    def point(self, curve: str, value: float) -> None:
        """Add a value to a curve drawn below the bars, such as the loss of every step."""


class Progress(Protocol):
    """Creates tasks."""

    def task(
        self, description: str, *, total: int | None = None, unit: str = "rows"
    ) -> AbstractContextManager[Task]:
        """Begin a task that ends with the ``with`` block."""


class _SilentTask:
    def advance(self, amount: float = 1) -> None:
        """Count nothing."""

    def total(self, total: int) -> None:
        """Set nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""

    def point(self, curve: str, value: float) -> None:
        """Draw nothing."""


class _SilentProgress:
    @contextmanager
    def task(
        self, description: str, *, total: int | None = None, unit: str = "rows"
    ) -> Iterator[Task]:
        yield _SilentTask()


SILENT: Progress = _SilentProgress()
