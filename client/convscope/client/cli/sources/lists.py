"""Lists of images: a path or URL per line, or separated by NUL characters."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from convscope.client.cli.sources.source import STANDARD_INPUT
from convscope.client.errors import InvalidInputError

__all__ = ["count_names", "read_names"]

_CHUNK_BYTES = 2**16
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_names(path: Path, *, null: bool) -> Iterator[str]:
    """Yield the names of a list as they arrive; empty ones are left out.

    Raises:
        InvalidInputError: The list can't be read, or has other separators.
    """
    try:
        with ExitStack() as stack:
            is_input = str(path) == STANDARD_INPUT
            file = sys.stdin.buffer if is_input else stack.enter_context(path.open("rb"))
            for index, item in enumerate(_split_nulls(file) if null else file):
                name = item.removesuffix(b"\0") if null else item.rstrip(b"\r\n")
                if index == 0:
                    name = name.removeprefix(_BYTE_ORDER_MARK)
                if b"\0" in name:
                    raise InvalidInputError(f"the names of {str(path)!r} end with NUL; add -0")
                if name:
                    yield os.fsdecode(name)
    except OSError as error:
        raise InvalidInputError(
            f"the list {str(path)!r} can't be read: {error.strerror}"
        ) from error


def count_names(path: Path, *, null: bool) -> int | None:
    """Return how many names a list has; None if only reading it would show that."""
    if not path.is_file():
        return None
    separator = b"\0" if null else b"\n"
    with path.open("rb") as file:
        return sum(chunk.count(separator) for chunk in iter(lambda: file.read(_CHUNK_BYTES), b""))


def _split_nulls(file: BinaryIO) -> Iterator[bytes]:
    rest = b""
    while chunk := os.read(file.fileno(), _CHUNK_BYTES):
        *complete, rest = (rest + chunk).split(b"\0")
        yield from complete
    yield rest
