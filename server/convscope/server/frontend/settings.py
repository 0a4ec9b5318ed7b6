"""Settings of the listeners, and of the services behind them."""

from dataclasses import dataclass
from pathlib import Path

from convscope.server.frontend.addresses import is_loopback
from convscope.server.frontend.reply_limits import ExplanationLimits, ReplyLimits

__all__ = ["DEFAULT_TRANSPORT", "TRANSPORTS", "FrontendSettings"]

TRANSPORTS = ("auto", "http2", "grpc-aio")
DEFAULT_TRANSPORT = "auto"

MIB = 2**20
# The part of a reply that feature maps leave to the classes.
_REPLY_BYTES_OF_CLASSES = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class FrontendSettings:
    """The server's listeners, its services, and the limits of messages.

    Args:
        grpc_address: HOST:PORT of the gRPC listener.
        admin_address: unix:PATH or HOST:PORT of AdminService; None for no such service.
        transport: What serves gRPC: http2, grpc-aio, or auto for http2 if it is installed.
        allow_insecure: Whether gRPC may listen beyond loopback without TLS.
        policy: TOML file that says who may call what; None for no access control.
        policy_share: The part of each caller's limits that this process has.
        tls_certificate: PEM file of the certificate chain; None for no TLS.
        tls_key: PEM file of the private key.
        tls_client_ca: PEM file of the authorities of client certificates, which are required
            then; None for no client certificates.
        max_request_bytes: Bytes of one request.
        max_reply_bytes: Bytes of one reply.
        max_memory_in_flight: Bytes of unfinished uploads and of requests not answered yet, of
            all workers together.
        max_feature_map_bytes: Bytes of one reply's feature maps.
        max_explanations: Explanations of one request.
        max_occluded_images: Occluded images of one request; 0 for no occlusion.
        max_connection_age_seconds: After how long a connection gets no more calls, and its client
            connects again; 0 for no limit.
        max_connection_age_grace_seconds: How long the calls of such a connection may go on; 0 for
            no limit.
        no_strict_readiness: Whether overall health ignores models without a ready version.
        reflection: Whether gRPC reflection is on beyond loopback too.
        no_reflection: Whether gRPC reflection is off.
        no_open_inference: Whether the Open Inference Protocol is off.
        no_access_log: Whether the log has no line for each call.
    """

    grpc_address: str = "127.0.0.1:8001"
    admin_address: str | None = None
    transport: str = DEFAULT_TRANSPORT
    allow_insecure: bool = False
    policy: Path | None = None
    policy_share: float = 1.0
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    max_request_bytes: int = 8 * MIB
    max_reply_bytes: int = 32 * MIB
    max_memory_in_flight: int = 256 * MIB
    max_feature_map_bytes: int = 16 * MIB
    max_explanations: int = 8
    max_occluded_images: int = 256
    max_connection_age_seconds: float = 7200.0
    max_connection_age_grace_seconds: float = 0.0
    no_strict_readiness: bool = False
    reflection: bool = False
    no_reflection: bool = False
    no_open_inference: bool = False
    no_access_log: bool = False

    @property
    def offers_reflection(self) -> bool:
        """Whether gRPC reflection is on: by default for callers on this machine only."""
        is_local = is_loopback(self.grpc_address)
        return self.reflection or (is_local and not self.no_reflection)

    @property
    def reply_limits(self) -> ReplyLimits:
        """The limits of one reply."""
        largest_maps = max(0, self.max_reply_bytes - _REPLY_BYTES_OF_CLASSES)
        return ReplyLimits(
            self.max_reply_bytes,
            min(self.max_feature_map_bytes, largest_maps),
            ExplanationLimits(self.max_explanations, self.max_occluded_images),
        )
