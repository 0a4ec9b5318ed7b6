"""Turns exceptions of routes into replies."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.exceptions import RequestValidationError
from grpc import StatusCode
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from convscope.web.errors import (
    SCOPE_ID,
    HttpError,
    invalid,
    not_found,
    to_response,
    unexpected,
    validation_message,
    wrong_action,
)

__all__ = ["HANDLERS"]


async def _handle(request: Request, error: Exception) -> Response:
    """Reply to a request that raised an error."""
    return to_response(_translate(request, error), request.scope)


def _translate(request: Request, error: Exception) -> HttpError:
    match error:
        case HttpError():
            return error
        case RequestValidationError():
            return invalid(validation_message(error.errors()))
        case HTTPException(status_code=404):
            return not_found(request.url.path)
        case HTTPException(status_code=405):
            return _wrong_method(request, error)
        case HTTPException():
            code = StatusCode.INVALID_ARGUMENT if error.status_code < 500 else StatusCode.INTERNAL
            return HttpError(code, str(error.detail), status=error.status_code)
        case _:  # which the outermost layer logs
            return unexpected(request.scope.get(SCOPE_ID, ""))


def _wrong_method(request: Request, error: HTTPException) -> HttpError:
    model = request.path_params.get("model", "")
    if ":" in model:
        return wrong_action(model, request.method)
    headers = dict(error.headers or {})
    allowed = headers.get("Allow", "another method")
    message = f"{request.url.path[:200]!r} doesn't accept {request.method}; use {allowed}"
    return HttpError(StatusCode.UNIMPLEMENTED, message, status=405, headers=headers)


HANDLERS: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    HttpError: _handle,
    RequestValidationError: _handle,
    HTTPException: _handle,
    Exception: _handle,
}
