"""What happens to each result of a command: it is shown, printed, or added to a file."""

import sys
from collections.abc import Callable, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Protocol

from convscope.client.cli import tables
from convscope.client.cli.outputs.columns import Columns
from convscope.client.cli.outputs.formats import RecordFormat, RecordWriter, record_writer
from convscope.client.cli.outputs.output_file import OutputFile
from convscope.client.cli.outputs.records import Record, error_record, result_record
from convscope.client.cli.sources.source import Source
from convscope.client.errors import ConvscopeError
from convscope.client.types import Classification

__all__ = ["FileReporter", "Reporter", "StreamReporter", "make_reporter"]


class Reporter(Protocol):
    """Gets the outcome of each image."""

    def add(self, source: Source, result: Classification, saved: Sequence[Path]) -> None:
        """Add a result and the paths of its pictures."""

    def add_error(self, source: Source, error: ConvscopeError) -> None:
        """Add the error of an image."""

    def finish(self) -> None:
        """Write what remains."""


class _RecordReporter:
    def __init__(self, write: Callable[[Record], None]) -> None:
        self._write = write

    def add(self, source: Source, result: Classification, saved: Sequence[Path]) -> None:
        """Write a result and the paths of its pictures."""
        self._write(result_record(source.name, result, saved))

    def add_error(self, source: Source, error: ConvscopeError) -> None:
        """Write the error of an image, if the format has errors."""
        self._write(error_record(source.name, error))


class SilentReporter:
    """Reports nothing: only pictures are wanted."""

    def add(self, source: Source, result: Classification, saved: Sequence[Path]) -> None:
        """Do nothing."""

    def add_error(self, source: Source, error: ConvscopeError) -> None:
        """Do nothing: the error output has the error."""

    def finish(self) -> None:
        """Do nothing."""


class StreamReporter(_RecordReporter):
    """Prints each result as soon as it is known."""

    def __init__(self, writer: RecordWriter) -> None:
        super().__init__(writer.write)
        self.finish = writer.finish


class FileReporter(_RecordReporter):
    """Adds each result to an output file."""

    def __init__(self, file: OutputFile) -> None:
        super().__init__(file.write)

    def finish(self) -> None:
        """Do nothing: the file appears only if the run is complete."""


def make_reporter(
    kind: RecordFormat | None,
    columns: Columns,
    file: OutputFile | None = None,
    *,
    shows_table: bool = True,
    quiet: bool = False,
) -> Reporter:
    """Return what reports to a file, or else on standard output; without a format, a table."""
    if file is not None:
        return FileReporter(file)
    if kind is None:
        return tables.Reporter(quiet=quiet) if shows_table else SilentReporter()
    if kind == "parquet":
        return StreamReporter(record_writer(kind, sys.stdout.buffer, columns))
    if not sys.stdout.isatty() and isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", newline="")  # as in a file, on every system
    return StreamReporter(record_writer(kind, sys.stdout, columns))
