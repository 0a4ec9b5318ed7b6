"""What all tables share."""

import os
import sys
from collections.abc import Iterator, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Column, Table
from rich.text import Text

__all__ = ["plain_table", "print_table", "shape_text", "table_console"]

# A column that folds its cells is at least this wide, unless all of them are shorter.
MIN_FOLDED = 12
PADDING = 3  # between two columns
PIPE_WIDTH = 10_000


def plain_table() -> Table:
    """Return a table without columns."""
    return Table(box=box.SIMPLE, header_style="dim", pad_edge=False)


def shape_text(shape: Sequence[int]) -> str:
    """Return a shape as text, such as "4 × 16 × 16"."""
    return " × ".join(map(str, shape))


def table_console() -> Console:
    """Return a console for tables; a pipe or a file is wide, unless COLUMNS is set.

    There, each row is one line, and no name is folded or cut off.
    """
    is_pipe = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(highlight=False, width=PIPE_WIDTH if is_pipe else None)


def print_table(table: Table, console: Console | None = None) -> None:
    """Print a table, after an empty line; as a list if its columns are too narrow otherwise."""
    console = console or table_console()
    needed = sum(_min_width(column) + PADDING for column in table.columns) - 1
    if table.show_header and needed > console.width:
        for line in _list_lines(table):
            console.print(line)
        return
    width = console.measure(table).maximum if console.width >= PIPE_WIDTH else None
    with console.capture() as captured:
        console.print(table, width=width)
    # The box ends with an empty line, and what follows may begin with one.
    for row in captured.get().rstrip().split("\n"):
        console.file.write(f"{row if console.is_terminal else row.rstrip(' ')}\n")


def _min_width(column: Column) -> int:
    lines = [line for cell in (column.header, *column.cells) for line in _plain(cell).split("\n")]
    longest = max(map(cell_len, lines), default=0)
    return longest if column.no_wrap else min(longest, MIN_FOLDED)


def _list_lines(table: Table) -> Iterator[Text]:
    """Yield a line for each cell of a table: the first of a row, and the others below it."""
    names = [_plain(column.header) for column in table.columns]
    for row in zip(*(column.cells for column in table.columns), strict=True):
        first, *others = map(_text, row)
        if first.plain:
            yield Text()
            yield Text(first.plain, "bold")
        for name, cell in zip(names[1:], others, strict=True):
            if cell.plain:
                shown = Text(", ").join(cell.split("\n"))
                shown.rstrip()
                yield Text.assemble("  ", (name, "dim"), "  ", shown)


def _text(cell: RenderableType) -> Text:
    return cell if isinstance(cell, Text) else Text(str(cell))


def _plain(cell: RenderableType) -> str:
    return _text(cell).plain
