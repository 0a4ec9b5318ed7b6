"""An output file: it appears when all results are in it, and can be continued until then."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import typer

from convscope.client.cli.outputs.columns import Columns
from convscope.client.cli.outputs.comparison import Compared
from convscope.client.cli.outputs.finished import read_finished
from convscope.client.cli.outputs.formats import RecordFormat, record_writer
from convscope.client.cli.outputs.journal import (
    Journal,
    journal_path,
    read_options,
    read_results,
)
from convscope.client.cli.outputs.records import Record
from convscope.client.errors import InvalidInputError

__all__ = ["FileChoice", "OutputFile", "check_options"]


@dataclass(frozen=True)
class FileChoice:
    """The output file that a command names, checked before anything is classified.

    Args:
        path: The file.
        kind: Its format.
        resume: Whether an earlier run is continued.
        overwrite: Whether the results of an earlier run are discarded.

    Raises:
        typer.BadParameter: The file can't be written, or would replace earlier results.
    """

    path: Path
    kind: RecordFormat
    resume: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        path = Path(os.path.realpath(self.path))
        part = journal_path(path)
        if path.exists() and not path.is_file():
            raise typer.BadParameter(f"--output {str(path)!r} is not a file")
        if not path.parent.is_dir():
            raise typer.BadParameter(f"--output: the folder {str(path.parent)!r} does not exist")
        if not os.access(path.parent, os.W_OK):
            raise typer.BadParameter(f"--output: {str(path.parent)!r} can't be written to")
        if self.resume and self.kind == "markdown" and path.exists() and not part.exists():
            raise typer.BadParameter(
                f"{str(path)!r} is complete, and a complete Markdown file can't be continued; add "
                "--overwrite to classify all images again, or use CSV, JSON or Parquet"
            )
        if self.resume or self.overwrite:
            return
        if part.exists():
            raise typer.BadParameter(
                f"{str(part)!r} has the results of an interrupted run; add --resume to continue "
                "it, or --overwrite to start again"
            )
        if path.exists():
            raise typer.BadParameter(
                f"--output {str(path)!r} exists; add --resume to add the images that it lacks, or "
                "--overwrite to replace it"
            )


class OutputFile:
    """An output file that is being written.

    Args:
        choice: The file.
        columns: The columns, for a format that has them.
        options: The options that all results of a file share, by flag.
        version: The version that this run asks for; None for any that the server chooses.

    Raises:
        InvalidInputError: The earlier run can't be continued with these options.
        OSError: The file can't be written.
    """

    def __init__(
        self,
        choice: FileChoice,
        columns: Columns,
        options: Mapping[str, Any],
        version: int | None = None,
    ) -> None:
        self.path = choice.path
        self._path = Path(os.path.realpath(choice.path))
        self._kind = choice.kind
        self._columns = columns
        part = journal_path(self._path)
        earlier: Iterable[Record] = ()
        if choice.resume and part.exists():
            check_options(part, read_options(part), options)
            earlier = read_results(part)
        elif choice.resume and self._path.exists():
            found = read_finished(self._path, choice.kind, columns)
            earlier = Compared(found, choice.path, columns, options, version)
        self._journal = Journal(part, options, earlier)
        self.may_lack_classes = isinstance(earlier, Compared) and earlier.may_lack_classes
        """Whether results of a complete output may have been cut at a higher least probability."""
        self.done = self._journal.done
        self.write = self._journal.write

    def publish(self) -> None:
        """Write the file with all results, and remove the journal."""
        new = self._path.with_name(f"{self._path.name}.tmp")
        try:
            self._write(new)
            new.replace(self._path)
        except BaseException:
            new.unlink(missing_ok=True)  # such as a full disk
            raise
        self._journal.remove()

    def keep(self) -> None:
        """Keep the results for a run that continues this one."""
        self._journal.close()

    def discard(self) -> None:
        """Write no file: it would have no result."""
        self._journal.remove()

    def _write(self, path: Path) -> None:
        with _open(path, self._kind) as file:
            writer = record_writer(self._kind, file, self._columns)
            for record in self._journal.records():
                writer.write(record)
            writer.finish()
            file.flush()
            os.fsync(file.fileno())


def _open(path: Path, kind: RecordFormat) -> IO[Any]:
    if kind == "parquet":
        return path.open("wb")
    return path.open("w", encoding="utf-8", newline="")


def check_options(part: Path, earlier: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Check that a run has the options of the earlier run that it continues.

    Raises:
        InvalidInputError: An option differs.
    """
    for flag, value in options.items():
        if (before := earlier.get(flag)) != value:
            raise InvalidInputError(
                f"{str(part)!r} was written with {_shown(flag, before)}, and this run has "
                f"{_shown(flag, value)}; use the same options, or add --overwrite to start again"
            )


def _shown(flag: str, value: Any) -> str:
    """Return an option as on the command line."""
    if value in (None, []):
        return f"no {flag}"
    return f"{flag} {','.join(value) if isinstance(value, list) else value}"
