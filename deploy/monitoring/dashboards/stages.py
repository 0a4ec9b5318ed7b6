"""The dashboard of where the time goes: stages, batches and queues."""

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
    "decode": "Decoding an image into the graph's input. Large photos take longer.",
    "queue": "Waiting for a free runner. It is the first stage to grow with the load.",
    "infer": "The run of ONNX Runtime that contained the input. It grows with the batch size.",
    "encode": "Writing the reply. It grows with the requested feature maps.",
}
_VERSION = "{{model}} v{{version}}"
_BY_VERSION = "model, version"


def build(objectives: Objectives) -> Dashboard:
    """Make the dashboard."""
    return compose(
        "time",
        "Convscope: where the time goes",
        "Decode, queue, infer, encode: the time of each stage by model, and what explains it.",
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
            "The mean time of each stage over the selected models, stacked in the order of "
            "processing. The first three are measured for each input, encode once for each reply.",
            SECONDS,
            *(Query(mean(_SECONDS, _of(stage), WINDOW), stage) for stage in _STAGES),
            stacked=True,
        ),
        series(
            "Inputs in each stage",
            "The average number of inputs in each stage at once: the seconds spent there, per "
            "second. The stage with the most inputs is the bottleneck.",
            COUNT,
            *(Query(rate(f"{_SECONDS}_sum", _of(stage), WINDOW), stage) for stage in _STAGES),
            stacked=True,
        ),
    ]


def _stage(stage: str) -> Panel:
    return series(
        f"p95 of {stage}",
        f"95% of the inputs took at most this long. {_STAGES[stage]}",
        SECONDS,
        Query(quantile(0.95, _SECONDS, _of(stage), WINDOW, by=_BY_VERSION), _VERSION),
    )


def _batches() -> list[Panel]:
    size = "convscope_batch_images"
    return [
        series(
            "Mean batch size",
            "The average number of images in a run. Batches grow with the load.",
            COUNT,
            Query(mean(size, MODEL, WINDOW, by=_BY_VERSION), _VERSION),
        ),
        series(
            "p95 of the batch size",
            "95% of the runs had at most this many images. Interpolated within the histogram's "
            "buckets.",
            COUNT,
            Query(quantile(0.95, size, MODEL, WINDOW, by=_BY_VERSION), _VERSION),
        ),
        series(
            "Runs per second",
            "The number of batches run, per second.",
            COUNT,
            Query(rate(f"{size}_count", MODEL, WINDOW, by=_BY_VERSION), _VERSION),
        ),
    ]


def _queue(objectives: Objectives) -> list[Panel]:
    return [
        series(
            "Images waiting",
            "Images that wait for decoding or for a free runner, at each scrape.",
            COUNT,
            Query(f"sum by ({_BY_VERSION}) (convscope_queue_images{{{MODEL}}})", _VERSION),
        ),
        series(
            "Share of the queue's bound",
            "How full the fullest queue of each version is. There are separate queues for decoders "
            "and runners, and for interactive and bulk requests, each with its own bound. At 100% "
            "calls are rejected. An alert fires above the dashed line.",
            SHARE,
            Query(f"max by ({_BY_VERSION}) (convscope_queue_fill_ratio{{{MODEL}}})", _VERSION),
            limit=objectives.queue.near_bound,
        ),
        series(
            "Batches running",
            "Batches that are running, at each scrape.",
            COUNT,
            Query(f"sum by ({_BY_VERSION}) (convscope_batches_running{{{MODEL}}})", _VERSION),
        ),
    ]


def _of(stage: str) -> str:
    return f'{MODEL}, stage="{stage}"'
