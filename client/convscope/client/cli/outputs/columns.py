"""The columns of CSV, Parquet and Markdown."""

from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

from convscope.client.cli.outputs.records import Record

__all__ = ["Columns", "Layout"]

Layout: TypeAlias = Literal["wide", "long"]
Row: TypeAlias = list[Any]

_SHARED = {"image": str, "model": str, "version": int, "provider": str}
_LONG = {"rank": int, "index": int, "label": str, "probability": float}


class Columns:
    """The columns of a table of results, and its rows.

    Wide: one row for each image: image, model, version, provider, label, probability, label_2,
    probability_2 and so on. Long: one row for each class of an image: image, model, version,
    provider, rank, index, label, probability.

    Args:
        layout: "wide" or "long".
        classes: How many classes a wide row has room for.
    """

    def __init__(self, layout: Layout, classes: int) -> None:
        self._layout = layout
        self._classes = classes
        self.types: dict[str, type] = dict(_SHARED)
        if layout == "long":
            self.types |= _LONG
        else:
            for rank in range(1, classes + 1):
                end = "" if rank == 1 else f"_{rank}"
                self.types |= {f"label{end}": str, f"probability{end}": float}

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return list(self.types)

    def rows(self, record: Record) -> Iterator[Row]:
        """Yield the rows of a record; an image without a class has one, with empty cells."""
        if "rows" in record:  # of an earlier output
            yield from record["rows"]
            return
        shared = [record[name] for name in _SHARED]
        classes = record["classes"]
        if self._layout == "long":
            for rank, one in enumerate(classes, 1):
                yield [*shared, rank, one["index"], one["label"], one["probability"]]
            if not classes:
                yield [*shared, *[None] * len(_LONG)]
            return
        cells = [one[key] for one in classes for key in ("label", "probability")]
        empty = 2 * self._classes - len(cells)
        yield [*shared, *cells[: 2 * self._classes], *[None] * empty]
