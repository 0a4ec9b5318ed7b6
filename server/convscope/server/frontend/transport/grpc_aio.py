"""The listeners of gRPC, on grpc.aio."""

from pathlib import Path

import grpc

from convscope.server.errors import StartError
from convscope.server.frontend.settings import FrontendSettings

__all__ = ["bind", "bind_admin", "make_server"]


def make_server(
    settings: FrontendSettings,
    *,
    share_port: bool = False,
    min_ping_seconds: float = 300.0,
) -> grpc.aio.Server:
    """Make a server that isn't bound yet.

    Args:
        settings: The sizes of its messages.
        share_port: Whether other processes listen on its port too.
        min_ping_seconds: The shortest time between two pings of a client.
    """
    return grpc.aio.server(
        options=[
            # Twice the limit, so that a request just over it gets our message.
            ("grpc.max_receive_message_length", 2 * settings.max_request_bytes),
            ("grpc.max_send_message_length", settings.max_reply_bytes),
            ("grpc.so_reuseport", int(share_port)),
            ("grpc.http2.min_ping_interval_without_data_ms", int(1000 * min_ping_seconds)),
            ("grpc.keepalive_permit_without_calls", 1),
        ],
    )


def bind(server: grpc.aio.Server, settings: FrontendSettings) -> int:
    """Bind a server to its address, with TLS if there is a certificate; return its port.

    Raises:
        StartError: The address can't be bound, or the certificate is wrong.
    """
    address = settings.grpc_address
    try:
        if settings.tls_certificate and settings.tls_key:
            return server.add_secure_port(address, _credentials(settings))
        return server.add_insecure_port(address)
    except RuntimeError as error:
        tls = ", and are --tls-certificate and --tls-key PEM files?" if settings.tls_key else "?"
        raise StartError(
            f"--grpc-address {address} can't be bound; does another server use it{tls}"
        ) from error


def _credentials(settings: FrontendSettings) -> grpc.ServerCredentials:
    """Return credentials that follow their files: each handshake looks whether they changed."""
    used = _tls_state(settings)

    def changed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal used
        state = _tls_state(settings)
        if state == used:
            return None
        used = state
        return _certificates(settings)

    return grpc.dynamic_ssl_server_credentials(
        _certificates(settings),
        changed,  # type: ignore[arg-type] # None means that nothing has changed
        require_client_authentication=settings.tls_client_ca is not None,
    )


def _tls_files(settings: FrontendSettings) -> list[Path]:
    files = (settings.tls_key, settings.tls_certificate, settings.tls_client_ca)
    return [path for path in files if path is not None]


def _tls_state(settings: FrontendSettings) -> list[tuple[int, int]]:
    found = [path.stat() for path in _tls_files(settings)]
    return [(file.st_mtime_ns, file.st_ino) for file in found]


def _certificates(settings: FrontendSettings) -> grpc.ServerCertificateConfiguration:
    key, chain, *authorities = (path.read_bytes() for path in _tls_files(settings))
    return grpc.ssl_server_certificate_configuration([(key, chain)], *authorities)


def bind_admin(server: grpc.aio.Server, address: str) -> int:
    """Bind the server of AdminService; return its port, or 1 for a Unix socket.

    Raises:
        StartError: The address can't be bound.
    """
    try:
        return server.add_insecure_port(address)
    except RuntimeError as error:
        raise StartError(f"--admin-address {address} can't be bound") from error
