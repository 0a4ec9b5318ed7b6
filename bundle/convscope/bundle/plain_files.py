"""Reads plain files without waiting for anything else that has their name.

Opening a FIFO blocks until another process writes to it, and a device may never end.
A name can also change between a check and the opening, so the open file is checked.
"""

import os
import stat
from pathlib import Path

__all__ = ["NotPlainError", "plain_size", "read_plain"]


class NotPlainError(Exception):
    """A path names a directory, a FIFO, a device or a socket."""


def plain_size(path: Path) -> int:
    """Return the size of a plain file, or of a link's target.

    Raises:
        NotPlainError: It isn't a plain file.
        OSError: It doesn't exist, or can't be read.
    """
    return _size(path.stat())


def read_plain(path: Path, max_bytes: int) -> bytes:
    """Return at most the first `max_bytes` bytes of a plain file, or of a link's target.

    Raises:
        NotPlainError: It isn't a plain file.
        OSError: It doesn't exist, or can't be read.
    """
    plain_size(path)  # a device could react to being opened
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - of an open file
        size = _size(os.fstat(descriptor))
        return file.read(min(size + 1, max_bytes))


def _size(status: os.stat_result) -> int:
    if not stat.S_ISREG(status.st_mode):
        raise NotPlainError()
    return status.st_size
