"""Runs a command over its images, and reports the outcome of each and of all."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from errno import EPIPE
from pathlib import Path
from typing import Final, TypeAlias, cast

import grpc
import typer

from convscope._usage_errors import INTERRUPTED, USAGE_ERROR
from convscope.client._results.results import Outcome
from convscope.client.cli.error_output import print_error
from convscope.client.cli.interruption import end_soon, let_the_next_one_kill
from convscope.client.cli.json_output import to_json
from convscope.client.cli.outputs.output_file import OutputFile
from convscope.client.cli.outputs.records import error_record
from convscope.client.cli.outputs.reporters import Reporter
from convscope.client.cli.pictures import PictureFolder
from convscope.client.cli.run_progress import RunProgress, run_progress
from convscope.client.cli.run_summary import RunSummary
from convscope.client.cli.sources.arguments import ImageArguments
from convscope.client.cli.sources.downloads import with_downloads
from convscope.client.cli.sources.source import Source, message_about
from convscope.client.errors import ConvscopeError, InvalidInputError
from convscope.client.types import Classification, ImageLike

__all__ = ["Classify", "Run", "check_images", "reporting_failure"]

Classify: TypeAlias = Callable[[Iterator[ImageLike]], Iterator[Outcome]]
"""Yields the outcome of each image, in order."""

# These are errors of the call, and not of an image: after this many in a row a run stops.
MAX_CALL_ERRORS: Final = 20
_CALL_ERRORS = (
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNAVAILABLE,
)


class Run:
    """One run over the images of a command.

    Args:
        images: The images.
        reporter: Gets the outcome of each.
        file: The output file, if there is one.
        folder: The folder for pictures, if there is one.
        timeout_seconds: How long the download of an image may take.
        quiet: Whether neither progress nor a summary is shown.
        streams: Whether results are printed while the run continues.
    """

    def __init__(
        self,
        images: ImageArguments,
        reporter: Reporter,
        *,
        file: OutputFile | None = None,
        folder: PictureFolder | None = None,
        timeout_seconds: float,
        quiet: bool,
        streams: bool,
    ) -> None:
        self._images = images
        self._reporter = reporter
        self._file = file
        self._folder = folder
        self._timeout_seconds = timeout_seconds
        self._quiet = quiet
        self._streams = streams
        self._summary = RunSummary(
            images.skipped,
            folder.directory if folder else None,
            follows_results=file is None and sys.stdout.isatty(),
        )
        self._call_errors = 0
        self._last_call_error = ""

    def __call__(self, classify: Classify) -> None:
        """Classify the images.

        Raises:
            typer.Exit: An image failed (2), or all of them (1), or the run was interrupted (130).
        """
        try:
            with run_progress(self._images, streams=self._streams, quiet=self._quiet) as progress:
                self._report_all(classify, progress)
        except KeyboardInterrupt:
            let_the_next_one_kill()
            self._summary.stopped = "interrupted"
        except OSError as error:
            if error.errno == EPIPE:
                raise
            self._summary.stopped = f"stopped: the output can't be written: {error.strerror}"
        self._finish()
        self._note_unchanged()
        if not self._quiet:
            self._summary.print()
        if code := self._exit_code():
            if code == INTERRUPTED:
                end_soon()
            raise typer.Exit(code)

    def _note_unchanged(self) -> None:
        """Say what the options of this run don't change about the results of an earlier one."""
        summary, file = self._summary, self._file
        if file is None or not summary.done_before:
            return
        if file.may_lack_classes:
            summary.notes.append(
                "earlier results are kept, which may have been written with a higher "
                "--min-probability: the file doesn't show it; --overwrite classifies all again"
            )
        if self._folder is not None:
            summary.notes.append("no pictures were saved of the images that were done before")

    def _report_all(self, classify: Classify, progress: RunProgress) -> None:
        sources = with_downloads(self._new_images(progress), self._timeout_seconds)
        with closing(sources), closing(_paired(sources, classify)) as outcomes:
            for source, outcome in outcomes:
                self._report(source, outcome)
                progress.advance(failed=self._summary.failed)
                if self._call_errors == MAX_CALL_ERRORS:
                    self._summary.stopped = (
                        f"stopped: {MAX_CALL_ERRORS} images in a row failed for the same reason"
                    )
                    return

    def _new_images(self, progress: RunProgress) -> Iterator[Source]:
        """Yield the images that an earlier run left."""
        for source in self._images:
            if self._folder is not None:
                source = self._folder.reserve(source)
            if self._file is not None and self._file.done.take(source.name):
                self._summary.done_before += 1
                progress.skip()
            else:
                yield source

    def _report(self, source: Source, outcome: Outcome) -> None:
        if not isinstance(outcome, ConvscopeError):
            outcome = self._with_pictures(source, outcome)
        if isinstance(outcome, ConvscopeError):
            self._fail(source, outcome)
        else:
            self._call_errors = 0
            self._summary.succeeded += 1

    def _with_pictures(self, source: Source, result: Classification) -> Outcome:
        """Report a result after its pictures are saved, or return the reason why they are not."""
        saved: list[Path] = []
        try:
            if self._folder is not None:
                saved = self._folder.save(source, result)
        except InvalidInputError as error:
            return InvalidInputError(f"the pictures can't be saved: {error.message}")
        except OSError as error:
            place = f" ({error.filename})" if error.filename else ""
            return InvalidInputError(
                f"the pictures can't be saved: {error.strerror or error}{place}"
            )
        self._reporter.add(source, result, saved)
        self._summary.pictures += len(saved)
        return result

    def _fail(self, source: Source, error: ConvscopeError) -> None:
        self._summary.fail(source.name)
        self._reporter.add_error(source, error)
        is_call_error = error.code in _CALL_ERRORS and not source.url
        self._call_errors = self._call_errors + 1 if is_call_error else 0
        if is_call_error and error.message == self._last_call_error:
            return  # the same for many images
        self._last_call_error = error.message if is_call_error else ""
        print_error(message_about(source, error))

    def _finish(self) -> None:
        """Complete the outputs."""
        summary, file = self._summary, self._file
        self._reporter.finish()
        if file is None:
            if summary.stopped == "interrupted":
                summary.written = "with --output FILE, --resume would continue such a run"
            return
        try:
            if summary.stopped:
                file.keep()
                summary.written = "add --resume to the same command to continue"
            elif summary.succeeded or len(file.done):
                file.publish()
                count = summary.succeeded + len(file.done)
                summary.written = f"wrote {file.path}: {count:,} image{'' if count == 1 else 's'}"
            else:
                file.discard()
                summary.written = f"{file.path} was not written: it would be empty"
        except OSError as error:
            summary.stopped = f"{file.path} can't be written: {error.strerror}"
            summary.written = "add --resume to the same command to continue"

    def _exit_code(self) -> int:
        if self._summary.stopped == "interrupted":
            return INTERRUPTED
        if not (self._summary.failed or self._summary.stopped):
            return 0
        return 2 if self._summary.succeeded or self._summary.done_before else 1


