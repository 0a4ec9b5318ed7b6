"""Records as a table in Markdown, with the columns that a person reads."""

import re
from collections.abc import Iterator
from typing import IO

from convscope.client.cli.outputs.columns import Columns
from convscope.client.cli.outputs.records import Record

__all__ = ["MarkdownWriter"]

_SPECIAL = re.compile(r"[\\`*<>|\[\]~]|(?<![^\W_])_|_(?![^\W_])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NUMBERS = ("rank", "probability")


class MarkdownWriter:
    """Writes a table in Markdown.

    Wide: one row for each image, with its most probable class, and the others in one cell. Long:
    one row for each class of an image.

    Args:
        file: The file.
        columns: The layout, and how many classes an image has at most.
    """

    def __init__(self, file: IO[str], columns: Columns) -> None:
        self._file = file
        self._is_long = columns.layout == "long"
        names = ["image", "label", "probability"]
        if self._is_long:
            names.insert(1, "rank")
        elif columns.classes > 1:
            names.append("runners-up")
        self._names = names
        self._write(names)
        self._write(["---:" if name in _NUMBERS else "---" for name in names])

    def write(self, record: Record) -> None:
        """Write the rows of a result; an image that failed has none."""
        if "error" in record:
            return
        for row in self._rows(record):
            cells = {"image": record["image"]} | row
            self._write([_escaped(cells.get(name, "")) for name in self._names])
        self._file.flush()

    def finish(self) -> None:
        """Do nothing: each row is complete."""

    def _rows(self, record: Record) -> Iterator[dict[str, str]]:
        classes = [
            {"label": one["label"], "probability": f"{one['probability']:.4f}"}
            for one in record["classes"]
        ]
        if self._is_long and classes:
            yield from ({"rank": str(rank)} | one for rank, one in enumerate(classes, 1))
            return
        others = (f"{one['label']} {one['probability']}" for one in classes[1:])
        yield (classes[0] if classes else {}) | {"runners-up": ", ".join(others)}

    def _write(self, cells: list[str]) -> None:
        self._file.write(f"| {' | '.join(cells)} |\n")


def _escaped(text: str) -> str:
    escaped = _SPECIAL.sub(r"\\\g<0>", text)
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], escaped)
