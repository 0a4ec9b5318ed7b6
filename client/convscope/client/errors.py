"""The errors of the client, each with its gRPC status code.

ConvscopeError
├── InvalidInputError        INVALID_ARGUMENT     also a ValueError; the request must change
├── NotFoundError            NOT_FOUND            no such model, version or alias
├── OverloadedError          RESOURCE_EXHAUSTED   still full after the retries
├── DeadlineExceededError    DEADLINE_EXCEEDED    no reply in time
├── UnavailableError         UNAVAILABLE          no server at the target, or it isn't ready
├── UnauthenticatedError     UNAUTHENTICATED      no token, or one that the server rejects
├── PermissionDeniedError    PERMISSION_DENIED    the caller may not do this
├── FailedPreconditionError  FAILED_PRECONDITION  the server rejected a bundle
└── InternalError            INTERNAL             any other status; see `code`

`UnknownNameError` is a KeyError of a result's mappings, and not of a call.
"""

from typing import Any, ClassVar

import grpc

from convscope.client._results.row import Row, empty_row

__all__ = [
    "ConvscopeError",
    "DeadlineExceededError",
    "FailedPreconditionError",
    "InternalError",
    "InvalidInputError",
    "NotFoundError",
    "OverloadedError",
    "PermissionDeniedError",
    "UnauthenticatedError",
    "UnavailableError",
    "UnknownNameError",
]


class ConvscopeError(Exception):
    """The base of all errors of this package.

    Args:
        message: What is wrong, what is allowed, and how to fix it.
        code: The gRPC status code; by default the one of the class.

    Attributes:
        image: The name of the image that failed; empty if the error isn't about one image,
            or the image has no name.
        index: The position of the image among those of a `classify_many`, from 0; None for
            other calls.
        request_id: The id of the call in the server's log; empty if nothing was sent.
        grpc_error: The error of gRPC, with its own message; None if the client found the error,
            or the reply contained it.

    Example:
        >>> try:
        ...     client.classify("coffee.png", model="resnet")
        ... except ConvscopeError as error:
        ...     print(error.code.name, error.image)
        NOT_FOUND coffee.png
    """

    default_code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN

    def __init__(self, message: str, code: grpc.StatusCode | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.image = ""
        self.index: int | None = None
        self.request_id = ""
        self.grpc_error: grpc.RpcError | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # gRPC's error belongs to a connection, which can't be pickled.
        return type(self), (self.message, self.code), self.__dict__ | {"grpc_error": None}

    def to_dict(self) -> dict[str, Any]:
        """Return it as values that JSON has, in the place of a result.

        Example:
            >>> NotFoundError("no model 'cat'").to_dict()["error"]
            {'code': 'NOT_FOUND', 'message': "no model 'cat'"}
        """
        error = {"code": self.code.name, "message": self.message}
        return {"image": self.image, "error": error, "request_id": self.request_id}

    def to_row(self) -> Row:
        """Return it as one row of a table, in the place of a result.

        Example:
            >>> NotFoundError("no model 'cat'").to_row()["error_code"]
            'NOT_FOUND'
        """
        return empty_row() | {
            "image": self.image,
            "request_id": self.request_id,
            "error_code": self.code.name,
            "error": self.message,
        }


class InvalidInputError(ConvscopeError, ValueError):
    """The image or an argument is invalid.

    Example:
        >>> try:
        ...     client.classify("missing.png", model="digits")
        ... except InvalidInputError as error:
        ...     print(error)
        there is no image 'missing.png'; check the path
    """

    default_code = grpc.StatusCode.INVALID_ARGUMENT


class NotFoundError(ConvscopeError):
    """The server has no such model, version or alias.

    Example:
        >>> try:
        ...     client.model("resnet")
        ... except NotFoundError as error:
        ...     print(error)
        no model 'resnet'; ...
    """

    default_code = grpc.StatusCode.NOT_FOUND


class OverloadedError(ConvscopeError):
    """The server's queue or memory was full, and still was after the retries.

    Example:
        >>> OverloadedError.default_code.name
        'RESOURCE_EXHAUSTED'
    """

    default_code = grpc.StatusCode.RESOURCE_EXHAUSTED


class DeadlineExceededError(ConvscopeError):
    """The reply didn't arrive, or could not have arrived, in time.

    Example:
        >>> try:
        ...     client.classify("coffee.png", model="efficientnet_lite0", timeout_seconds=0.0001)
        ... except DeadlineExceededError as error:
        ...     print(error.code.name)
        DEADLINE_EXCEEDED
    """

    default_code = grpc.StatusCode.DEADLINE_EXCEEDED


class UnavailableError(ConvscopeError):
    """No server responds at the target, or the server can't serve the request now.

    Example:
        >>> try:
        ...     Client("localhost:1").models()
        ... except UnavailableError as error:
        ...     print(error)
        no server answers at localhost:1; ...
    """

    default_code = grpc.StatusCode.UNAVAILABLE


class UnauthenticatedError(ConvscopeError):
    """The credentials are missing, invalid or expired.

    Example:
        >>> UnauthenticatedError.default_code.name
        'UNAUTHENTICATED'
    """

    default_code = grpc.StatusCode.UNAUTHENTICATED


class PermissionDeniedError(ConvscopeError):
    """The credentials are valid, but don't allow the call.

    Example:
        >>> PermissionDeniedError.default_code.name
        'PERMISSION_DENIED'
    """

    default_code = grpc.StatusCode.PERMISSION_DENIED


class FailedPreconditionError(ConvscopeError):
    """The server rejected a bundle by its hash, a gate or a policy.

    Example:
        >>> FailedPreconditionError.default_code.name
        'FAILED_PRECONDITION'
    """

    default_code = grpc.StatusCode.FAILED_PRECONDITION


class InternalError(ConvscopeError):
    """The server failed, or its reply can't be read.

    Example:
        >>> InternalError.default_code.name
        'INTERNAL'
    """

    default_code = grpc.StatusCode.INTERNAL


class UnknownNameError(KeyError):
    """A result has no such feature map, or a model no such alias; the message lists those it has.

    Example:
        >>> try:
        ...     client.classify("digits/3.png", model="digits").feature_maps["conv1"]
        ... except UnknownNameError as error:
        ...     print(error)
        the result has no feature map 'conv1'; ...
    """

    def __str__(self) -> str:
        return str(self.args[0])