def check_images(images: ImageArguments, *, prints_json: bool) -> None:
    """Report the errors of all images if each has one, before a server is asked.

    Args:
        images: The images.
        prints_json: Whether each image has a line of JSON.

    Raises:
        typer.Exit: None can be classified (64).
    """
    for source, error in (problems := images.problems()):
        if prints_json:
            print(to_json(error_record(source.name, error)))
        print_error(message_about(source, error))
    if problems:
        raise typer.Exit(USAGE_ERROR)


@contextmanager
def reporting_failure(images: Iterable[Source], *, prints_json: bool) -> Iterator[None]:
    """Report the failure of the call as a whole, and exit with 1.

    Args:
        images: The images.
        prints_json: Whether each image has a line of JSON, so that each gets the error.
    """
    try:
        yield
    except (ConvscopeError, OSError) as error:
        if isinstance(error, OSError):
            if error.errno == EPIPE:
                raise
            error = InvalidInputError(f"the output can't be written: {error}")
        if prints_json:
            for source in images:
                print(to_json(error_record(source.name, error)))
        print_error(error.message)
        raise typer.Exit(1) from error


def _paired(
    sources: Iterable[Source], classify: Classify
) -> Generator[tuple[Source, Outcome], None, None]:
    """Yield each source with its outcome, in order; only images are classified."""
    waiting: deque[Source] = deque()

    def images() -> Iterator[ImageLike]:
        for source in sources:
            waiting.append(source)
            if source.error is None:
                yield cast(ImageLike, source.image)

    def failed() -> Iterator[tuple[Source, Outcome]]:
        while waiting and (error := waiting[0].error) is not None:
            yield waiting.popleft(), error

    for outcome in classify(images()):
        yield from failed()
        yield waiting.popleft(), outcome
    yield from failed()
