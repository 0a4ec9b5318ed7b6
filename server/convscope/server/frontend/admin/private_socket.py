"""The rights of the Unix socket of AdminService."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["owner_only"]


@contextmanager
def owner_only() -> Iterator[None]:
    """Let only the user of the process use what is created in the block.

    A change of the mode after the bind would leave a moment in which others could connect.
    """
    before = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(before)
