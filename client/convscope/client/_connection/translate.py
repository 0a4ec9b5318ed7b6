"""gRPC's errors as errors of this package."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc

from convscope._grpc_messages import connection_problem, is_no_server, lost_call
from convscope.client.errors import (
    ConvscopeError,
    DeadlineExceededError,
    FailedPreconditionError,
    InternalError,
    InvalidInputError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnavailableError,
)

__all__ = ["closed_client", "error_from_status", "translate_errors"]

_BY_CODE: dict[grpc.StatusCode, type[ConvscopeError]] = {
    kind.default_code: kind
    for kind in (
        InvalidInputError,
        NotFoundError,
        OverloadedError,
        DeadlineExceededError,
        UnavailableError,
        UnauthenticatedError,
        PermissionDeniedError,
        FailedPreconditionError,
    )
}
_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}
_TOO_LARGE = re.compile(r"message larger than max", re.I)
_LOCAL_DEADLINE = re.compile(r"deadline exceeded", re.I)


@contextmanager
def translate_errors(
    target: str,
    timeout_seconds: float,
    timeout_name: str,
    token_name: str,
    diagnose: Callable[[str], str] = lambda details: "",
    *,
    admin: bool = False,
) -> Iterator[None]:
    """Raise the error of the call inside the block as a `ConvscopeError`.

    It works for `call()` and for `await call()`, because `grpc.aio.AioRpcError`
    is a `grpc.RpcError` too.

    Args:
        target: The server.
        timeout_seconds: How long the call may take.
        timeout_name: What the caller calls it; empty if it can't be changed.
        token_name: How the caller gives a token.
        diagnose: Returns why there is no connection, from gRPC's own message; empty if
            that is unknown.
        admin: Whether it is a call of AdminService.
    """
    try:
        yield
    except grpc.RpcError as error:
        translated = _rejected_credentials(error, target, token_name) or _translate(
            error, target, timeout_seconds, timeout_name, diagnose, admin
        )
        translated.grpc_error = error
        # gRPC's message has dozens of lines, which a traceback would show first.
        raise translated from None
    except (ValueError, grpc.aio.UsageError) as error:  # nothing else in a call raises these
        raise closed_client(target) from error


def closed_client(target: str) -> UnavailableError:
    """Return the error of a call after `close`."""
    return UnavailableError(
        f"the client of {target} is closed; make a new one, and keep it open while it is in use"
    )


def error_from_status(code: int, message: str) -> ConvscopeError:
    """Return the error for a status of the server."""
    return _error(_BY_NUMBER.get(code, grpc.StatusCode.UNKNOWN), message)


def _error(code: grpc.StatusCode, message: str) -> ConvscopeError:
    return _BY_CODE.get(code, InternalError)(
        message or f"the server reports only {code.name}", code
    )


def _rejected_credentials(
    error: grpc.RpcError, target: str, token_name: str
) -> ConvscopeError | None:
    """Return the error of a call that its server doesn't allow; None for other errors."""
    if not isinstance(error, grpc.Call | grpc.aio.AioRpcError):
        return None
    details = error.details() or "it gives no reason"
    if error.code() is grpc.StatusCode.UNAUTHENTICATED:
        return UnauthenticatedError(
            f"{target} doesn't accept the credentials: {details}; give a token that is valid now, "
            f"with {token_name}"
        )
    if error.code() is grpc.StatusCode.PERMISSION_DENIED:
        return PermissionDeniedError(
            f"{target} doesn't allow this: {details}; or use other credentials, with {token_name}"
        )
    return None


def _translate(
    error: grpc.RpcError,
    target: str,
    timeout_seconds: float,
    timeout_name: str,
    diagnose: Callable[[str], str],
    admin: bool,
) -> ConvscopeError:
    if not isinstance(error, grpc.Call | grpc.aio.AioRpcError):
        return InternalError(f"the call to {target} failed before it was sent")
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.UNAVAILABLE and is_no_server(details):
        if problem := diagnose(details):
            return UnavailableError(problem)
        listener = f" --admin-address {target}" if admin else ""
        return UnavailableError(
            f"no server answers at {target}; check the address, or start a server with: "
            f"convscope-server --models DIR{listener} ({connection_problem(details)})"
        )
    if code is grpc.StatusCode.UNAVAILABLE:
        reason = lost_call(code.name, details) or details or "it gives no reason"
        return UnavailableError(f"{target} can't serve the request now: {reason}")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE.search(details):
        return InvalidInputError(
            f"the request to {target}, or its reply, is too large; scale the image down, or "
            "request fewer feature maps",
            code,
        )
    if code is grpc.StatusCode.DEADLINE_EXCEEDED and _LOCAL_DEADLINE.search(details):
        repair = f"; allow more with {timeout_name}" if timeout_name else ""
        return DeadlineExceededError(f"no reply from {target} within {timeout_seconds:g} s{repair}")
    if code is grpc.StatusCode.UNIMPLEMENTED and admin:
        return InternalError(
            f"{target} has no AdminService; use the address of the server's --admin-address", code
        )
    if code is grpc.StatusCode.UNIMPLEMENTED:
        reason = lost_call(code.name, details) or "it doesn't know the called method"
        return InternalError(
            f"{target} is not a convscope server, or one of another version: {reason}", code
        )
    if reason := lost_call(code.name, details):
        return _error(code, f"the call to {target} failed: {reason}")
    return _error(code, details)
