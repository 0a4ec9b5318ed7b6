"""The metric of the log itself."""

from collections.abc import Callable, Iterator

from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.registry import Collector

__all__ = ["LogMetrics"]


class LogMetrics(Collector):
    """How many log lines were dropped; read at each scrape, because the log counts by itself."""

    def __init__(self, dropped_lines: Callable[[], int]) -> None:
        self._dropped_lines = dropped_lines

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Return what Prometheus scrapes."""
        yield CounterMetricFamily(
            "convscope_log_lines_dropped",
            "Log lines that were dropped because standard error could not be written.",
            self._dropped_lines(),
        )
