"""Names of images in the cells of a table on a terminal."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

__all__ = ["ShortName", "short_names"]

ELLIPSIS = "…"
MIN_WIDTH = 12


class ShortName:
    """A name that takes one line: its middle is left out if the column is too narrow.

    Names that would be equal then keep all of their letters, on several lines.

    Args:
        name: The name.
        names: The names of all rows.
    """

    def __init__(self, name: str, names: Sequence[str]) -> None:
        self._name = name
        self._names = tuple(dict.fromkeys(names))

    def __str__(self) -> str:
        return self._name

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Return the narrowest and the widest column."""
        length = cell_len(self._name)
        return Measurement(min(length, MIN_WIDTH), length).with_maximum(options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the name at the width of its column."""
        width = options.max_width
        short = _shortened(self._name, width)
        yield Text(self._name if _counts(self._names, width)[short] > 1 else short, overflow="fold")


def short_names(names: Sequence[str]) -> list[ShortName]:
    """Return the cells of a column of names."""
    return [ShortName(name, names) for name in names]


@lru_cache
def _counts(names: tuple[str, ...], width: int) -> Counter[str]:
    """Return how many names each of the short ones stands for."""
    return Counter(_shortened(name, width) for name in names)


def _shortened(name: str, width: int) -> str:
    """Return a name without its middle; more of its end is kept, which has the file's name."""
    if cell_len(name) <= width:
        return name
    start = (width - 1) // 3
    end = set_cell_size(name[::-1], width - 1 - start)[::-1]
    return f"{set_cell_size(name, start)}{ELLIPSIS}{end}"
