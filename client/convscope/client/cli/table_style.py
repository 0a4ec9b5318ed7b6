"""What all tables share."""

from collections.abc import Sequence

from rich import box
from rich.table import Table

__all__ = ["plain_table", "shape_text"]


def plain_table() -> Table:
    """Return a table without columns."""
    return Table(box=box.SIMPLE, header_style="dim", pad_edge=False)


def shape_text(shape: Sequence[int]) -> str:
    """Return a shape as text, such as "4 × 16 × 16"."""
    return " × ".join(map(str, shape))
