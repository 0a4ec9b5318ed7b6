"""Errors as HTTP replies: gRPC's codes as status codes, with the server's own messages."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import grpc
import orjson
from starlette.responses import Response

from convscope._grpc_messages import is_no_server, lost_call
from convscope.client import ConvscopeError
from convscope.web.lingering import CLOSE, LingeringResponse

__all__ = [
    "JSON",
    "SCOPE_ID",
    "HttpError",
    "error_reply",
    "from_client",
    "from_rpc",
    "invalid",
    "not_found",
    "to_response",
    "too_large",
    "unexpected",
    "unsupported",
    "validation_message",
    "wrong_action",
]

JSON: Final = "application/json"
CODES: Final = grpc.StatusCode
STATUSES: Final[Mapping[grpc.StatusCode, int]] = {
    CODES.INVALID_ARGUMENT: 400,
    CODES.OUT_OF_RANGE: 400,
    CODES.UNAUTHENTICATED: 401,
    CODES.PERMISSION_DENIED: 403,
    CODES.NOT_FOUND: 404,
    CODES.ALREADY_EXISTS: 409,
    CODES.ABORTED: 409,
    CODES.FAILED_PRECONDITION: 412,
    CODES.RESOURCE_EXHAUSTED: 429,
    CODES.CANCELLED: 499,
    CODES.UNIMPLEMENTED: 501,
    CODES.UNAVAILABLE: 503,
    CODES.DEADLINE_EXCEEDED: 504,
}
SCOPE_ID: Final = "convscope.request_id"
"""The key of the request's id in its scope."""
_PUSHBACK = "grpc-retry-pushback-ms"
_TOO_LARGE = "message larger than max"
# Of our transport, of grpc.aio's, and of gRPC's client.
_TOO_MUCH_METADATA = re.compile(r"metadata (has [\d,]+ bytes|size exceeds)")
# A method of gRPC that a message names, and what callers of HTTP have instead.
_IN_HTTP = {"GetModel lists its labels": "GET /v1/models/MODEL/labels lists its labels"}
_LOCAL_DEADLINE = "deadline exceeded"


class HttpError(Exception):
    """An error that the caller receives.

    Args:
        code: The gRPC status code.
        message: What is wrong, what is allowed, and the repair.
        status: The HTTP status; by default that of the code.
        headers: Further headers of the reply.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = STATUSES.get(code, 500) if status is None else status
        self.headers = dict(headers or {})
        if self.status in (429, 503):
            self.headers.setdefault("Retry-After", "1")
        if self.status == 401:
            self.headers.setdefault("WWW-Authenticate", 'Bearer realm="convscope"')


def invalid(message: str, *, status: int = 400) -> HttpError:
    """Return the error of a request that the caller must change."""
    return HttpError(CODES.INVALID_ARGUMENT, message, status=status)


def too_large(message: str, *, is_read: bool = False) -> HttpError:
    """Return the error of a body above a limit, which ends the connection unless it was read."""
    headers = {} if is_read else CLOSE
    return HttpError(CODES.INVALID_ARGUMENT, message, status=413, headers=headers)


def from_client(error: ConvscopeError) -> HttpError:
    """Return the reply to a failed call of the client.

    The client's own messages name its arguments and the server's address. Those of the
    server are passed on.
    """
    if isinstance(error.grpc_error, grpc.aio.AioRpcError):
        return from_rpc(error.grpc_error, error.message)
    return HttpError(error.code, _in_http(error.message))


def from_rpc(error: grpc.aio.AioRpcError, message: str | None = None) -> HttpError:
    """Return the reply to a failed gRPC call."""
    code, details = error.code(), error.details() or ""
    lower = details.lower()
    if code is CODES.UNAVAILABLE and is_no_server(details):
        return HttpError(code, "the gRPC server doesn't respond; /readyz has the reason")
    if code is CODES.RESOURCE_EXHAUSTED and _TOO_LARGE in lower:
        return HttpError(CODES.INVALID_ARGUMENT, message or details, status=413)
    if code is CODES.RESOURCE_EXHAUSTED and _TOO_MUCH_METADATA.search(lower):
        return HttpError(
            CODES.INVALID_ARGUMENT,
            f"the headers that are passed on are too large for the gRPC server: {details}; send "
            "fewer or shorter ones, such as a shorter token",
            status=431,
        )
    if code is CODES.DEADLINE_EXCEEDED and lower.startswith(_LOCAL_DEADLINE):
        return HttpError(
            code, "no reply from the gRPC server in time; allow more with the parameter timeout"
        )
    if reason := lost_call(code.name, details):
        return HttpError(code, f"the call to the gRPC server failed: {reason}")
    text = _in_http(details) or f"the server reports only {code.name}"
    return HttpError(code, text, headers=_retry(error))


def to_response(error: HttpError, scope: Mapping[str, Any]) -> Response:
    """Return the reply to an error; the Open Inference Protocol has another form of it.

    Args:
        error: The error.
        scope: The request.
    """
    body = {"error": error.message} if _is_open_inference(scope) else error_reply(error)
    kind = LingeringResponse if error.headers.get("Connection") == "close" else Response
    return kind(orjson.dumps(body), error.status, error.headers, JSON)


def unexpected(request_id: str) -> HttpError:
    """Return the error of a bug, which only the log explains."""
    return HttpError(
        CODES.INTERNAL, f"unexpected error; the log of the web process has it as {request_id}"
    )


def error_reply(error: HttpError) -> dict[str, dict[str, str]]:
    """Return an `ErrorReply`."""
    return {"error": {"code": error.code.name, "message": error.message}}


def validation_message(errors: Sequence[Any]) -> str:
    """Return the errors of parameters in one message."""
    return "; ".join(
        f"{'.'.join(str(part) for part in each['loc'] if part != 'query')}: {each['msg']}"
        for each in errors
    )


def unsupported(message: str) -> HttpError:
    """Return the error of a body of a type that isn't accepted."""
    return invalid(message, status=415)


def not_found(path: str) -> HttpError:
    """Return the error of a path for which there is no route."""
    return HttpError(CODES.NOT_FOUND, f"there is no {path[:200]!r}; /docs describes the API")


def wrong_action(model: str, method: str) -> HttpError:
    """Return the error of a method that `MODEL:ACTION` doesn't have."""
    action = model.partition(":")[2]
    if action == "classify":
        message = f":classify doesn't accept {method}; use POST"
        return HttpError(CODES.UNIMPLEMENTED, message, status=405, headers={"Allow": "POST"})
    return HttpError(
        CODES.NOT_FOUND,
        f"models have no action {action[:80]!r}; there is :classify, which explains classes with "
        "the parameter explain",
    )


def _retry(error: grpc.aio.AioRpcError) -> dict[str, str]:
    """Return when to retry, in whole seconds, as HTTP has it."""
    for key, value in error.trailing_metadata() or ():
        if key == _PUSHBACK and str(value).isdecimal():
            return {"Retry-After": str(max(1, -(-int(value) // 1000)))}
    return {}


def _is_open_inference(scope: Mapping[str, Any]) -> bool:
    """Return whether a request has a path of the Open Inference Protocol."""
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    return path == "/v2" or path.startswith("/v2/")


def _in_http(message: str) -> str:
    """Replace the methods of gRPC that a message of the server names."""
    for grpc_name, http_name in _IN_HTTP.items():
        message = message.replace(grpc_name, http_name)
    return message
