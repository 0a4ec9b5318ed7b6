"""The columns of CSV and Parquet."""

from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

from convscope.client._results.row import column_order, column_type
from convscope.client.cli.outputs.records import Record

__all__ = ["Columns", "Layout"]

Layout: TypeAlias = Literal["wide", "long"]
Row: TypeAlias = list[Any]

# An image that failed has no row.
_ERRORS = ("error_code", "error")
_OF_CLASSES = ("label", "index", "probability")
_TIMES = ("decode", "queue", "infer", "encode")


class Columns:
    """The columns of a table of results, and its rows.

    Wide: one row for each image, with the columns of `Classification.to_row()`. Long: one row for
    each class of an image, which has the column rank, and the other columns for one class.

    Args:
        layout: "wide" or "long".
        classes: How many classes an image has at most; a wide row has room for them.
    """

    def __init__(self, layout: Layout, classes: int) -> None:
        self.layout = layout
        self.classes = classes
        self._classes = classes if layout == "wide" else 1
        names = [name for name in column_order(self._classes) if name not in _ERRORS]
        if layout == "long":
            names.insert(1, "rank")
        self.types: dict[str, type] = {name: column_type(name) for name in names}

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return list(self.types)

    def rows(self, record: Record) -> Iterator[Row]:
        """Yield the rows of a record; an image without a class has one, with empty cells."""
        if "rows" in record:  # of an earlier output
            yield from record["rows"]
            return
        times = {f"{stage}_seconds": record["stage_seconds"][stage] for stage in _TIMES}
        shared, classes = record | times, record["classes"]
        if self.layout == "wide":
            yield self._row(shared | _cells(classes[: self._classes]))
            return
        for rank, one in enumerate(classes, 1):
            yield self._row(shared | {"rank": rank} | _cells([one]))
        if not classes:
            yield self._row(shared)

    def _row(self, cells: dict[str, Any]) -> Row:
        return [cells.get(name) for name in self.types]


def _cells(classes: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the cells of classes, by their columns."""
    return {
        name if rank == 1 else f"{name}_{rank}": one[name]
        for rank, one in enumerate(classes, 1)
        for name in _OF_CLASSES
    }
