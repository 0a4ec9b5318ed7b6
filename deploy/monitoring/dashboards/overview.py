"""The overview: are the objectives met, and if not, for which model?"""

from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.monitoring.expressions import (
    FAILURES,
    INFERENCE,
    INTERACTIVE,
    SLOW,
    number,
    quantile,
    rate,
    ratio,
)
from deploy.monitoring.objectives import Objectives
from deploy.monitoring.panels import (
    CALLS_A_SECOND,
    COUNT,
    MODEL,
    SECONDS,
    SHARE,
    WINDOW,
    Panel,
    Query,
    Row,
    at_least,
    at_most,
    compose,
    series,
    stat,
    table,
)

__all__ = ["build"]

# The burn rates that are drawn. The others are for slow leaks, which a line shows badly.
_DRAWN_WINDOWS = ("5m", "1h", "6h")
_ALERTS = 'ALERTS{alertname=~"Convscope.+"'
_HANDLED = "grpc_server_handled_total"


def build(objectives: Objectives) -> Dashboard:
    """Make the dashboard."""
    return compose(
        "overview",
        "Convscope overview",
        "Traffic, errors and latency by model, compared with the objectives.",
        [
            Row("", _promises(objectives)),
            Row("Traffic and failures", _traffic(objectives)),
            Row("Latency by model", _latencies(objectives)),
            Row("Budgets", _budgets(objectives)),
        ],
    )


def _promises(objectives: Objectives) -> list[Panel]:
    availability, latency = objectives.availability, objectives.latency
    within = f"{1000 * latency.threshold_seconds:g} ms"
    return [
        stat(
            "Inference calls",
            "Completed inference calls with any code, per second. Streams are not included.",
            CALLS_A_SECOND,
            rate(_HANDLED, INFERENCE, WINDOW),
            decimals=1,
        ),
        stat(
            "Without failure, 1 h",
            f"The share of the last hour's inference calls that did not fail because of a server "
            f"error or overload. Objective: {availability.target:.2%}.",
            SHARE,
            f"1 - max({FAILURES}1h)",
            thresholds=at_least(availability.target),
            decimals=2,
        ),
        stat(
            f"Within {within}, 1 h",
            f"The share of the last hour's interactive requests that took at most {within} on the "
            f"server. Objective: {latency.target:.2%}.",
            SHARE,
            f"1 - max({SLOW}1h)",
            thresholds=at_least(latency.target),
            decimals=2,
        ),
        stat(
            "p99 of all",
            "99% of the interactive requests of all models took at most this long, from the "
            "arrival at the model. Interpolated within the histogram's buckets.",
            SECONDS,
            quantile(0.99, "convscope_request_seconds", INTERACTIVE, WINDOW),
            thresholds=at_most(latency.threshold_seconds),
        ),
        stat(
            "Fullest queue",
            "How full the fullest queue is. At 100% calls are rejected.",
            SHARE,
            f"max(convscope_queue_fill_ratio{{{MODEL}}})",
            thresholds=at_most(1, near=objectives.queue.near_bound),
            decimals=0,
        ),
        stat(
            "Alerts firing",
            "The number of Convscope alerts that fire now. The table below lists them.",
            COUNT,
            f'count({_ALERTS}, alertstate="firing"}}) or vector(0)',
            thresholds=at_most(1),
            decimals=0,
        ),
    ]


def _traffic(objectives: Objectives) -> list[Panel]:
    codes = "|".join(_upper(code) for code in objectives.availability.failures)
    handled = f"{_HANDLED}{{{INFERENCE}}}"
    requests = "convscope_requests_total"
    return [
        series(
            "Requests by model",
            "Completed requests with any code, per second, including those of streams. Requests "
            "for a model that the server doesn't have are only in the next panel.",
            CALLS_A_SECOND,
            Query(rate(requests, MODEL, WINDOW, by="model"), "{{model}}"),
        ),
        series(
            "Calls by code",
            "Completed inference calls, per second. A code appears with its first call. "
            "InvalidArgument and NotFound are the callers' mistakes.",
            CALLS_A_SECOND,
            Query(
                f"{rate(_HANDLED, INFERENCE, WINDOW, by='grpc_code')}"
                f" and sum by (grpc_code) ({handled}) > 0",
                "{{grpc_code}}",
            ),
        ),
        series(
            "Failures by model",
            f"The share of each model's requests that failed because of a server error or "
            f"overload: {codes.replace('|', ', ')}. The dashed line is the allowed share.",
            SHARE,
            Query(
                ratio(
                    rate(requests, f'{MODEL}, code=~"{codes}"', WINDOW, by="model"),
                    rate(requests, MODEL, WINDOW, by="model"),
                ),
                "{{model}}",
            ),
            limit=objectives.availability.budget,
        ),
    ]


def _latencies(objectives: Objectives) -> list[Panel]:
    return [
        series(
            f"p{share:.0%}".rstrip("%"),
            f"{share:.0%} of each model's successful interactive requests took at most this long, "
            "from the arrival at the model. Failed requests, which may be fast, and bulk requests, "
            "which are meant to wait, are not included. Interpolated within the histogram's "
            f"buckets. The dashed line is the objective: {objectives.latency.target:.0%} of all "
            "interactive requests are below it.",
            SECONDS,
            Query(
                quantile(
                    share,
                    "convscope_request_seconds",
                    f"{MODEL}, {INTERACTIVE}",
                    WINDOW,
                    by="model",
                ),
                "{{model}}",
            ),
            limit=objectives.latency.threshold_seconds,
        )
        for share in (0.5, 0.95, 0.99)
    ]


def _budgets(objectives: Objectives) -> list[Panel]:
    pages = min(window.factor for window in objectives.burn if window.severity == "page")
    columns = {
        "alertname": "Alert",
        "alertstate": "State",
        "severity": "Severity",
        "long_window": "Window",
        "model": "Model",
        "version": "Version",
        "reason": "Reason",
    }
    labels = ", ".join(columns)
    return [
        _burn("Error budget burn", FAILURES, objectives.availability.budget, pages),
        _burn("Latency budget burn", SLOW, objectives.latency.budget, pages),
        table(
            "Alerts",
            "Firing and pending alerts. Empty when all is well. The alerts page of Prometheus "
            "shows what to do about each.",
            f"max by ({labels}) ({_ALERTS}}})",
            columns,
        ),
    ]


def _burn(title: str, recorded: str, budget: float, pages: float) -> Panel:
    return series(
        title,
        "How many times faster than allowed the budget burns. At 1 it lasts exactly for the "
        f"period. Above the dashed line, {pages:g}, an alert pages if the longer windows agree.",
        COUNT,
        *(
            Query(f"max({recorded}{window}) / {number(budget)}", f"over {window}")
            for window in _DRAWN_WINDOWS
        ),
        limit=pages,
    )


def _upper(code: str) -> str:
    """Return the spelling of Python's grpc, which the server's own counter uses."""
    return "".join(f"_{c}" if c.isupper() else c.upper() for c in code).lstrip("_")
