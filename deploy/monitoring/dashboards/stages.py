"""Where the time goes: the stages of a request, the batches and the queue."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.monitoring.expressions import mean, quantile, rate
from deploy.monitoring.objectives import Objectives
from deploy.monitoring.panels import (
    COUNT,
    MODEL,
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

_SECONDS = "convscope_stage_seconds"
_STAGES = {
    "decode": "Turning the encoded image into the graph's input. Large photos make it grow.",
    "queue": "Waiting for a free runner. It grows with the load, and before anything else does.",
    "infer": "The run of ONNX Runtime that the input was part of. It grows with the batch.",
    "encode": "Writing the reply. It grows with the feature maps asked for.",
}
_VERSION = "{{model}} v{{version}}"
_BY_VERSION = "model, version"


def build(objectives: Objectives) -> Dashboard:
    """Make the dashboard."""
    return compose(
        "time",
        "Convscope: where the time goes",
        "Decode, queue, infer, encode: which stage takes the time, for which model, and why.",
        [
            Row("", _all_stages()),
            Row("Stages by model", [_stage(stage) for stage in _STAGES]),
            Row("Batches", _batches()),
            Row("Queue", _queue(objectives)),
        ],
    )


def _all_stages() -> list[Panel]:
    return [
        series(
            "Mean time by stage",
            "The mean of each stage over the chosen models, stacked in the order in which an "
            "input passes them. The first three are counted for each input, encode once for each "
            "reply.",
            SECONDS,
            *(Query(mean(_SECONDS, _of(stage), WINDOW), stage) for stage in _STAGES),
            stacked=True,
        ),
        series(
            "Inputs in each stage",
            "How many inputs were in each stage at once, on average: the seconds that they spent "
            "there, per second. The stage where they crowd is the one that limits.",
            COUNT,
            *(Query(rate(f"{_SECONDS}_sum", _of(stage), WINDOW), stage) for stage in _STAGES),
            stacked=True,
        ),
    ]


def _stage(stage: str) -> Panel:
    return series(
        f"p95 of {stage}",
        f"95 % of the inputs took at most this long. {_STAGES[stage]}",
        SECONDS,
        Query(quantile(0.95, _SECONDS, _of(stage), WINDOW, by=_BY_VERSION), _VERSION),
    )


def _batches() -> list[Panel]:
    size = "convscope_batch_images"
    return [
        series(
            "Mean batch size",
            "Images of one run, on average. Load makes batches grow; a lone call runs alone.",
            COUNT,
            Query(mean(size, MODEL, WINDOW, by=_BY_VERSION), _VERSION),
        ),
        series(
            "p95 of the batch size",
            "95 % of the runs had at most so many images. Interpolated within the histogram's "
            "buckets.",
            COUNT,
            Query(quantile(0.95, size, MODEL, WINDOW, by=_BY_VERSION), _VERSION),
        ),
        series(
            "Runs a second",
            "Batches that ran, per second.",
            COUNT,
            Query(rate(f"{size}_count", MODEL, WINDOW, by=_BY_VERSION), _VERSION),
        ),
    ]


def _queue(objectives: Objectives) -> list[Panel]:
    return [
        series(
            "Images waiting",
            "Images that wait to be decoded or for a free runner, at each scrape.",
            COUNT,
            Query(f"sum by ({_BY_VERSION}) (convscope_queue_images{{{MODEL}}})", _VERSION),
        ),
        series(
            "Share of the queue's bound",
            "How full the fullest queue of each version is: there are those before the decoders "
            "and the runners, of interactive and of bulk requests, and each has the bound to "
            "itself. At 1 calls are refused. From the dashed line on, an alert tells.",
            SHARE,
            Query(f"max by ({_BY_VERSION}) (convscope_queue_fill_ratio{{{MODEL}}})", _VERSION),
            limit=objectives.queue.near_bound,
        ),
        series(
            "Batches running",
            "Batches that run at this moment, at each scrape.",
            COUNT,
            Query(f"sum by ({_BY_VERSION}) (convscope_batches_running{{{MODEL}}})", _VERSION),
        ),
    ]


def _of(stage: str) -> str:
    return f'{MODEL}, stage="{stage}"'
