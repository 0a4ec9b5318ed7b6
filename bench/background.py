"""Run a load in the background while another is measured."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["meanwhile"]


@contextmanager
def meanwhile(work: Callable[[], object]) -> Iterator[None]:
    """Run a function in a thread from the start of a with block, and wait for its end.

    Raises:
        Exception: What the function raised.
    """
    errors: list[Exception] = []

    def run() -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - it is raised below in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if errors:
        raise errors[0]
