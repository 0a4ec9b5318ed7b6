"""The results of an output that an earlier run completed, to add further images to it."""

import csv
import json
import re
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from convscope.client.cli.outputs.columns import Columns
from convscope.client.cli.outputs.formats import RecordFormat
from convscope.client.cli.outputs.records import Record
from convscope.client.errors import InvalidInputError

__all__ = ["classes_differ", "read_finished"]

_LABEL = re.compile(r"label(_\d+)?")


def read_finished(path: Path, kind: RecordFormat, columns: Columns) -> Iterator[Record]:
    """Yield the results of an output in the format and with the columns of this run.

    Raises:
        InvalidInputError: It has other columns, or can't be read.
    """
    try:
        match kind:
            case "json":
                yield from _read_json(path)
            case "csv":
                yield from _group(_read_csv(path, columns), columns)
            case "parquet":
                yield from _group(_read_parquet(path, columns), columns)
            case "markdown":  # the command line is rejected
                return
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InvalidInputError):
            raise
        raise InvalidInputError(
            f"{str(path)!r} can't be continued: it is not {kind} of this command; "
            "add --overwrite to replace it"
        ) from error


def _read_json(path: Path) -> Iterator[Record]:
    with path.open("rb") as file:
        for line in file:
            record = json.loads(line)
            if "error" not in record:
                record["image"], record["classes"]  # a KeyError if it is something else
                yield record


def _read_csv(path: Path, columns: Columns) -> Iterator[list[Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file, strict=True)
        _check_columns(path, next(rows, []), columns)
        yield from rows


def _read_parquet(path: Path, columns: Columns) -> Iterator[list[Any]]:
    with import_module("pyarrow.parquet").ParquetFile(path) as file:
        _check_columns(path, file.schema_arrow.names, columns)
        for batch in file.iter_batches():
            yield from (list(row.values()) for row in batch.to_pylist())


def _check_columns(path: Path, found: list[str], columns: Columns) -> None:
    if found == columns.names:
        return
    layouts = ["long" if "rank" in names else "wide" for names in (found, columns.names)]
    counts = [sum(_LABEL.fullmatch(name) is not None for name in found), columns.classes]
    if "label" not in found:
        reason = "it is not an output of this command"
    elif layouts[0] != layouts[1]:
        reason = f"the file has the layout {layouts[0]}, and this run {layouts[1]}"
    elif counts[0] != counts[1] and layouts[0] == "wide":
        raise InvalidInputError(classes_differ(path, *counts))
    else:
        reason = "it has the columns of another version of this command"
    raise InvalidInputError(
        f"{str(path)!r} can't be continued: {reason}; use the same options, or add --overwrite to "
        "replace it"
    )


def classes_differ(path: Path, found: int, wanted: int) -> str:
    """Return the message about an output with another number of classes per image."""
    classes = "class" if found == 1 else "classes"
    return (
        f"{str(path)!r} can't be continued: the file has {found} {classes} per image, and this run "
        f"{wanted}; use the same --top-k and --min-probability, or add --overwrite to replace it"
    )


def _group(rows: Iterable[list[Any]], columns: Columns) -> Iterator[Record]:
    """Yield a record for each image, from its rows."""
    model, version = map(columns.names.index, ("model", "version"))
    rank = columns.names.index("rank") if "rank" in columns.types else None
    record: Record | None = None
    for row in rows:
        if len(row) != len(columns.names):
            raise ValueError("a row is incomplete")
        if record is not None and rank is not None and row[rank] not in (1, "1", "", None):
            record["rows"].append(row)
            continue
        if record is not None:
            yield record
        record = {"image": row[0], "model": row[model], "version": row[version], "rows": [row]}
    if record is not None:
        yield record
