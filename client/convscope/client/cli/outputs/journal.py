"""The results of a run that isn't complete yet, as JSON lines beside the output.

A killed run loses at most the line that it was writing.
"""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from convscope.client.cli.json_output import to_json
from convscope.client.cli.outputs.done_images import DoneImages
from convscope.client.cli.outputs.records import Record
from convscope.client.errors import InvalidInputError

__all__ = ["Journal", "journal_path", "lock", "read_options", "read_results"]

_KIND = "convscope 1"


def journal_path(output: Path) -> Path:
    """Return the path of the journal of an output."""
    return output.with_name(f"{output.name}.part")


def read_options(path: Path) -> Mapping[str, Any]:
    """Return the options of the run that wrote a journal.

    Raises:
        InvalidInputError: The file is no journal.
    """
    with path.open("rb") as file:
        header = _parse(file.readline())
    if header is None or header.get("journal") != _KIND:
        raise InvalidInputError(
            f"{str(path)!r} is not the journal of an interrupted run; add --overwrite to replace it"
        )
    options: Mapping[str, Any] = header["options"]
    return options


def read_results(path: Path) -> Iterator[Record]:
    """Yield the results of a journal, without errors and without a line that was cut off."""
    return (record for record in _records(path) if "error" not in record)


class Journal:
    """A journal that is being written.

    Args:
        path: The file; it is replaced.
        options: What makes the results of two runs comparable.
        earlier: The results to start with; they may come from the same file.

    Raises:
        InvalidInputError: Another process is writing it.
        OSError: It can't be written.
    """

    def __init__(self, path: Path, options: Mapping[str, Any], earlier: Iterable[Record]) -> None:
        self._path = path
        if path.exists():
            with path.open("rb") as file:
                lock(file, path)  # another process may still write
        new = path.with_name(f"{path.name}.tmp")
        try:
            with new.open("w", encoding="utf-8") as file:
                file.write(to_json({"journal": _KIND, "options": options}) + "\n")
                self.done = DoneImages(_copy(earlier, file))
            new.replace(path)
        except BaseException:
            new.unlink(missing_ok=True)  # the earlier run can't be continued, or the disk is full
            raise
        self._file = path.open("a", encoding="utf-8")
        lock(self._file, path)

    def write(self, record: Record) -> None:
        """Write a result or an error."""
        self._file.write(to_json(record) + "\n")
        self._file.flush()

    def records(self) -> Iterator[Record]:
        """Yield everything that was written."""
        return _records(self._path)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def remove(self) -> None:
        """Close and remove the file."""
        self.close()
        self._path.unlink(missing_ok=True)


def _copy(records: Iterable[Record], file: IO[str]) -> Iterator[str]:
    """Write records, and yield the name of the image of each."""
    for record in records:
        file.write(to_json(record) + "\n")
        yield record["image"]


def _records(path: Path) -> Iterator[Record]:
    with path.open("rb") as file:
        file.readline()  # the options
        for line in file:
            record = _parse(line)
            if record is None:
                return
            yield record


def _parse(line: bytes) -> Record | None:
    """Return the content of a line, or None if it was cut off."""
    try:
        content = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def lock(file: IO[Any], path: Path) -> None:
    """Lock a file until it is closed.

    Raises:
        InvalidInputError: Another process has locked it.
    """
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InvalidInputError(
            f"another process is writing {os.fspath(path)!r}; wait for it, or choose another "
            "--output"
        ) from error
