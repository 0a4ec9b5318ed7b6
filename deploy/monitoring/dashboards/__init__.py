"""The four dashboards by file name."""

from collections.abc import Callable

from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.monitoring.dashboards import models, overview, process, stages
from deploy.monitoring.objectives import Objectives

__all__ = ["DASHBOARDS"]

DASHBOARDS: dict[str, Callable[[Objectives], Dashboard]] = {
    "overview": overview.build,
    "time": stages.build,
    "models": models.build,
    "process": process.build,
}
