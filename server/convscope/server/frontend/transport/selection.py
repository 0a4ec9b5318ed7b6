"""Chooses the transport of the listeners."""

import math
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

import structlog

from convscope.server.errors import StartError
from convscope.server.frontend.access.control import AccessControl
from convscope.server.frontend.settings import FrontendSettings
from convscope.server.frontend.transport.calls import RejectionReason, Transport
from convscope.server.frontend.transport.grpc_aio import GrpcAioTransport
from convscope.server.frontend.transport.memory_budget import MemoryBudget
from convscope.server.frontend.transport.tls import TlsFiles

__all__ = ["make_transport", "use_http2"]

log = structlog.get_logger(__name__)

# The minor versions of ngh2 that the tests run with.
TESTED_ENGINES = ((0, 3),)
# Half of the interval at which the SDK pings; grpc's own limit would end its connections.
MIN_PING_SECONDS = 30.0
ENGINE_MODULE = "convscope.server.frontend.transport.http2.engine"
NEEDED = "ngh2>=0.3,<0.4"


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
    if not any((major, minor) == (str(a), str(b)) for a, b in TESTED_ENGINES):
        return f"{installed} is installed"
    try:
        import_module(ENGINE_MODULE)
    except ImportError as error:  # such as a library of the system that is too old
        return f"{installed} can't be imported: {error}"
    return None


def make_transport(
    settings: FrontendSettings,
    budget: MemoryBudget,
    *,
    flag: str = "--grpc-address",
    tls: bool = True,
    share_port: bool = False,
    on_rejected: Callable[[RejectionReason], None] = lambda _: None,
    access: AccessControl | None = None,
    on_reload: Callable[[bool], None] = lambda _: None,
) -> Transport:
    """Make a listener that isn't bound yet.

    Args:
        settings: Its transport, its sizes, and its TLS.
        budget: The bytes of requests that the process may hold.
        flag: The flag that sets its address, for errors.
        tls: Whether it uses the certificate of the settings, if there is one.
        share_port: Whether other processes listen on its port too.
        on_rejected: Called by http2 with each call that ends before its method counts it;
            grpc.aio reports no such calls.
        access: Admits the calls; None admits all.
        on_reload: Called by http2 when changed files of TLS were loaded, or could not be.

    Raises:
        StartError: The transport is not available.
    """
    if not use_http2(settings.transport):
        return GrpcAioTransport(
            settings,
            budget,
            flag=flag,
            tls=tls,
            share_port=share_port,
            min_ping_seconds=MIN_PING_SECONDS,
            access=access,
        )
    from convscope.server.frontend.transport.http2.limits import Limits
    from convscope.server.frontend.transport.http2.server import Http2Server

    return Http2Server(
        budget,
        # Twice the limit, so that a request just over it gets our message.
        Limits(
            max_message_bytes=2 * settings.max_request_bytes,
            min_ping_seconds=MIN_PING_SECONDS,
            age_seconds=settings.max_connection_age_seconds or math.inf,
            age_grace_seconds=settings.max_connection_age_grace_seconds or math.inf,
        ),
        flag=flag,
        tls=TlsFiles.of(settings) if tls else None,
        share_port=share_port,
        on_rejected=on_rejected,
        access=access,
        on_reload=on_reload,
    )
