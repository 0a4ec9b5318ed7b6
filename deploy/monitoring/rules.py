"""The recording and alerting rules of Prometheus."""

from typing import Any

from deploy.monitoring.alerts import Alert, alerts
from deploy.monitoring.expressions import (
    ANSWERS,
    CALLS,
    FAILURES,
    INFERENCE,
    INTERACTIVE,
    JOB,
    LIMITED,
    SLOW,
    number,
    rate,
    ratio,
)
from deploy.monitoring.objectives import Objectives

__all__ = ["rule_groups"]


def rule_groups(objectives: Objectives) -> dict[str, Any]:
    """Return the content of rules.yml."""
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
    """Return the recording rules of one window, over all servers of a job."""
    calls, answers = f"{JOB}, {INFERENCE}", f"{JOB}, {INTERACTIVE}"
    failed = f'{calls}, grpc_code=~"{"|".join(objectives.availability.failures)}"'
    in_time = f'{answers}, le="{number(objectives.latency.threshold_seconds)}"'
    handled, seconds = "grpc_server_handled_total", "convscope_request_seconds"
    answered = rate(f"{seconds}_count", answers, window, by="job")
    ended, limited = (
        rate(name, calls, window, by="job")
        for name in (handled, "convscope_caller_limited_calls_total")
    )
    # A caller over its own limit is no failure of the server, and must not hide one either.
    counted = f"({ended} - {LIMITED}{window})"
    failures = f"({rate(handled, failed, window, by='job')} - {LIMITED}{window})"
    recordings = {
        LIMITED: f"{limited} or 0 * {ended}",
        CALLS: counted,
        FAILURES: ratio(failures, counted),
        ANSWERS: answered,
        SLOW: f"1 - {ratio(rate(f'{seconds}_bucket', in_time, window, by='job'), answered)}",
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
