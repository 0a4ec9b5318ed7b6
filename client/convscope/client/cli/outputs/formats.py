"""Records as JSON lines, CSV, Markdown or Parquet, on an open file."""

import csv
from importlib import import_module
from importlib.util import find_spec
from typing import IO, Any, Final, Literal, Protocol, TypeAlias

from convscope.client.cli.json_output import to_json
from convscope.client.cli.outputs.columns import Columns
from convscope.client.cli.outputs.markdown import MarkdownWriter
from convscope.client.cli.outputs.records import Record

__all__ = ["RecordFormat", "RecordWriter", "is_parquet_available", "record_writer"]

RecordFormat: TypeAlias = Literal["json", "csv", "markdown", "parquet"]

# One group of rows is held in memory.
ROW_GROUP: Final = 10_000


class RecordWriter(Protocol):
    """Writes records in one format."""

    def write(self, record: Record) -> None:
        """Write a result, or an error if the format has errors."""

    def finish(self) -> None:
        """Write what remains."""


def record_writer(kind: RecordFormat, file: IO[Any], columns: Columns) -> RecordWriter:
    """Return a writer for a format; the file is binary for Parquet and text otherwise."""
    match kind:
        case "json":
            return _JsonWriter(file)
        case "csv":
            return _CsvWriter(file, columns)
        case "markdown":
            return MarkdownWriter(file, columns)
        case "parquet":
            return _ParquetWriter(file, columns)


def is_parquet_available() -> bool:
    """Report whether the packages for Parquet are installed."""
    return find_spec("pyarrow") is not None


class _JsonWriter:
    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, record: Record) -> None:
        self._file.write(to_json(record) + "\n")
        self._file.flush()

    def finish(self) -> None:
        pass


class _CsvWriter:
    def __init__(self, file: IO[str], columns: Columns) -> None:
        self._file = file
        self._columns = columns
        self._csv = csv.writer(file, lineterminator="\n")
        self._csv.writerow(columns.names)

    def write(self, record: Record) -> None:
        if "error" not in record:
            self._csv.writerows(self._columns.rows(record))
            self._file.flush()

    def finish(self) -> None:
        pass


class _ParquetWriter:
    def __init__(self, file: IO[bytes], columns: Columns) -> None:
        self._arrow, self._parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
        arrow_types = {
            str: self._arrow.string(),
            int: self._arrow.int64(),
            float: self._arrow.float64(),
        }
        self._columns = columns
        self._schema = self._arrow.schema(
            [(name, arrow_types[kind]) for name, kind in columns.types.items()]
        )
        self._writer = self._parquet.ParquetWriter(file, self._schema)
        self._rows: list[list[Any]] = []

    def write(self, record: Record) -> None:
        if "error" not in record:
            self._rows += self._columns.rows(record)
            if len(self._rows) >= ROW_GROUP:
                self._write_group()

    def finish(self) -> None:
        if self._rows:
            self._write_group()
        self._writer.close()

    def _write_group(self) -> None:
        arrays = [
            self._arrow.array(cells, field.type)
            for cells, field in zip(zip(*self._rows, strict=True), self._schema, strict=True)
        ]
        self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))
        self._rows = []
