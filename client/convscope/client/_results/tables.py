"""Many results as a table of pandas or of Arrow, which are optional packages."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from convscope.client._results.classification import Classification
from convscope.client._results.row import Row, column_order, column_type
from convscope.client.errors import ConvscopeError

if TYPE_CHECKING:
    import pandas
    import pyarrow

__all__ = ["to_arrow", "to_pandas", "to_rows"]

_PANDAS_TYPES = {int: "Int64", float: "float64", str: "string"}


def to_rows(outcomes: Iterable[Classification | ConvscopeError]) -> list[Row]:
    """Return one row for each outcome, all with the same columns in the same order."""
    kept = list(outcomes)
    columns = columns_of(kept)
    rows = [outcome.to_row() for outcome in kept]
    return [{name: row.get(name) for name in columns} for row in rows]


def to_pandas(outcomes: Iterable[Classification | ConvscopeError]) -> pandas.DataFrame:
    """Return a data frame with one row for each outcome.

    Raises:
        ImportError: pandas isn't installed.
    """
    pd = _import("pandas")
    kept = list(outcomes)
    frame = pd.DataFrame(to_rows(kept), columns=columns_of(kept))
    types = {name: _PANDAS_TYPES[column_type(name)] for name in frame.columns}
    typed: pandas.DataFrame = frame.astype(types)
    return typed


def to_arrow(outcomes: Iterable[Classification | ConvscopeError]) -> pyarrow.Table:
    """Return an Arrow table with one row for each outcome.

    Raises:
        ImportError: pyarrow isn't installed.
    """
    pa = _import("pyarrow")
    kept = list(outcomes)
    types = {int: pa.int64(), float: pa.float64(), str: pa.string()}
    fields = [(name, types[column_type(name)]) for name in columns_of(kept)]
    table: pyarrow.Table = pa.Table.from_pylist(to_rows(kept), schema=pa.schema(fields))
    return table


def columns_of(outcomes: Sequence[Classification | ConvscopeError]) -> list[str]:
    """Return the columns of the outcomes' rows."""
    classes = [len(one.classes) for one in outcomes if isinstance(one, Classification)]
    return column_order(max(classes, default=1))


def _import(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"a table needs {package}, which isn't installed; run: pip install {package}"
        ) from error
