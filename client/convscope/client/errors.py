"""What can go wrong, each kind with its gRPC status code.

ConvscopeError
├── InvalidInputError        INVALID_ARGUMENT     also a ValueError; change the request
├── NotFoundError            NOT_FOUND            no such model, version or alias
├── OverloadedError          RESOURCE_EXHAUSTED   still full after the retries; send less
├── DeadlineExceededError    DEADLINE_EXCEEDED    no answer in time
├── UnavailableError         UNAVAILABLE          no server there, or it can't answer now
├── FailedPreconditionError  FAILED_PRECONDITION  the server refused a bundle
└── InternalError            INTERNAL             anything else; `code` has the status
"""

from typing import ClassVar

import grpc

__all__ = [
    "ConvscopeError",
    "DeadlineExceededError",
    "FailedPreconditionError",
    "InternalError",
    "InvalidInputError",
    "NotFoundError",
    "OverloadedError",
    "UnavailableError",
]


class ConvscopeError(Exception):
    """Anything that this package raises on purpose.

    Args:
        message: The value that is wrong, what is allowed and the repair.
        code: The gRPC status code, if it isn't the class's own.
    """

    default_code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN

    def __init__(self, message: str, code: grpc.StatusCode | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code


class InvalidInputError(ConvscopeError, ValueError):
    """The image or an argument can't be used as it is."""

    default_code = grpc.StatusCode.INVALID_ARGUMENT


class NotFoundError(ConvscopeError):
    """The server has no such model, version or alias."""

    default_code = grpc.StatusCode.NOT_FOUND


class OverloadedError(ConvscopeError):
    """The server's queue was full, and still was after the retries."""

    default_code = grpc.StatusCode.RESOURCE_EXHAUSTED


class DeadlineExceededError(ConvscopeError):
    """The answer didn't come, or could not have come, in time."""

    default_code = grpc.StatusCode.DEADLINE_EXCEEDED


class UnavailableError(ConvscopeError):
    """No server answers at the target, or it can't answer now."""

    default_code = grpc.StatusCode.UNAVAILABLE


class FailedPreconditionError(ConvscopeError):
    """The server refused a bundle by its hash, a gate or a policy."""

    default_code = grpc.StatusCode.FAILED_PRECONDITION


class InternalError(ConvscopeError):
    """The server failed, or its reply can't be read."""

    default_code = grpc.StatusCode.INTERNAL
