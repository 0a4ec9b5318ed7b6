"""What a run has done, in a few lines on the error output."""

import time
from collections import Counter
from pathlib import Path

from rich.console import Console

from convscope.client.cli.readable import readable

__all__ = ["RunSummary"]

SCREENFUL = 20  # images, after which the first error has scrolled away
MAX_NAMES = 10
MAX_KINDS = 5
MIN_WHOLE_RATE = 9.5


class RunSummary:
    """Counts the outcomes of a run.

    Args:
        skipped: Files that are no images, by their suffix.
        folder: The folder for pictures, if there is one.
        follows_results: Whether results are shown on the same terminal, between the errors and
            the summary.
    """

    def __init__(
        self, skipped: Counter[str], folder: Path | None, *, follows_results: bool = False
    ) -> None:
        self._skipped = skipped
        self._folder = folder
        self._follows_results = follows_results
        self._failed_names: list[str] = []
        self._start = time.perf_counter()
        self.succeeded = 0
        self.failed = 0
        self.done_before = 0
        self.pictures = 0
        self.stopped = ""
        self.written = ""
        self.notes: list[str] = []

    def fail(self, name: str) -> None:
        """Count an image that failed."""
        self.failed += 1
        if len(self._failed_names) < MAX_NAMES:
            self._failed_names.append(name)

    def print(self) -> None:
        """Print the summary; a single image needs none."""
        count = self.succeeded + self.failed + self.done_before
        if count == 1 and not (self.written or self.stopped or self._skipped):
            return
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        if self._follows_results and self.succeeded:
            console.print()
        if self.stopped:
            console.print(self.stopped, style="bold", markup=False)
        console.print(self._counts(), markup=False)
        if self.failed and self._follows_results and self.succeeded + self.failed > SCREENFUL:
            console.print(f"failed: {self._names()}", markup=False)
        if self._skipped:
            console.print(self._skipped_files(), markup=False)
        if self.pictures:
            console.print(self._saved(), markup=False)
        for note in self.notes:
            console.print(note, markup=False)
        if self.written:
            console.print(readable(self.written), markup=False)

    def _counts(self) -> str:
        if self.done_before and not (self.succeeded or self.failed or self.stopped):
            images = "image was" if self.done_before == 1 else "images were"
            return f"nothing to do: {self.done_before:,} {images} done before"
        seconds = time.perf_counter() - self._start
        rate = (self.succeeded + self.failed) / max(seconds, 1e-9)
        images = "image" if self.succeeded == 1 else "images"
        text = f"{self.succeeded:,} {images} classified"
        if self.failed:
            text += f", {self.failed:,} failed"
        if self.done_before:
            text += f", {self.done_before:,} done before"
        digits = 0 if rate >= MIN_WHOLE_RATE else 1
        return f"{text} in {_duration(seconds)} ({rate:,.{digits}f} images/s)"

    def _names(self) -> str:
        others = self.failed - len(self._failed_names)
        names = ", ".join(map(readable, self._failed_names))
        return f"{names} and {others:,} more" if others else names

    def _saved(self) -> str:
        files = "file" if self.pictures == 1 else "files"
        return f"saved {self.pictures:,} {files} in {readable(str(self._folder))}"

    def _skipped_files(self) -> str:
        kinds = [f"{count:,} {kind}" for kind, count in self._skipped.most_common(MAX_KINDS)]
        more = "" if len(self._skipped) <= MAX_KINDS else " and others"
        total = self._skipped.total()
        files = "file that is not an image" if total == 1 else "files that are not images"
        return f"skipped {total:,} {files}: {', '.join(kinds)}{more}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02} min"
