"""Prints tables that fit the terminal."""

import sys

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

__all__ = ["print_table"]

# A column of text is folded to no fewer characters than this.
_FOLDED = 12


def print_table(table: Table, console: Console) -> None:
    """Print a table: in full width without a terminal, as a list on one that is too narrow."""
    if not console.is_terminal:
        options = console.options.update(width=sys.maxsize)
        console.width = max(console.width, console.measure(table, options=options).maximum)
    elif sum(_narrowest(column) + 2 for column in table.columns) - 2 > console.width:
        _print_list(table, console)
        return
    with console.capture() as printed:
        console.print(table, soft_wrap=False)
    lines = (line.rstrip() for line in printed.get().splitlines())
    if not console.quiet:
        console.print(Text.from_ansi("\n".join(lines)))


def _narrowest(column: Column) -> int:
    cells = [Text.from_markup(str(cell)).plain for cell in (column.header, *column.cells)]
    longest = max((len(line) for cell in cells for line in cell.splitlines()), default=0)
    return longest if column.no_wrap or column.justify == "right" else min(longest, _FOLDED)


def _print_list(table: Table, console: Console) -> None:
    """Print each row as its first cell, and below it the others with the names of the columns."""
    names = [str(column.header).replace("\n", " ") for column in table.columns]
    for first, *cells in zip(*(column.cells for column in table.columns), strict=True):
        console.print(f"[bold]{first}[/]")
        for name, cell in zip(names[1:], cells, strict=True):
            if cell:
                console.print(f"  [dim]{name}[/]  {', '.join(str(cell).splitlines())}")
