"""The columns that the rows of results and of errors share."""

from typing import Any, TypeAlias

__all__ = ["Row", "column_order", "empty_row"]

Row: TypeAlias = dict[str, Any]
"""The text, number or None of each column."""

_FIRST = ("image", "label", "index", "probability")
_LAST = (
    *("model", "version", "provider"),
    *("decode_seconds", "queue_seconds", "infer_seconds", "encode_seconds", "call_seconds"),
    *("request_id", "error_code", "error"),
)


def empty_row() -> Row:
    """Return a row in which each column is None, up to the first class."""
    return dict.fromkeys((*_FIRST, *_LAST))


def column_order(classes: int) -> list[str]:
    """Return the columns of rows with up to so many classes."""
    ranks = range(2, classes + 1)
    further = [f"{name}_{rank}" for rank in ranks for name in ("label", "index", "probability")]
    return [*_FIRST, *further, *_LAST]
