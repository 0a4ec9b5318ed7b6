"""Settings of metrics and traces."""

from dataclasses import dataclass

__all__ = ["TelemetrySettings"]


@dataclass(frozen=True, kw_only=True)
class TelemetrySettings:
    """Where metrics and traces go.

    Args:
        metrics_address: HOST:PORT of the listener for Prometheus.
        otlp_endpoint: The URL of an OTLP collector for traces; None for no traces.
    """

    metrics_address: str = "127.0.0.1:8002"
    otlp_endpoint: str | None = None
