"""The settings of the web process."""

from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "FORWARDED_HEADERS",
    "MAX_IMAGES",
    "MAX_IMAGE_BYTES",
    "MAX_REPLY_BYTES",
    "MIB",
    "WebSettings",
]

MIB = 2**20
MAX_IMAGES = 64
"""The images of one HTTP request, as many as of one gRPC request."""
MAX_IMAGE_BYTES = 8 * MIB
"""The largest image: the limit of the client, and the server's default."""
MAX_REPLY_BYTES = 32 * MIB
"""The limit of a gRPC reply, which feature maps may reach."""
FORWARDED_HEADERS = ("authorization", "traceparent", "tracestate", "x-request-id")


@dataclass(frozen=True, kw_only=True)
class WebSettings:
    """What the command line states.

    Args:
        server: The gRPC server's HOST:PORT.
        root_certificates: The PEM file to trust, for a secure connection to the server.
        client_certificate: The PEM file of the web process's own certificate, for the server.
        client_key: The PEM file of the private key of this certificate.
        server_token_file: A file with the token of calls whose callers send none.
        allow_insecure_token: Whether it may be sent to another machine without TLS.
        http_address: The HOST:PORT to listen on.
        root_path: The path below which a reverse proxy publishes the app, such as "/vision".
        allowed_hosts: Host names under which the app is called, besides those of loopback.
        origins: The origins whose scripts may call the API from a browser.
        forwarded_headers: The request headers that become metadata of the gRPC call.
        timeout_seconds: The time of a request that states no timeout.
        max_timeout_seconds: The longest timeout that a request may state.
        upload_timeout_seconds: The longest pause within the body of a request, the time of its
            head, and a third of the longest pause of a caller that reads a large reply.
        max_body_bytes: The largest body of a request.
        max_memory_in_flight: The bytes of all unfinished requests together.
        drain_seconds: How long the app keeps accepting requests after SIGTERM, while
            /readyz reports that it stops.
        grace_seconds: How long requests may take after that.
        access_log: Whether each request is logged.
    """

    server: str = "localhost:8001"
    root_certificates: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None
    server_token_file: Path | None = None
    allow_insecure_token: bool = False
    http_address: str = "127.0.0.1:8080"
    root_path: str = ""
    allowed_hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    forwarded_headers: tuple[str, ...] = FORWARDED_HEADERS
    timeout_seconds: float = 30.0
    max_timeout_seconds: float = 300.0
    upload_timeout_seconds: float = 10.0
    max_body_bytes: int = 16 * MIB
    max_memory_in_flight: int = 256 * MIB
    drain_seconds: float = 1.0
    grace_seconds: float = 10.0
    access_log: bool = True

    @property
    def has_own_credentials(self) -> bool:
        """Whether callers without a token act with those of the web process."""
        return self.server_token_file is not None or self.client_certificate is not None
