"""The live display on stderr: none when stderr is no terminal, and never a byte on stdout."""

from __future__ import annotations

from collections import Counter
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from schemas import counters

_ROOM_FOR_BAR = 120


class Display:
    """Counts as they grow; with a total, the rate and the time left, and a bar where there is room for it."""

    def __init__(self, verb: str, *, bounded: bool, quiet: bool = False, console: Console | None = None) -> None:
        console = console or Console(stderr=True)
        columns = [SpinnerColumn(), TextColumn("{task.description}")]
        if bounded:
            bar = [BarColumn()] if console.width >= _ROOM_FOR_BAR else []
            columns += [*bar, TextColumn("{task.completed:,}/{task.total:,} objects"), TimeRemainingColumn()]
        columns += [TextColumn("{task.fields[counts]}"), *([] if bounded else [TimeElapsedColumn()])]
        self._progress = Progress(*columns, console=console, disable=quiet or not console.is_terminal)
        self._task = self._progress.add_task(verb, total=0 if bounded else None, counts="")

    def __enter__(self) -> Display:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def expect(self, objects: int) -> None:
        """So many more objects are to come."""
        task = self._progress.tasks[0]
        self._progress.update(self._task, total=(task.total or 0) + objects)

    def show(self, counts: Counter[str], objects: int = 0) -> None:
        """The counts so far, and how many objects are newly done."""
        elapsed = self._progress.tasks[0].elapsed or 0.0
        rate = counts[counters.RECORDS] / elapsed if elapsed else 0.0
        text = f"{counts[counters.RECORDS]:,} records, {rate:,.0f}/s"
        if dead := counts[counters.DEAD_LETTERS]:
            text += f", {dead:,} dead"
        self._progress.update(self._task, advance=objects, counts=text)
