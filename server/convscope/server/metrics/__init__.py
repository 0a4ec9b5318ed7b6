"""What Prometheus sees of the server; only this room imports prometheus_client."""

from convscope.server.metrics.listener import MetricsServer
from convscope.server.metrics.methods import MethodMetrics
from convscope.server.metrics.metrics import Metrics
from convscope.server.metrics.shadows import ShadowMetrics
from convscope.server.metrics.versions import VersionMetrics

__all__ = ["MethodMetrics", "Metrics", "MetricsServer", "ShadowMetrics", "VersionMetrics"]
