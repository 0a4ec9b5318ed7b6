"""The process: processor, memory, files, and whether it was restarted."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.monitoring.expressions import JOB, rate
from deploy.monitoring.objectives import Objectives
from deploy.monitoring.panels import (
    BYTES,
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
    """Make the dashboard; no objective is about the process."""
    return compose(
        "process",
        "Convscope process",
        "What each server takes of its machine. Several workers are shown as one server.",
        [Row("", _resources()), Row("Calls and files", _calls()), Row("Scrapes", _scrapes())],
    )


def _resources() -> list[Panel]:
    return [
        series(
            "Cores busy",
            "Processor seconds used per second: 2 means that two cores were busy all the time.",
            COUNT,
            Query(rate("process_cpu_seconds_total", JOB, WINDOW, by="instance"), _INSTANCE),
        ),
        series(
            "Memory",
            "Resident memory. It grows as versions are loaded, and with the first feature maps "
            "asked for; a slope without end is a leak.",
            BYTES,
            Query(f"sum by (instance) (process_resident_memory_bytes{{{JOB}}})", _INSTANCE),
        ),
        series(
            "Uptime",
            "Since when the server runs. A fall to zero is a restart.",
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
            "Calls that have begun and not ended, of all methods; open streams are among them.",
            COUNT,
            Query(f"{begun} - {ended}", _INSTANCE),
        ),
        series(
            "Open files",
            "Share of the file descriptors that the process may have. Connections are among "
            "them; near 1 new ones are refused.",
            SHARE,
            Query(
                f"max by (instance) (process_open_fds{{{JOB}}} / process_max_fds{{{JOB}}})",
                _INSTANCE,
            ),
        ),
        series(
            "Restarts, 1 h",
            "How often the server was started anew within the last hour.",
            COUNT,
            Query(f"changes(process_start_time_seconds{{{JOB}}}[1h])", _INSTANCE),
        ),
    ]


def _scrapes() -> list[Panel]:
    return [
        series(
            "Answers the scrape",
            "1 while Prometheus reaches the server's metrics, 0 while it doesn't.",
            COUNT,
            Query(f"min by (instance) (up{{{JOB}}})", _INSTANCE),
        ),
        series(
            "Time of a scrape",
            "How long the server took to show its metrics.",
            SECONDS,
            Query(f"max by (instance) (scrape_duration_seconds{{{JOB}}})", _INSTANCE),
        ),
        series(
            "Time series",
            "Samples of one scrape. Labels come from the repository only, so it grows with the "
            "versions and not with the callers.",
            COUNT,
            Query(f"sum by (instance) (scrape_samples_scraped{{{JOB}}})", _INSTANCE),
        ),
    ]
