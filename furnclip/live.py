"""What a person sees while a stage works: bars with rate and time left, and curves below them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from furnclip.braille import labelled

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID, TextColumn
    from rich.text import Text

    from furnclip.progress import Task

_ROWS = 7  # of a curve
_KEPT = 4096  # points of a curve; beyond, neighbours are averaged, which no screen shows


class LiveProgress:
    """Bars on ``console``; nested tasks share one display."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: Any = None

    @contextmanager
    def task(
        self, description: str, *, total: int | None = None, unit: str = "rows"
    ) -> Iterator[Task]:
        """Begin a task that ends with the ``with`` block."""
        if self._bars is not None:
            yield self._add(description, total, unit)
            return
        self._bars = _bars(self._console)
        try:
            with self._bars:
                yield self._add(description, total, unit)
        finally:
            self._bars = None

    def _add(self, description: str, total: int | None, unit: str) -> Task:
        bars = self._bars
        return _LiveTask(bars, bars.add_task(description, total=total, unit=unit, note=""))


class _LiveTask:
    def __init__(self, bars: Any, task: TaskID) -> None:
        self._bars, self._task = bars, task

    def advance(self, amount: float = 1) -> None:
        self._bars.advance(self._task, amount)

    def total(self, total: int) -> None:
        self._bars.update(self._task, total=total)

    def note(self, text: str) -> None:
        self._bars.update(self._task, note=text)

    def point(self, curve: str, value: float) -> None:
        values = self._bars.curves.setdefault(curve, [])
        values.append(value)
        if len(values) >= _KEPT:
            values[:] = [(a + b) / 2 for a, b in zip(values[::2], values[1::2], strict=True)]


def drawn_curves(curves: dict[str, list[float]], width: int) -> Text:
    """Return the curves side by side."""
    from rich.text import Text

    drawable = {name: list(values) for name, values in curves.items() if len(values) > 1}
    shown = dict(sorted(drawable.items(), key=lambda item: -len(item[1])))  # steps, then epochs
    each = min(58, (width - 2) // max(1, len(shown)) - 2)
    if each < 16:  # no room
        return Text("")
    parts = [labelled(name, values, width=each, height=_ROWS) for name, values in shown.items()]
    return Text("\n".join("  ".join(lines) for lines in zip(*parts, strict=True)), style="cyan")


def _bars(console: Console) -> Any:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    class Bars(Progress):
        """rich's bars, each with its note on a line below, and the curves of all."""

        curves: dict[str, list[float]]

        def get_renderables(self) -> Iterable[Any]:
            from rich.text import Text

            yield self.make_tasks_table(self.tasks)
            for task in self.tasks:
                if task.fields["note"]:
                    yield Text(f"  {task.fields['note']}", overflow="ellipsis", no_wrap=True)
            if any(len(values) > 1 for values in self.curves.values()):
                yield drawn_curves(self.curves, console.width)

    Bars.curves = {}
    return Bars(
        SpinnerColumn(),
        _text("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        _rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(compact=True),
        console=console,
    )


def _text(template: str) -> TextColumn:
    from rich.progress import TextColumn

    return TextColumn(template, markup=False)


def _rate() -> TextColumn:
    from rich.progress import Task as BarTask
    from rich.progress import TextColumn
    from rich.text import Text

    class Rate(TextColumn):
        def render(self, task: BarTask) -> Text:
            speed = task.finished_speed or task.speed or 0
            shown = f"{speed:,.0f}" if speed >= 100 else f"{speed:.3g}"
            return Text(f"{shown} {task.fields['unit']}/s" if speed else "")

    return Rate("")
