"""The outermost layer of the app: request ids, security headers, the access log, and bugs."""

import asyncio
import secrets
from itertools import count
from time import perf_counter
from traceback import format_exception

from grpc import StatusCode
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from convscope.web.errors import SCOPE_ID, HttpError, to_response, unexpected
from convscope.web.health import Lifecycle
from convscope.web.large_replies import PART_BYTES, send_in_parts
from convscope.web.log import Log
from convscope.web.memory import MemoryBudget
from convscope.web.security import Hosts, headers_of

__all__ = ["Edge"]

REQUEST_ID = b"x-request-id"
MAX_ID_LENGTH = 128
MAX_PATH_LENGTH = 512
# A proxy that keeps its connections would send its next request into a closed one.
_CLOSE = ((b"connection", b"close"),)
DISCONNECTED = 499
STOPPING = "the web process has stopped before the request was done; retry later"


class Edge:
    """Wraps the app.

    Args:
        app: The app.
        root_path: The path below which a proxy publishes it; empty for none.
        hosts: The names under which it may be called.
        log: Where unexpected errors are written.
        lifecycle: Whether the process stops soon, so that connections end with their replies.
        budget: The memory in which large replies count.
        log_requests: Whether each request is written, too.
    """

    def __init__(
        self,
        app: ASGIApp,
        root_path: str,
        hosts: Hosts,
        log: Log,
        lifecycle: Lifecycle,
        budget: MemoryBudget,
        *,
        log_requests: bool,
    ) -> None:
        self._app = app
        self._lifecycle = lifecycle
        self._budget = budget
        self._root_path = root_path
        self._hosts = hosts
        self._log = log
        self._log_requests = log_requests
        self._prefix = secrets.token_hex(6)
        self._count = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._root_path:
            self._add_root_path(scope)
        exchange = _Exchange(scope, send, self._request_id(scope), self._lifecycle, self._budget)
        scope[SCOPE_ID] = exchange.request_id
        try:
            self._hosts.check(exchange.header(b"host"))
            await self._app(scope, receive, exchange.send)
        except ClientDisconnect:
            exchange.status = DISCONNECTED
        except asyncio.CancelledError:
            if not self._lifecycle.is_stopping:
                raise
            if not exchange.status:
                stopped = HttpError(StatusCode.UNAVAILABLE, STOPPING)
                await to_response(stopped, scope)(scope, receive, exchange.send)
        except HttpError as error:
            await to_response(error, scope)(scope, receive, exchange.send)
        except Exception as error:  # noqa: BLE001 - the caller must get a reply
            await self._report(exchange, error, receive)
        finally:
            if self._log_requests:
                self._log.write("request", exchange.fields())

    def _add_root_path(self, scope: Scope) -> None:
        """Complete the path of a request, from which a proxy may have removed its beginning."""
        scope["root_path"] = self._root_path
        if not f"{scope['path']}/".startswith(f"{self._root_path}/"):
            scope["path"] = self._root_path + scope["path"]

    async def _report(self, exchange: "_Exchange", error: Exception, receive: Receive) -> None:
        trace = "".join(format_exception(error))
        fields = {"request_id": exchange.request_id, "exception": trace}
        self._log.write("unexpected error", fields, "error")
        if not exchange.status:
            reply = to_response(unexpected(exchange.request_id), exchange.scope)
            await reply(exchange.scope, receive, exchange.send)

    def _request_id(self, scope: Scope) -> str:
        """Return the caller's own id if it fits into a log line, otherwise a new one."""
        for key, value in scope["headers"]:
            if key == REQUEST_ID and 0 < len(value) <= MAX_ID_LENGTH and value.isascii():
                text: str = value.decode()
                if text.isprintable():
                    return text
        return f"{self._prefix}-{next(self._count)}"


class _Exchange:
    """A request and its reply."""

    def __init__(
        self,
        scope: Scope,
        send: Send,
        request_id: str,
        lifecycle: Lifecycle,
        budget: MemoryBudget,
    ) -> None:
        self.scope = scope
        self._lifecycle = lifecycle
        self._budget = budget
        self.request_id = request_id
        self.status = 0
        self._send = send
        self._sent_bytes = 0
        self._started_at = perf_counter()
        # Mounted apps change the scope.
        self._headers = headers_of(scope["path"].removeprefix(scope.get("root_path", "")))

    def header(self, name: bytes) -> str:
        """Return a header of the request; empty if it has none."""
        for key, value in self.scope["headers"]:
            if key == name:
                text: str = value.decode("latin-1")
                return text
        return ""

    async def send(self, message: Message) -> None:
        """Send a part of the reply, its start with further headers."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = (REQUEST_ID, self.request_id.encode("latin-1"))
            ending = _CLOSE if self._lifecycle.is_stopping else ()
            message["headers"] = [*message.get("headers", ()), own, *self._headers, *ending]
        elif (size := len(message.get("body", b""))) > PART_BYTES:
            self._sent_bytes += size
            await send_in_parts(self._send, message, self._budget)
            return
        else:
            self._sent_bytes += size
        await self._send(message)

    def fields(self) -> dict[str, object]:
        """Return the fields of the access log."""
        seconds = perf_counter() - self._started_at
        return {
            "method": self.scope["method"],
            "path": self.scope["path"][:MAX_PATH_LENGTH],
            "status": self.status,
            "request_id": self.request_id,
            "bytes": self._sent_bytes,
            "milliseconds": round(1000 * seconds, 2),
        }
