"""The start of the listener for Prometheus."""

from convscope.server.errors import StartError
from convscope.server.frontend.addresses import split_address
from convscope.server.observability.metrics import Metrics, MetricsServer
from convscope.server.observability.metrics.merging import MergedMetrics

__all__ = ["listen_for_prometheus"]


def listen_for_prometheus(metrics: Metrics | MergedMetrics, address: str) -> MetricsServer:
    """Show metrics at HOST:PORT.

    Raises:
        StartError: The address can't be bound.
    """
    try:
        return MetricsServer(metrics.registry, *split_address(address))
    except OSError as error:
        raise StartError(f"--metrics-address {address} can't be used: {error.strerror}") from error
