"""The progress of a run, on the error output if that is a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from convscope.client.cli.sources.arguments import ImageArguments

__all__ = ["RunProgress", "run_progress"]

NARROW = 60  # columns of a terminal, below which only the count has room


class RunProgress:
    """Shows how many images are done.

    Args:
        progress: Where.
        total: How many there are, if that is known.
    """

    def __init__(self, progress: Progress, total: int | None) -> None:
        self._progress = progress
        self._total = total
        self._skipped = 0
        self._task = progress.add_task("Classifying", total=total, failed="")

    def advance(self, failed: int) -> None:
        """Count an image."""
        self._progress.update(self._task, advance=1, failed=f"{failed:,} failed" if failed else "")

    def skip(self) -> None:
        """Leave out an image that is done."""
        self._skipped += 1
        self._show_total()

    def count(self, images: ImageArguments) -> None:
        """Find the total, which may take long for a folder."""
        self._total = images.count_by_search()
        self._show_total()

    def _show_total(self) -> None:
        if self._total is not None:
            self._progress.update(self._task, total=self._total - self._skipped)


@contextmanager
def run_progress(images: ImageArguments, *, streams: bool, quiet: bool) -> Iterator[RunProgress]:
    """Show the progress of a run.

    Args:
        images: The images.
        streams: Whether results are printed meanwhile; then they would break the lines of
            progress on the same terminal.
        quiet: Whether it is hidden.
    """
    console = Console(stderr=True)
    is_mixed = streams and sys.stdout.isatty()
    visible = console.is_terminal and not (quiet or is_mixed or images.is_one_image)
    total = images.count() if visible else None
    columns = [
        TextColumn("{task.description}"),
        _Count(),
        _Rate(),
        TimeElapsedColumn(),
        TextColumn("[red]{task.fields[failed]}"),
    ]
    if console.width < NARROW:
        columns = [SpinnerColumn(), _Count(), TextColumn("[red]{task.fields[failed]}")]
    else:
        columns.insert(1, BarColumn())  # it moves to and fro without a total
        columns.insert(-1, TimeRemainingColumn(compact=True))
    with Progress(
        *columns,
        console=console,
        transient=True,
        disable=not visible,
        # Tables of a long run go to the same terminal; otherwise rich would redirect them.
        redirect_stdout=sys.stdout.isatty(),
    ) as progress:
        shown = RunProgress(progress, total)
        if visible and total is None:
            Thread(target=shown.count, args=(images,), daemon=True).start()
        yield shown


class _Count(ProgressColumn):
    def render(self, task: Task) -> Text:
        """Return how many images are done, and of how many."""
        of = "" if task.total is None else f"/{task.total:,.0f}"
        last = task.completed if task.total is None else task.total
        images = "image" if last == 1 else "images"
        return Text(f"{task.completed:,.0f}{of} {images}", "progress.download")


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        """Return how many images are done per second."""
        # Images arrive in batches, so the rate of the last moments means little.
        rate = task.completed / task.elapsed if task.completed and task.elapsed else None
        return Text("" if rate is None else f"{rate:,.0f}/s", "progress.data.speed")
