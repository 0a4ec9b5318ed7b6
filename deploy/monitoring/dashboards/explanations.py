"""Panels of explanations, whose series exist from the first request for one."""

from deploy.monitoring.expressions import mean, rate
from deploy.monitoring.panels import (
    BYTES,
    CALLS_A_SECOND,
    COUNT,
    MODEL,
    SECONDS,
    WINDOW,
    Panel,
    Query,
    series,
)

__all__ = ["panels", "sessions"]

_VERSION = "{{model}} v{{version}}"
_BY_VERSION = "model, version"


def panels() -> list[Panel]:
    """Make the panels of explanations."""
    seconds, of_heat = "convscope_explained_infer_seconds", f'{MODEL}, run="heat"'
    of_all = f'{MODEL}, stage="infer"'
    explained = rate("convscope_explained_requests_total", MODEL, WINDOW, by="model, code")
    return [
        series(
            "Explanations by method",
            "Explanations that were returned, per second. Those of one image are counted each.",
            COUNT,
            Query(
                rate("convscope_explanations_total", MODEL, WINDOW, by="model, method"),
                "{{model}} {{method}}",
            ),
            stacked=True,
        ),
        series(
            "Requests for explanations by code",
            "Requests for explanations that ended, per second. A code appears with its first "
            "request. InvalidArgument is the caller's mistake, such as an unknown class.",
            CALLS_A_SECOND,
            Query(
                f"{explained} and "
                f"sum by (model, code) (convscope_explained_requests_total{{{MODEL}}}) > 0",
                "{{model}} {{code}}",
            ),
        ),
        series(
            "Mean time of the run",
            "The mean time of the run that contained an input: of inputs with heat, and of all "
            "inputs. Heat takes hardly longer than classes. Occlusion isn't shown here: it takes "
            "one run for each square.",
            SECONDS,
            Query(mean(seconds, of_heat, WINDOW, by=_BY_VERSION), f"{_VERSION} with heat"),
            Query(
                mean("convscope_stage_seconds", of_all, WINDOW, by=_BY_VERSION), f"{_VERSION} all"
            ),
        ),
        series(
            "Images run for occlusion",
            "Images with a square, per second. They run as bulk work, after the interactive "
            "requests.",
            COUNT,
            Query(rate("convscope_occluded_images_total", MODEL, WINDOW, by=_BY_VERSION), _VERSION),
        ),
    ]


def sessions() -> list[Panel]:
    """Make the panels of the sessions that are opened on first use."""
    return [
        series(
            "Open sessions",
            "The sessions with feature maps and with explanations that are open, over all workers. "
            "They are opened by the first request, which waits for it, or at load with "
            "--preload-feature-maps and --preload-explanations.",
            COUNT,
            Query(
                f"sum by ({_BY_VERSION}, session) (convscope_session_open{{{MODEL}}})",
                f"{_VERSION} {{{{session}}}}",
            ),
        ),
        series(
            "Estimated memory of the sessions",
            "The memory of the weights of all open sessions, estimated from the size of the "
            "graph. Each session has a copy of its own.",
            BYTES,
            Query(f"sum by ({_BY_VERSION}) (convscope_session_memory_bytes{{{MODEL}}})", _VERSION),
        ),
    ]
