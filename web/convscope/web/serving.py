"""Runs the app until a signal ends it."""

import asyncio
import errno
import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

import uvicorn

from convscope.client import InvalidInputError
from convscope.web.app import create_app
from convscope.web.connections import connections
from convscope.web.health import Lifecycle
from convscope.web.log import Log, LogHandler
from convscope.web.security import is_loopback
from convscope.web.settings import WebSettings

__all__ = ["StartError", "serve"]


# Longer than that of most proxies, so that they, and not we, close idle connections.
KEEP_ALIVE_SECONDS: Final = 75
_OPEN: Final = {
    "repair": "there is no TLS, and no authentication but the gRPC server's; put a proxy in "
    "front of it"
}
_LENT: Final = {
    "repair": "all of them can use the credentials of the web process; put a proxy with "
    "authentication in front of it"
}


class StartError(Exception):
    """The process can't start; the message has the reason and the repair."""


def serve(settings: WebSettings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        StartError: The address or another setting is invalid, or the port is in use.
    """
    with listener(settings.http_address) as bound, logging_to_stderr() as log:
        lifecycle = Lifecycle()
        try:
            app = create_app(settings, log, lifecycle)
        except InvalidInputError as error:
            raise StartError(error.message) from error
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            http=connections(settings.upload_timeout_seconds),
            # The routes are added at the start of the lifespan.
            lifespan="on",
            proxy_headers=False,  # nothing depends on the address or the scheme of the caller
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=max(1, round(settings.grace_seconds)),
            ws="none",
        )
        # Uvicorn raises the signal again at its end, which would be the exit code.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        if not is_loopback(settings.http_address):
            repair = _LENT if settings.has_own_credentials else _OPEN
            log.write("reachable from other machines", repair, "warning")
        _Server(config, lifecycle, settings, log).run(sockets=[bound])
        log.write("stopped", {})


@contextmanager
def logging_to_stderr() -> Iterator[Log]:
    """Yield a log that has the warnings of libraries, too."""
    log = Log()
    handler = LogHandler(log)
    logging.getLogger().addHandler(handler)
    # It warns about forms that can't be read, which is an error of the caller.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    try:
        yield log
    finally:
        logging.getLogger().removeHandler(handler)
        log.close()


def listener(address: str) -> socket.socket:
    """Return a socket that listens on HOST:PORT.

    Raises:
        StartError: The address can't be bound.
    """
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isdecimal() and int(port) <= 65535):
        raise StartError(f"--http-address is {address!r}; give HOST:PORT, such as 127.0.0.1:8080")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), int(port)), family=family, backlog=2048)
    except OSError as error:
        raise StartError(f"can't listen on --http-address {address}: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "another program uses this port; choose another one"
        case errno.EADDRNOTAVAIL:
            return "this machine has no such address; choose 127.0.0.1, or 0.0.0.0 for all"
        case errno.EACCES:
            return "the port needs more rights; choose one above 1023"
        case _:
            return error.strerror or "the system doesn't say why"


class _Server(uvicorn.Server):
    """Logs its start, and reports at /readyz that it stops before it stops to accept requests."""

    def __init__(
        self, config: uvicorn.Config, lifecycle: Lifecycle, settings: WebSettings, log: Log
    ) -> None:
        super().__init__(config)
        self._lifecycle = lifecycle
        self._settings = settings
        self._log = log
        self._is_draining = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and log where."""
        await super().startup(sockets)
        for bound in sockets or ():
            host, port = bound.getsockname()[:2]
            fields = {"http_host": host, "http_port": port, "server": self._settings.server}
            self._log.write("serving", fields)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called with a signal; the second one ends the process at once."""
        if self._is_draining or not self.started:
            super().handle_exit(sig, frame)
            return
        self._is_draining = True
        self._lifecycle.is_stopping = True
        loop = asyncio.get_running_loop()
        loop.call_soon_threadsafe(loop.call_later, self._settings.drain_seconds, self._stop)

    def _stop(self) -> None:
        self.should_exit = True
