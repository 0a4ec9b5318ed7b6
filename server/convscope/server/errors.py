"""The domain's errors, each with the gRPC status that it becomes.

ServingError
├── InvalidInputError           INVALID_ARGUMENT     the caller must change the request
├── NotFoundError               NOT_FOUND            no such model, version or alias
├── OverloadedError             RESOURCE_EXHAUSTED   a bound is reached; retry after a pause
├── DeadlineError               DEADLINE_EXCEEDED    too late to be worth running
├── UnavailableError            UNAVAILABLE          not now, or not here; retry
├── ReadOnlyError               FAILED_PRECONDITION  it is changed elsewhere
├── UnsupportedError            UNIMPLEMENTED        a part of a protocol that isn't here
└── BundleRejectedError          FAILED_PRECONDITION  the bundle didn't pass a gate

Their messages go to the caller as they are: they name the value, what is
allowed and the repair, and never a path or a class of ours.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import grpc

from convscope.bundle import errors as bundle_errors

__all__ = [
    "BundleRejectedError",
    "DeadlineError",
    "InvalidInputError",
    "NotFoundError",
    "OverloadedError",
    "ReadOnlyError",
    "ServingError",
    "StartError",
    "UnavailableError",
    "UnsupportedError",
    "translate_bundle_errors",
]


class StartError(Exception):
    """The server can't start; the message says why and what to do."""


class ServingError(Exception):
    """Anything that the server tells its caller on purpose."""

    code: ClassVar[grpc.StatusCode]
    retry_pushback_ms: ClassVar[int | None] = None

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidInputError(ServingError):
    """The request can't be answered as it stands."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class NotFoundError(ServingError):
    """The model, version or alias doesn't exist."""

    code = grpc.StatusCode.NOT_FOUND


class OverloadedError(ServingError):
    """A queue or a memory bound is reached."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    retry_pushback_ms = 100


class DeadlineError(ServingError):
    """The deadline passed before the input was run."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class UnavailableError(ServingError):
    """The model can't answer now."""

    code = grpc.StatusCode.UNAVAILABLE


class ReadOnlyError(ServingError):
    """What is to be changed is the copy of something that is changed elsewhere."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class UnsupportedError(ServingError):
    """The server has no such feature, and says what to use instead."""

    code = grpc.StatusCode.UNIMPLEMENTED


class BundleRejectedError(ServingError):
    """A bundle failed a check.

    Args:
        reason: Which check, one short word that is also a metric label:
            "files", "manifest", "hash", "graph", "provider", "golden", "memory" or
            "unforeseen".
        message: What is wrong with which part.
    """

    code = grpc.StatusCode.FAILED_PRECONDITION

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@contextmanager
def translate_bundle_errors() -> Iterator[None]:
    """Raise the errors of the room `bundle` as those that a caller receives."""
    try:
        yield
    except bundle_errors.BundleRejectedError as error:
        raise BundleRejectedError(error.reason, error.message) from error
    except bundle_errors.InvalidValueError as error:
        raise InvalidInputError(str(error)) from error
    except bundle_errors.UnknownNameError as error:
        raise NotFoundError(str(error)) from error
    except bundle_errors.BundleError as error:
        raise UnavailableError(str(error)) from error
