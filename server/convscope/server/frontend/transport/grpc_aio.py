"""The listeners of gRPC, on grpc.aio."""

import grpc

from convscope.server.errors import StartError
from convscope.server.frontend.settings import FrontendSettings
from convscope.server.frontend.transport.tls import TlsFiles

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
        if files := TlsFiles.of(settings):
            return server.add_secure_port(address, files.credentials())
        return server.add_insecure_port(address)
    except RuntimeError as error:
        tls = ", and are --tls-certificate and --tls-key PEM files?" if settings.tls_key else "?"
        raise StartError(
            f"--grpc-address {address} can't be bound; does another server use it{tls}"
        ) from error


def bind_admin(server: grpc.aio.Server, address: str) -> int:
    """Bind the server of AdminService; return its port, or 1 for a Unix socket.

    Raises:
        StartError: The address can't be bound.
    """
    try:
        return server.add_insecure_port(address)
    except RuntimeError as error:
        raise StartError(f"--admin-address {address} can't be bound") from error
