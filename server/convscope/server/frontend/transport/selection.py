"""Chooses the transport of the listeners, and binds them."""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import grpc
import structlog

from convscope.server.errors import StartError
from convscope.server.frontend.settings import FrontendSettings
from convscope.server.frontend.transport import grpc_aio
from convscope.server.frontend.transport.memory_budget import MemoryBudget
from convscope.server.frontend.transport.tls import TlsFiles

__all__ = ["Server", "bind", "bind_admin", "make_admin_server", "make_server", "use_http2"]

log = structlog.get_logger(__name__)

# The minor versions of ngh2 that the tests run with.
TESTED_ENGINES = ((0, 3),)
# Half of the interval at which the SDK pings; grpc's own limit would end its connections.
MIN_PING_SECONDS = 30.0
NEEDED = "ngh2>=0.3,<0.4"

if TYPE_CHECKING:  # at run time, the package of http2 may be missing
    from convscope.server.frontend.transport.http2.server import Http2Server

# A grpc.aio.Server or a Http2Server; the functions that add servicers accept the former only.
Server = Any


def use_http2(transport: str) -> bool:
    """Return whether the transport is http2.

    Args:
        transport: auto, http2 or grpc-aio; auto is http2 if its engine is installed in a
            tested version.

    Raises:
        StartError: It must be http2, and its engine is missing or not a tested version.
    """
    if transport == "grpc-aio":
        return False
    problem = _engine_problem()
    if problem is None:
        return True
    if transport == "http2":
        raise StartError(
            f"--transport http2 needs {NEEDED}, and {problem}; install it, or use "
            "--transport grpc-aio"
        )
    log.info("the transport is grpc-aio", reason=f"{problem}; http2 needs {NEEDED}")
    return False


def _engine_problem() -> str | None:
    try:
        installed = version("ngh2")
    except PackageNotFoundError:
        return "it is not installed"
    major, minor, *_ = (*installed.split("."), "")
    if any((major, minor) == (str(a), str(b)) for a, b in TESTED_ENGINES):
        return None
    return f"{installed} is installed"


def make_server(
    settings: FrontendSettings, budget: MemoryBudget, *, share_port: bool = False
) -> Server:
    """Make the server of the main listener; it isn't bound yet.

    Args:
        settings: Its transport, its sizes, and its TLS.
        budget: The bytes of requests that the process may hold.
        share_port: Whether other processes listen on its port too.

    Raises:
        StartError: The transport is not available.
    """
    if use_http2(settings.transport):
        return _http2_server(settings, budget, secure=True, share_port=share_port)
    return grpc_aio.make_server(settings, share_port=share_port, min_ping_seconds=MIN_PING_SECONDS)


def make_admin_server(settings: FrontendSettings, budget: MemoryBudget) -> Server:
    """Make the server of AdminService; it has no TLS, and isn't bound yet.

    Raises:
        StartError: The transport is not available.
    """
    if use_http2(settings.transport):
        return _http2_server(settings, budget, secure=False, share_port=False)
    return grpc_aio.make_server(settings, min_ping_seconds=MIN_PING_SECONDS)


def _http2_server(
    settings: FrontendSettings, budget: MemoryBudget, *, secure: bool, share_port: bool
) -> "Http2Server":
    from convscope.server.frontend.transport.http2.limits import Limits
    from convscope.server.frontend.transport.http2.server import Http2Server

    # Twice the limit, so that a request just over it gets our message.
    limits = Limits(
        max_message_bytes=2 * settings.max_request_bytes, min_ping_seconds=MIN_PING_SECONDS
    )
    return Http2Server(
        budget,
        limits,
        flag="--grpc-address" if secure else "--admin-address",
        tls=TlsFiles.of(settings) if secure else None,
        share_port=share_port,
    )


def bind(server: Server, settings: FrontendSettings) -> int:
    """Bind the main listener; return its port.

    Raises:
        StartError: The address can't be bound, or the files of TLS can't be used.
    """
    if isinstance(server, grpc.aio.Server):
        return grpc_aio.bind(server, settings)
    port: int = server.bind(settings.grpc_address)
    return port


def bind_admin(server: Server, address: str) -> int:
    """Bind the listener of AdminService; return its port, or 1 for a Unix socket.

    Raises:
        StartError: The address can't be bound.
    """
    if isinstance(server, grpc.aio.Server):
        return grpc_aio.bind_admin(server, address)
    port: int = server.bind(address)
    return port
