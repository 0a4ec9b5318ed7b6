"""The metrics of the server; only this folder imports prometheus_client."""

from convscope.server.observability.metrics.explanations import ExplanationMetrics
from convscope.server.observability.metrics.listener import MetricsServer
from convscope.server.observability.metrics.methods import MethodMetrics
from convscope.server.observability.metrics.metrics import Metrics
from convscope.server.observability.metrics.shadows import ShadowMetrics
from convscope.server.observability.metrics.versions import VersionMetrics

__all__ = [
    "ExplanationMetrics",
    "MethodMetrics",
    "Metrics",
    "MetricsServer",
    "ShadowMetrics",
    "VersionMetrics",
]
