"""What all tables share."""

import os
import sys
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

__all__ = ["plain_table", "print_table", "shape_text"]


def plain_table() -> Table:
    """Return a table without columns."""
    return Table(box=box.SIMPLE, header_style="dim", pad_edge=False)


def shape_text(shape: Sequence[int]) -> str:
    """Return a shape as text, such as "4 × 16 × 16"."""
    return " × ".join(map(str, shape))


def print_table(table: Table) -> None:
    """Print a table; in full width for a pipe or a file, unless COLUMNS is set.

    There, each row is one line, and no name is folded or cut off.
    """
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        options = console.options.update(width=sys.maxsize)
        console.width = max(console.width, console.measure(table, options=options).maximum)
    console.print(table)
