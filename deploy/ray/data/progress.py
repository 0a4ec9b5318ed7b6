"""The progress of a bulk run: a bar on a terminal, and otherwise a line now and then."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn

__all__ = ["Show", "progress"]

Show: TypeAlias = Callable[[int, int], None]
"""Called with the numbers of images that are done, and that failed."""

LINE_SECONDS = 10.0


@contextmanager
def progress(total: int, *, quiet: bool) -> Iterator[Show]:
    """Show how many of so many images are done."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield _Lines(total, visible=not quiet)
        return
    failures = TextColumn("[red]{task.fields[failed]}")
    columns = (*Progress.get_default_columns(), MofNCompleteColumn(), failures)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("Classifying", total=total, failed="")
        yield lambda done, failed: bar.update(task, completed=done, failed=_failed(failed))


class _Lines:
    def __init__(self, total: int, *, visible: bool) -> None:
        self._total = total
        self._visible = visible
        self._shown_at = time.monotonic()
        self._first: tuple[float, int] | None = None

    def __call__(self, done: int, failed: int) -> None:
        now = time.monotonic()
        if self._first is None:  # Ray has started, which takes long and is no part of the rate
            self._first = now, done
        if not self._visible or now - self._shown_at < LINE_SECONDS:
            return
        self._shown_at = now
        counts = [f"{done:,} of {self._total:,} images", _failed(failed)]
        first_at, before = self._first
        rate = f"{(done - before) / (now - first_at):,.1f} images/s" if now > first_at else ""
        print(", ".join(filter(None, [*counts, rate])), file=sys.stderr, flush=True)


def _failed(count: int) -> str:
    return f"{count:,} failed" if count else ""
