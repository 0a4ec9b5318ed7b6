"""The results of a bulk run: Parquet files in a folder beside the output, joined at the end.

A killed run loses at most the results that it has not written to a part yet.
"""

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from convscope.client import InvalidInputError
from convscope.client.cli.outputs.done_images import DoneImages
from convscope.client.cli.outputs.journal import journal_path, lock
from convscope.client.cli.outputs.output_file import FileChoice, check_options
from deploy.ray.data.interruption import part_files
from deploy.ray.data.job import METADATA_KEY

__all__ = ["Parts"]

# Results that a part has, or the time after which it is written with fewer.
PART_ROWS = 1000
PART_SECONDS = 10.0


class Parts:
    """An output that is being written.

    Args:
        choice: The file.
        schema: Its columns, with the options of this run in its metadata.

    Raises:
        InvalidInputError: The earlier run can't be continued, or another process writes the file.
        OSError: The file can't be written.
    """

    def __init__(self, choice: FileChoice, schema: pa.Schema) -> None:
        self.path = choice.path
        self._path = Path(os.path.realpath(choice.path))
        self._schema = schema
        self._folder = journal_path(self._path)
        if self._folder.is_file():
            raise InvalidInputError(
                f"{str(self._folder)!r} has the results of an interrupted convscope classify; "
                "continue that, or choose another --output"
            )
        starts_with_output = choice.resume and self._path.exists() and not self._parts()
        if starts_with_output:
            self._check_output()
        self._folder.mkdir(exist_ok=True)
        self._lock = (self._folder / "lock").open("a")
        has_lock = False
        try:
            lock(self._lock, self._folder)
            has_lock = True
            if choice.overwrite:
                for part in self._parts():
                    part.unlink()
            elif starts_with_output and not self._parts():
                self._start_with_output()
            self._next = 1 + max((int(part.stem) for part in self._parts()), default=0)
            self.done = DoneImages(self._earlier())
            """The images that earlier runs classified."""
        except BaseException:  # such as Ctrl-C
            if has_lock:
                self.close()
            else:
                self._lock.close()  # the folder is that of another process
            raise
        self._waiting: list[pa.Table] = []
        self._written_at = time.monotonic()

    def add(self, results: pa.Table) -> None:
        """Add results. They are safe when the next part is written."""
        self._waiting.append(results.cast(self._schema))
        rows = sum(map(len, self._waiting))
        if rows >= PART_ROWS or time.monotonic() - self._written_at > PART_SECONDS:
            self.write_part()

    def write_part(self) -> None:
        """Write the results that are in memory."""
        self._written_at = time.monotonic()
        if sum(map(len, self._waiting)):
            new = self._folder / "new"
            with new.open("wb") as file:
                parquet.write_table(pa.concat_tables(self._waiting), file)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._folder / f"{self._next:06}.parquet")
            self._next += 1
        self._waiting.clear()

    def publish(self) -> None:
        """Write the output with all results, remove the parts, and close."""
        new = self._path.with_name(f"{self._path.name}.tmp")
        try:
            with new.open("wb") as file:
                with parquet.ParquetWriter(file, self._schema) as writer:
                    for part in self._parts():
                        _copy(part, writer)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
        except BaseException:
            new.unlink(missing_ok=True)  # such as a full disk
            raise
        self._remove()

    def close(self) -> None:
        """Let other processes write the file; keep the parts, if there are any."""
        if self._lock.closed:
            return  # published, and the folder may be that of another process
        if self._parts():
            self._lock.close()
        else:
            self._remove()

    def _remove(self) -> None:
        """Remove the folder in one step, so that a process that is killed leaves all parts or none.

        Without its parts, the folder of a complete output looks like a run without results.
        """
        old = self._folder.with_name(f"{self._folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)  # of a process that was killed
        self._folder.rename(old)
        self._lock.close()
        shutil.rmtree(old)

    def _check_output(self) -> None:
        """Check that a complete output can be continued."""
        try:
            self._check(parquet.read_schema(self._path))
        except pa.ArrowInvalid as error:
            raise self._rejection() from error

    def _start_with_output(self) -> None:
        """Make a complete output the first part."""
        new = self._folder / "new"
        shutil.copyfile(self._path, new)
        new.replace(self._folder / "000000.parquet")

    def _parts(self) -> list[Path]:
        return part_files(self._folder)

    def _earlier(self) -> Iterator[str]:
        """Yield the names of the images in the parts, whose options must be those of this run."""
        for part in self._parts():
            with parquet.ParquetFile(part) as file:
                self._check(file.schema_arrow)
                for batch in file.iter_batches(columns=["image"]):
                    yield from batch["image"].to_pylist()

    def _check(self, found: pa.Schema) -> None:
        options = _options(found)
        if options is not None:
            check_options(self._path, options, _options(self._schema) or {})
        if options is None or not found.equals(self._schema):
            raise self._rejection()

    def _rejection(self) -> InvalidInputError:
        return InvalidInputError(
            f"{str(self._path)!r} can't be continued: it is no output of this version of this "
            "command; add --overwrite to replace it"
        )


def _copy(part: Path, writer: parquet.ParquetWriter) -> None:
    with parquet.ParquetFile(part) as file:
        for group in range(file.num_row_groups):
            writer.write_table(file.read_row_group(group))


def _options(schema: pa.Schema) -> Mapping[str, Any] | None:
    """Return the options in the metadata of a schema, if it has them."""
    content = (schema.metadata or {}).get(METADATA_KEY)
    if content is None:
        return None
    options: Mapping[str, Any] = json.loads(content)
    return options
