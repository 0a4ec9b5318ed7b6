"""The overview: is the promise kept, and if not, for which model?"""

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

# The burn rates that are drawn; the others are for slow leaks, which no line shows well.
_DRAWN_WINDOWS = ("5m", "1h", "6h")
_ALERTS = 'ALERTS{alertname=~"Convscope.+"'
_HANDLED = "grpc_server_handled_total"


def build(objectives: Objectives) -> Dashboard:
    """Make the dashboard."""
    return compose(
        "overview",
        "Convscope overview",
        "Traffic, errors and latency by model, against what callers are promised.",
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
            "Inference calls that ended, of any code, per second. Streams are not among them.",
            CALLS_A_SECOND,
            rate(_HANDLED, INFERENCE, WINDOW),
            decimals=1,
        ),
        stat(
            "Without failure, 1 h",
            f"Share of the last hour's inference calls that didn't fail by the server's fault or "
            f"for want of room or time. Promised: {availability.target:.2%}.",
            SHARE,
            f"1 - max({FAILURES}1h)",
            thresholds=at_least(availability.target),
            decimals=2,
        ),
        stat(
            f"Within {within}, 1 h",
            f"Share of the last hour's interactive answers that took at most {within} on the "
            f"server. Promised: {latency.target:.2%}.",
            SHARE,
            f"1 - max({SLOW}1h)",
            thresholds=at_least(latency.target),
            decimals=2,
        ),
        stat(
            "p99 of all",
            "99 % of the interactive answers, of all models, took at most this long, counted from "
            "the request's arrival at the model. Interpolated within the histogram's buckets.",
            SECONDS,
            quantile(0.99, "convscope_request_seconds", INTERACTIVE, WINDOW),
            thresholds=at_most(latency.threshold_seconds),
        ),
        stat(
            "Fullest queue",
            "How much of its bound the fullest queue holds. Beyond it calls are refused.",
            SHARE,
            f"max(convscope_queue_fill_ratio{{{MODEL}}})",
            thresholds=at_most(1, near=objectives.queue.near_bound),
            decimals=0,
        ),
        stat(
            "Alerts firing",
            "Convscope's alerts that fire now; the table below names them.",
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
            "Requests that were answered, of any code, per second; those of streams are among "
            "them. Requests for a model that the server doesn't have are only in the next panel.",
            CALLS_A_SECOND,
            Query(rate(requests, MODEL, WINDOW, by="model"), "{{model}}"),
        ),
        series(
            "Calls by code",
            "Inference calls that ended, per second. A code appears with its first call. "
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
            f"Share of each model's requests that failed by the server's fault or for want of "
            f"room or time: {codes.replace('|', ', ')}. The dashed line is what may fail.",
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
            f"{share:.0%} of each model's interactive answers took at most this long, counted from "
            "the request's arrival at the model; failures, which may be quick, and bulk requests, "
            "which are to wait, are not among them. "
            "Interpolated within the histogram's buckets. The dashed line is the promise: "
            f"{objectives.latency.target:.0%} of all interactive answers below it.",
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
            "Alerts that fire, and those that will if what they see goes on. Empty when all is "
            "well. Prometheus' page of alerts shows what to do about each.",
            f"max by ({labels}) ({_ALERTS}}})",
            columns,
        ),
    ]


def _burn(title: str, recorded: str, budget: float, pages: float) -> Panel:
    return series(
        title,
        "How many times faster than it may the budget burns; at 1 it lasts just for the period. "
        f"At the dashed line, {pages:g}, somebody is woken if the longer windows agree.",
        COUNT,
        *(
            Query(f"max({recorded}{window}) / {number(budget)}", f"over {window}")
            for window in _DRAWN_WINDOWS
        ),
        limit=pages,
    )


def _upper(code: str) -> str:
    """The spelling of Python's grpc, which the server's own counter has: RESOURCE_EXHAUSTED."""
    return "".join(f"_{c}" if c.isupper() else c.upper() for c in code).lstrip("_")
