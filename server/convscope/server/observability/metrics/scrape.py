"""The replies of the HTTP listener for Prometheus."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

import structlog
from prometheus_client import CollectorRegistry, make_wsgi_app

__all__ = ["HttpReply", "Scrapes", "error_reply"]

log = structlog.get_logger(__name__)

PATH = "/metrics"
METHODS = ("GET", "HEAD")
HTML = {"Content-Type": "text/html; charset=utf-8"}
# What a person sees who opens the address in a browser.
LANDING_PAGE = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>convscope-server: metrics</title>
<style>body { font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 2rem auto;
padding: 0 1rem; color-scheme: light dark }</style>
<h1>convscope-server</h1>
<p>This port has the server's metrics, for Prometheus.</p>
<ul>
<li><a href="/metrics">/metrics</a>: all metrics, in the format of Prometheus</li>
</ul>
<p>To watch them in a terminal: <code>convscope watch HOST:PORT</code></p>
<p>Images are classified on the gRPC port, by default 8001, whose health is reported by
grpc.health.v1: <code>convscope health</code>. For HTTP and a web page, see
<code>convscope web</code>.</p>
</html>
"""


@dataclass(frozen=True, slots=True)
class HttpReply:
    """The reply to one request, after which its connection ends."""

    status: HTTPStatus
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    has_body: bool = True

    def encode(self) -> bytes:
        """Return the reply in HTTP/1.1."""
        headers = {
            **self.headers,
            "Content-Length": str(len(self.body)),
            "Connection": "close",
            "X-Content-Type-Options": "nosniff",
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 {self.status.value} {self.status.phrase}\r\n{lines}\r\n".encode()
        return head + self.body if self.has_body else head


def error_reply(status: HTTPStatus, message: str, **headers: str) -> HttpReply:
    """Return the reply to a request that gets no metrics."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpReply(
        status, f"{message}\n".encode(), {"Content-Type": "text/plain; charset=utf-8", **named}
    )


class Scrapes:
    """Replies to requests for the metrics and the landing page, and to others with an error.

    Args:
        registry: The metrics.
        authorized: Reports whether the value of an Authorization header allows a scrape; None
            to allow all.
    """

    def __init__(
        self, registry: CollectorRegistry, authorized: Callable[[str], bool] | None
    ) -> None:
        # It selects the format, the compression and the families as prometheus_client does.
        self._app = make_wsgi_app(registry)
        self._authorized = authorized

    def reply(self, head: bytes) -> HttpReply:
        """Return the reply to a request.

        Args:
            head: The request line and the headers.
        """
        lines = head.decode("latin-1").split("\r\n")
        words = lines[0].split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return error_reply(HTTPStatus.BAD_REQUEST, "this is not HTTP/1.1")
        method, target, _ = words
        path, _, query = target.partition("?")
        if path not in (PATH, "/"):
            return error_reply(HTTPStatus.NOT_FOUND, f"the metrics are at {PATH}")
        if method not in METHODS:
            message = f"{path} doesn't accept this method; use GET"
            return error_reply(HTTPStatus.METHOD_NOT_ALLOWED, message, Allow=", ".join(METHODS))
        if path == "/":
            return HttpReply(HTTPStatus.OK, LANDING_PAGE, HTML, has_body=method != "HEAD")
        headers = _headers(lines[1:])
        if self._authorized and not self._authorized(headers.get("authorization", "")):
            message = "the metrics need the token of --metrics-token-file: Authorization: Bearer …"
            return error_reply(HTTPStatus.UNAUTHORIZED, message, WWW_Authenticate="Bearer")
        try:
            return self._metrics(query, headers, has_body=method != "HEAD")
        except Exception:
            log.exception("unexpected error in a scrape")
            message = "unexpected error; the log explains it"
            return error_reply(HTTPStatus.INTERNAL_SERVER_ERROR, message)

    def _metrics(self, query: str, headers: Mapping[str, str], *, has_body: bool) -> HttpReply:
        found: dict[str, str] = {}

        def start(_status: str, pairs: Iterable[tuple[str, str]]) -> None:
            found.update(pairs)

        environ = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": PATH,
            "QUERY_STRING": query,
            "HTTP_ACCEPT": headers.get("accept"),
            "HTTP_ACCEPT_ENCODING": headers.get("accept-encoding"),
        }
        body = b"".join(self._app(environ, start))
        return HttpReply(HTTPStatus.OK, body, found, has_body)


def _headers(lines: Iterable[str]) -> dict[str, str]:
    """Return the headers by their names in lower case."""
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.lower()] = value.strip()
    return headers
