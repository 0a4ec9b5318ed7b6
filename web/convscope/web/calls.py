"""What every route needs of a request: its deadline, its metadata, and its end."""

import asyncio
import re
from collections.abc import Awaitable, Iterable, Sequence
from typing import TypeVar

from grpc import StatusCode
from starlette.requests import ClientDisconnect, Request

from convscope.client import ConvscopeError, InvalidInputError
from convscope.web.errors import SCOPE_ID, HttpError, from_client, invalid
from convscope.web.security import check_same_site
from convscope.web.settings import WebSettings

__all__ = ["Calls", "check_forwarded", "until_disconnected"]

REQUEST_ID = b"x-request-id"
_NAME = re.compile(r"[0-9a-z_.-]+")
_VALUE = re.compile(r"[ -~]*")
Result = TypeVar("Result")


class Calls:
    """Translates the headers of a request to what its gRPC call needs.

    Args:
        settings: The headers that are passed on, and the timeouts.
    """

    def __init__(self, settings: WebSettings) -> None:
        self._settings = settings
        self._forwarded = {name.lower().encode() for name in settings.forwarded_headers}

    def metadata(self, request: Request) -> Sequence[tuple[str, str]]:
        """Return the headers of a request that the gRPC server gets, too.

        The token of the caller has priority over that of the web process.

        Raises:
            HttpError: gRPC doesn't send a value, or another site uses the web process's token.
        """
        headers = request.headers
        if self._settings.has_own_credentials and "authorization" not in headers:
            check_same_site(headers, self._settings.origins)
        forwarded, request_id = self._forwarded, request.scope.get(SCOPE_ID, "").encode()
        return [
            (key.decode(), _text(key, value))
            for key, value in request.scope["headers"]
            # An unusable id was replaced.
            if key in forwarded and (key != REQUEST_ID or value == request_id)
        ]

    def timeout(self, stated: float | None) -> float:
        """Return the time that a request may take.

        Raises:
            HttpError: The stated timeout is out of range.
        """
        if stated is None:
            return self._settings.timeout_seconds
        most = self._settings.max_timeout_seconds
        if not 0 < stated <= most:
            raise invalid(f"timeout is {stated:g}; give seconds, above 0 and at most {most:g}")
        return stated

    def late(self) -> HttpError:
        """Return the error of a request whose time has passed."""
        return HttpError(
            StatusCode.DEADLINE_EXCEEDED,
            "the deadline has passed; allow more with the parameter timeout",
        )


def check_forwarded(names: Iterable[str]) -> None:
    """Check that gRPC can send headers.

    Raises:
        InvalidInputError: It can't.
    """
    for name in map(str.lower, names):
        if not _NAME.fullmatch(name) or name.startswith("grpc-") or name.endswith("-bin"):
            raise InvalidInputError(
                f"--forward-header is {name!r}; give letters, digits, '-', '_' and '.', without "
                "the prefix grpc- and the suffix -bin"
            )


def _text(key: bytes, value: bytes) -> str:
    text = value.decode("latin-1")
    if not _VALUE.fullmatch(text):
        raise invalid(f"the header {key.decode()} must be printable ASCII")
    return text


async def until_disconnected(request: Request, call: Awaitable[Result]) -> Result:
    """Return the result of a call, and cancel the call if the caller disconnects.

    Raises:
        HttpError: The call failed.
        ClientDisconnect: The caller has disconnected.
    """
    watcher = _Watcher(request)
    try:
        return await call
    except ConvscopeError as error:
        raise from_client(error) from error
    except asyncio.CancelledError:
        if watcher.has_disconnected and watcher.uncancel():
            raise ClientDisconnect from None
        raise
    finally:
        watcher.end()


class _Watcher:
    """Cancels the task of a request when its caller disconnects."""

    def __init__(self, request: Request) -> None:
        self.has_disconnected = False
        self._task = asyncio.current_task()
        self._watching = asyncio.ensure_future(self._watch(request))

    def uncancel(self) -> bool:
        """Report whether nothing else has cancelled the task."""
        return self._task is not None and self._task.uncancel() == 0

    def end(self) -> None:
        """Stop watching."""
        self._watching.cancel()
        # The error in the cancelled task refers to this object: a cycle.
        del self._watching, self._task

    async def _watch(self, request: Request) -> None:
        # Before it disconnects, there are the rest of a body, or an empty one.
        while (await request.receive())["type"] != "http.disconnect":
            pass
        self.has_disconnected = True
        if self._task is not None:
            self._task.cancel()
