"""The recording and alerting rules of Prometheus."""

from typing import Any

from deploy.monitoring.alerts import Alert, alerts
from deploy.monitoring.expressions import (
    CALLS,
    FAILURES,
    INFERENCE,
    JOB,
    SLOW,
    number,
    rate,
    ratio,
)
from deploy.monitoring.objectives import Objectives

__all__ = ["rule_groups"]


def rule_groups(objectives: Objectives) -> dict[str, Any]:
    """Everything in rules.yml, as Prometheus names it."""
    return {
        "groups": [
            {
                "name": "convscope-objectives",
                "rules": [
                    rule
                    for window in objectives.windows
                    for rule in _recordings(window, objectives)
                ],
            },
            {"name": "convscope-alerts", "rules": [_alerting(a) for a in alerts(objectives)]},
        ]
    }


def _recordings(window: str, objectives: Objectives) -> list[dict[str, str]]:
    """Calls, failures and slow calls of one window, over all servers of a job."""
    calls = f"{JOB}, {INFERENCE}"
    failed = f'{calls}, grpc_code=~"{"|".join(objectives.availability.failures)}"'
    in_time = f'{calls}, le="{number(objectives.latency.threshold_seconds)}"'
    handled, seconds = "grpc_server_handled_total", "grpc_server_handling_seconds"
    recordings = {
        CALLS: rate(handled, calls, window, by="job"),
        FAILURES: ratio(
            rate(handled, failed, window, by="job"), rate(handled, calls, window, by="job")
        ),
        SLOW: "1 - "
        + ratio(
            rate(f"{seconds}_bucket", in_time, window, by="job"),
            rate(f"{seconds}_count", calls, window, by="job"),
        ),
    }
    return [{"record": name + window, "expr": expr} for name, expr in recordings.items()]


def _alerting(alert: Alert) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expression,
        "for": alert.pending,
        "labels": {"severity": alert.severity, **alert.labels},
        "annotations": {"summary": alert.summary, "description": alert.description},
    }
