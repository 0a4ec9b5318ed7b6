"""Settings of metrics and traces."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["TelemetrySettings"]


@dataclass(frozen=True, kw_only=True)
class TelemetrySettings:
    """Where metrics and traces go.

    Args:
        metrics_address: HOST:PORT of the listener for Prometheus.
        metrics_token_file: A file with the token of scrapers; None to let everyone scrape who
            reaches the address.
        metrics_tls: Whether the listener uses the certificates of gRPC.
        otlp_endpoint: The URL of an OTLP collector for traces; None for no traces.
    """

    metrics_address: str = "127.0.0.1:8002"
    metrics_token_file: Path | None = None
    metrics_tls: bool = False
    otlp_endpoint: str | None = None
