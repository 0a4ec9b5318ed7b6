"""The errors that callers see, each with its gRPC status code.

ServingError
├── InvalidInputError           INVALID_ARGUMENT     the caller must change the request
│   └── NoModelError            INVALID_ARGUMENT     the request names no model
├── NotFoundError               NOT_FOUND            no such model, version or alias
│   └── UnknownModelError       NOT_FOUND            no such model
├── OverloadedError             RESOURCE_EXHAUSTED   a limit is reached; retry after a pause
│   ├── CallerLimitError        RESOURCE_EXHAUSTED   a limit of this caller is reached
│   └── OutOfMemoryError        RESOURCE_EXHAUSTED   the process has no memory left
├── UnauthenticatedError        UNAUTHENTICATED      no credentials, or invalid ones
├── PermissionDeniedError       PERMISSION_DENIED    this caller may not do that
├── DeadlineError               DEADLINE_EXCEEDED    the deadline passed before the run
├── UnavailableError            UNAVAILABLE          not now, or not on this server; retry
│   └── ShuttingDownError       UNAVAILABLE          the server stops; retry on another one
├── ReadOnlyError               FAILED_PRECONDITION  a copy can't be changed, only its source
├── NonFiniteError              INTERNAL             the network returned NaN or infinity
├── UnsupportedError            UNIMPLEMENTED        a part of a protocol that is not supported
└── BundleRejectedError         FAILED_PRECONDITION  the bundle failed a check

The caller receives the message unchanged. It names the value, what is allowed
and the repair, and never contains a path or a class name.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import ClassVar

import grpc

from convscope.bundle import errors as bundle_errors

__all__ = [
    "BundleRejectedError",
    "CallerLimitError",
    "DeadlineError",
    "InvalidInputError",
    "NoModelError",
    "NonFiniteError",
    "NotFoundError",
    "OutOfMemoryError",
    "OverloadedError",
    "PermissionDeniedError",
    "ReadOnlyError",
    "ServingError",
    "ShuttingDownError",
    "StartError",
    "UnauthenticatedError",
    "UnavailableError",
    "UnknownModelError",
    "UnsupportedError",
    "translate_bundle_errors",
]


# The names that a message lists.
_MAX_LISTED = 20
# The characters of a name that a message repeats.
_MAX_NAME = 80


class StartError(Exception):
    """The server can't start; the message has the reason and the repair."""


class ServingError(Exception):
    """An error that the caller receives with its own code and message."""

    code: ClassVar[grpc.StatusCode]
    retry_pushback_ms: int | None = None

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def message_for(self, may_use: Callable[[str], bool]) -> str:
        """Return the message for a caller that may not use every model.

        Args:
            may_use: Returns whether it may use a model.
        """
        return self.message

    def name_input(self, index: int, inputs: int) -> None:
        """Add to the message which input of the request it concerns."""
        self.message = f"input {index} of {inputs}: {self.message}"


class InvalidInputError(ServingError):
    """The request is wrong; the caller must change it."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class _ListsModelsError(ServingError):
    """An error whose message lists the models that exist, or those that a caller may use.

    Args:
        message: The message without the list.
        models: All models.
        place: What has them.
    """

    def __init__(self, message: str, models: Iterable[str], *, place: str = "this server") -> None:
        self._start = f"{message}; {place} has"
        self._models = list(models)
        super().__init__(self.message_for(lambda _: True))

    def message_for(self, may_use: Callable[[str], bool]) -> str:
        """Return the message for a caller that may not use every model."""
        known = [name for name in self._models if may_use(name)]
        more = f" and {len(known) - _MAX_LISTED} more" if len(known) > _MAX_LISTED else ""
        names = ", ".join(known[:_MAX_LISTED]) or "no model"
        return f"{self._start}: {names}{more}"


class NoModelError(_ListsModelsError, InvalidInputError):
    """The request names no model."""


class NotFoundError(ServingError):
    """The model, version or alias doesn't exist."""

    code = grpc.StatusCode.NOT_FOUND


class UnknownModelError(_ListsModelsError, NotFoundError):
    """The model doesn't exist.

    Args:
        model: Its name, as the caller gave it.
        models: All models.
        place: What has them.
    """

    START: ClassVar[str] = "no model "
    """How the message begins; the message of no other error does."""

    def __init__(self, model: str, models: Iterable[str], *, place: str = "this server") -> None:
        shown = repr(model if len(model) <= _MAX_NAME else model[:_MAX_NAME] + "…")
        super().__init__(f"{self.START}{shown}", models, place=place)


class OverloadedError(ServingError):
    """A queue is full, or a memory limit is reached."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    retry_pushback_ms = 100


class CallerLimitError(OverloadedError):
    """A limit that the server's policy sets for this caller is reached.

    Args:
        message: The message.
        pushback_ms: When to try again.
    """

    def __init__(self, message: str, pushback_ms: int) -> None:
        super().__init__(message)
        self.retry_pushback_ms = pushback_ms


class OutOfMemoryError(OverloadedError):
    """The process has no memory left for the call.

    Args:
        purpose: What the memory is for.
    """

    def __init__(self, purpose: str = "for the call") -> None:
        super().__init__(f"the server has no memory left {purpose}; retry later")


class UnauthenticatedError(ServingError):
    """The call has no credentials, or invalid ones."""

    code = grpc.StatusCode.UNAUTHENTICATED


class PermissionDeniedError(ServingError):
    """The caller is known, and may not do that."""

    code = grpc.StatusCode.PERMISSION_DENIED


class DeadlineError(ServingError):
    """The deadline passed before the input was run."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class UnavailableError(ServingError):
    """The model is not ready, or the server is stopping."""

    code = grpc.StatusCode.UNAVAILABLE


class ShuttingDownError(UnavailableError):
    """The server is stopping."""

    def __init__(self) -> None:
        super().__init__("the server is shutting down; call another one")


class ReadOnlyError(ServingError):
    """The object to change is a copy; only its source can be changed."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class NonFiniteError(ServingError):
    """The network returned NaN or infinity for an input, which is no prediction."""

    code = grpc.StatusCode.INTERNAL

    def __init__(self, model: str, version: int) -> None:
        super().__init__(
            f"{model} v{version} returned NaN or infinity, so there is no result; "
            "the network can't take such an input"
        )


class UnsupportedError(ServingError):
    """The server does not have the feature; the message names the alternative."""

    code = grpc.StatusCode.UNIMPLEMENTED


class BundleRejectedError(ServingError):
    """A bundle failed a check.

    Args:
        reason: The check, one short word that is also a metric label:
            "files", "manifest", "hash", "signature", "graph", "provider", "golden",
            "memory", "time" or "unexpected".
        message: What is wrong, and where.
    """

    code = grpc.StatusCode.FAILED_PRECONDITION

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(bundle_errors.abridged(message))
        self.reason = reason


@contextmanager
def translate_bundle_errors() -> Iterator[None]:
    """Raise the errors of the room `bundle` as those that a caller receives."""
    try:
        yield
    except bundle_errors.BundleRejectedError as error:
        raise BundleRejectedError(error.reason, error.message) from error
    except bundle_errors.SigningError as error:
        message = f"the signature can't be checked: {error}"
        raise BundleRejectedError("signature", message) from error
    except bundle_errors.InvalidValueError as error:
        raise InvalidInputError(str(error)) from error
    except bundle_errors.UnknownNameError as error:
        raise NotFoundError(str(error)) from error
    except bundle_errors.BundleError as error:
        raise UnavailableError(str(error)) from error
