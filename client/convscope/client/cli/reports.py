"""Reports the outcome of each image of a command."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import typer
from rich.console import Console

from convscope.client._calls.progress import progress_bar
from convscope.client._results.results import Outcome
from convscope.client.cli import json_output, tables
from convscope.client.cli.error_output import print_error
from convscope.client.cli.pictures import PictureFolder
from convscope.client.errors import ConvscopeError, InvalidInputError

__all__ = ["Report", "reporting"]

Reporter: TypeAlias = json_output.Reporter | tables.Reporter


class Report:
    """The report about the images of one command.

    Args:
        images: The images.
        as_json: Whether it is for other programs.
    """

    def __init__(self, images: Sequence[str], as_json: bool) -> None:
        self._images = images
        self._as_json = as_json
        self._reporter: Reporter = json_output.Reporter() if as_json else tables.Reporter()
        self._has_failed = False

    def add_all(self, outcomes: Iterator[Outcome], folder: PictureFolder | None) -> None:
        """Report the outcomes as they arrive, and save their pictures."""
        for image, outcome in self._with_progress(outcomes):
            self._has_failed |= not self._add(image, outcome, folder)

    def fail(self, error: ConvscopeError) -> None:
        """Report the error of the command as a whole."""
        for image in self._images:
            self._reporter.add_error(image, error)
        print_error(error.message)

    def finish(self) -> None:
        """Print what remains; exit with 1 if an image failed."""
        self._reporter.finish()
        if self._has_failed:
            raise typer.Exit(1)

    def _add(self, image: str, outcome: Outcome, folder: PictureFolder | None) -> bool:
        """Report one image; return whether it succeeded."""
        if isinstance(outcome, ConvscopeError):
            self._reporter.add_error(image, outcome)
            names_image = str(Path(image)) in outcome.message
            print_error(outcome.message if names_image else f"{image}: {outcome.message}")
            return False
        saved: list[Path] = []
        try:
            if folder is not None:
                saved = folder.save(Path(image), outcome)
        except (OSError, InvalidInputError) as error:
            self._reporter.add(image, outcome, saved)
            print_error(f"{image}: the pictures can't be saved: {error}")
            return False
        self._reporter.add(image, outcome, saved)
        return True

    def _with_progress(self, outcomes: Iterator[Outcome]) -> Iterator[tuple[str, Outcome]]:
        images, console = self._images, Console(stderr=True)
        # A bar would break the lines of JSON, if they go to the same terminal.
        is_mixed = self._as_json and sys.stdout.isatty()
        visible = len(images) > 1 and console.is_terminal and not is_mixed
        with progress_bar(len(images), visible=visible, transient=True) as advance:
            for pair in zip(images, outcomes, strict=True):
                yield pair
                advance()


@contextmanager
def reporting(images: Sequence[str], as_json: bool) -> Iterator[Report]:
    """Yield a report, and complete it; exit with 1 if the call or an image fails."""
    report = Report(images, as_json)
    try:
        yield report
    except ConvscopeError as error:  # of the call, not of one image
        report.fail(error)
        raise typer.Exit(1) from error
    report.finish()
