"""The dashboard of the process: CPU, memory, files and restarts."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.monitoring.expressions import JOB, rate
from deploy.monitoring.objectives import Objectives
from deploy.monitoring.panels import (
    BYTES,
    CALLS_A_SECOND,
    COUNT,
    SECONDS,
    SHARE,
    WINDOW,
    Panel,
    Query,
    Row,
    compose,
    series,
)

__all__ = ["build"]

_INSTANCE = "{{instance}}"


def build(objectives: Objectives) -> Dashboard:
    """Make the dashboard. No objective concerns the process."""
    return compose(
        "process",
        "Convscope process",
        "The resources that each server uses. Several workers count as one server.",
        [Row("", _resources()), Row("Calls and files", _calls()), Row("Scrapes", _scrapes())],
    )


def _resources() -> list[Panel]:
    return [
        series(
            "Cores busy",
            "CPU seconds used per second: 2 means that two cores were busy all the time.",
            COUNT,
            Query(rate("process_cpu_seconds_total", JOB, WINDOW, by="instance"), _INSTANCE),
        ),
        series(
            "Memory",
            "Resident memory. It grows when versions are loaded and when feature maps are first "
            "requested. Growth without end is a leak.",
            BYTES,
            Query(f"sum by (instance) (process_resident_memory_bytes{{{JOB}}})", _INSTANCE),
        ),
        series(
            "Uptime",
            "The time since the server started. A drop to zero is a restart.",
            SECONDS,
            Query(f"time() - min by (instance) (process_start_time_seconds{{{JOB}}})", _INSTANCE),
        ),
    ]


def _calls() -> list[Panel]:
    begun = "sum by (instance) (grpc_server_started_total)"
    ended = "sum by (instance) (grpc_server_handled_total)"
    return [
        series(
            "Calls in flight",
            "Calls of all methods that have started and not ended, including open streams.",
            COUNT,
            Query(f"{begun} - {ended}", _INSTANCE),
        ),
        series(
            "Open files",
            "The used share of the file descriptors that the process may open. Connections count "
            "too. Near 1, new connections fail.",
            SHARE,
            Query(
                f"max by (instance) (process_open_fds{{{JOB}}} / process_max_fds{{{JOB}}})",
                _INSTANCE,
            ),
        ),
        series(
            "Restarts, 1 h",
            "The number of restarts of the server within the last hour.",
            COUNT,
            Query(f"changes(process_start_time_seconds{{{JOB}}}[1h])", _INSTANCE),
        ),
        series(
            "Calls rejected before a method",
            "Calls that no other panel counts: they were refused, invalid, too large or too slow, "
            "or the memory for requests was in use.",
            CALLS_A_SECOND,
            Query(rate("convscope_rejected_calls_total", JOB, WINDOW, by="reason"), "{{reason}}"),
            Query(rate("convscope_request_memory_rejections_total", JOB, WINDOW), "memory"),
        ),
    ]


def _scrapes() -> list[Panel]:
    return [
        series(
            "Scrape succeeds",
            "1 while Prometheus can scrape the server's metrics, otherwise 0.",
            COUNT,
            Query(f"min by (instance) (up{{{JOB}}})", _INSTANCE),
        ),
        series(
            "Duration of a scrape",
            "The time that the server took to return its metrics.",
            SECONDS,
            Query(f"max by (instance) (scrape_duration_seconds{{{JOB}}})", _INSTANCE),
        ),
        series(
            "Time series",
            "The number of samples of one scrape. Labels come from the repository only, so it "
            "grows with the versions and not with the callers.",
            COUNT,
            Query(f"sum by (instance) (scrape_samples_scraped{{{JOB}}})", _INSTANCE),
        ),
    ]
