"""The columns that the rows of results and of errors share."""

from typing import Any, TypeAlias

__all__ = ["Row", "column_order", "column_type", "empty_row"]

Row: TypeAlias = dict[str, Any]
"""The text, number or None of each column."""

_FIRST = ("image", "label", "index", "probability")
_LAST = (
    *("model", "version", "provider"),
    *("decode_seconds", "queue_seconds", "infer_seconds", "encode_seconds", "call_seconds"),
    *("request_id", "error_code", "error"),
)
_INTEGERS = ("index", "rank", "version")


def empty_row() -> Row:
    """Return a row in which each column is None, up to the first class."""
    return dict.fromkeys((*_FIRST, *_LAST))


def column_order(classes: int) -> list[str]:
    """Return the columns of rows with up to so many classes."""
    ranks = range(2, classes + 1)
    further = [f"{name}_{rank}" for rank in ranks for name in ("label", "index", "probability")]
    return [*_FIRST, *further, *_LAST]


def column_type(column: str) -> type[int] | type[float] | type[str]:
    """Return the type of a column's values."""
    if column.partition("_")[0] in _INTEGERS:
        return int
    return float if column.startswith("probability") or column.endswith("_seconds") else str
