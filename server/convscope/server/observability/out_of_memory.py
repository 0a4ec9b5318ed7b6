"""Recognizes errors that are caused by too little memory, and names them for the caller."""

import mmap
import resource
from asyncio import CancelledError
from collections.abc import Iterator
from pathlib import Path

from convscope.server.errors import OutOfMemoryError, ServingError

__all__ = ["allocations_can_fail", "callers_error", "causes", "has_memory", "is_out_of_memory"]

# What the errors of ONNX Runtime, protobuf and Python's threads state if memory can't be
# allocated.
_SIGNS = (
    *("allocate memory", "bad_alloc", "bad allocation", "out of memory", "alloc failed"),
    "can't start new thread",
)
_OVERCOMMIT = Path("/proc/sys/vm/overcommit_memory")
_NEVER_OVERCOMMIT = "2"


def is_out_of_memory(error: BaseException) -> bool:
    """Report whether an error is that memory can't be allocated."""
    return any(
        isinstance(one, MemoryError) or any(sign in str(one) for sign in _SIGNS)
        for one in causes(error)
    )


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, its cause, the cause of that, and so on."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def has_memory(size: int) -> bool:
    """Return whether the process can allocate memory, without touching it.

    Some libraries report too little memory as damaged input.
    """
    try:
        mmap.mmap(-1, max(size, 1)).close()
    except (OSError, MemoryError):
        return False
    return True


def allocations_can_fail() -> bool:
    """Return whether the system denies memory, instead of ending a process when it is used up."""
    kinds = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    if any(resource.getrlimit(kind)[0] != resource.RLIM_INFINITY for kind in kinds):
        return True
    try:
        return _OVERCOMMIT.read_text().strip() == _NEVER_OVERCOMMIT
    except OSError:
        return False


def callers_error(error: BaseException) -> BaseException:
    """Return the error that a caller receives in place of one that may be a lack of memory."""
    if isinstance(error, (ServingError, CancelledError)) or not is_out_of_memory(error):
        return error
    return OutOfMemoryError()
