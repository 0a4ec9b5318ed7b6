"""The start of the listener for Prometheus."""

import ssl
from collections.abc import Callable
from pathlib import Path

import structlog

from convscope.server.errors import StartError
from convscope.server.frontend.addresses import is_loopback, split_address
from convscope.server.frontend.transport.tls import UNUSABLE_MESSAGE, TlsFiles
from convscope.server.observability.metrics import Metrics, MetricsServer
from convscope.server.observability.metrics.merging import MergedMetrics
from convscope.server.observability.settings import TelemetrySettings
from convscope.server.observability.token_file import TokenFile

__all__ = ["listen_for_prometheus"]

log = structlog.get_logger(__name__)


def listen_for_prometheus(
    metrics: Metrics | MergedMetrics, settings: TelemetrySettings, tls: TlsFiles | None
) -> MetricsServer:
    """Show metrics to those who may scrape them.

    Args:
        metrics: The metrics.
        settings: The address, and who may scrape.
        tls: The files of TLS, which are used if the settings say so.

    Raises:
        StartError: The address can't be bound, or a file can't be used.
    """
    token_file = settings.metrics_token_file
    authorized = None if token_file is None else _authorization(token_file)
    context = _context(tls) if settings.metrics_tls and tls is not None else None
    address = settings.metrics_address
    try:
        host, port = split_address(address)
        server = MetricsServer(metrics.registry, host, port, authorized=authorized, tls=context)
    except OSError as error:
        raise StartError(f"--metrics-address {address} can't be used: {error.strerror}") from error
    asks_for_certificates = context is not None and context.verify_mode is ssl.CERT_REQUIRED
    if not (is_loopback(address) or authorized or asks_for_certificates):
        log.warning(
            "other machines can read the metrics, which name the models and their traffic",
            metrics_address=address,
            repair="limit access in the network, or add --metrics-token-file",
        )
    return server


def _authorization(path: Path) -> Callable[[str], bool]:
    try:
        return TokenFile(path).authorizes
    except OSError as error:
        raise StartError(f"--metrics-token-file {path} can't be read: {error.strerror}") from error
    except ValueError as error:
        raise StartError(f"--metrics-token-file {path}: {error}") from error


def _context(files: TlsFiles) -> ssl.SSLContext:
    """Return a context for HTTP, which each handshake replaces if a file has changed."""

    def load() -> ssl.SSLContext:
        context = files.context()
        context.set_alpn_protocols(["http/1.1"])
        return context

    try:
        first = latest = load()
    except OSError as error:  # ssl.SSLError is one
        raise StartError(UNUSABLE_MESSAGE) from error
    state = files.state()

    def update(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        nonlocal latest, state
        if (found := files.state()) != state:
            state = found
            try:
                latest = load()
            except OSError:  # the files are being replaced, or wrong
                log.warning("the TLS files can't be used; the last ones stay in use")
        if latest is not first:
            connection.context = latest

    first.sni_callback = update
    return first
