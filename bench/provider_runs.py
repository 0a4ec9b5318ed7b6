"""Graphs in process on one provider: two runs at once, with one thread each."""

import json
from pathlib import Path
from typing import Any

from bench.context import ROOT, Bench
from bench.cpu import Watch
from bench.photos import pixels_224
from bench.processes import run_worker
from bench.sampling import Sample

__all__ = ["NETWORKS", "OPENVINO", "PAIRS", "RUNNERS", "on_openvino", "run", "runs_of"]

# ResNet-50 and MobileNetV2 have random weights, which don't change their speed.
NETWORKS = ("resnet50", "mobilenet_v2", "efficientnet_lite0")
OPENVINO = ROOT / ".cache" / "openvino" / "bin" / "python"
RUNNERS = 2
PAIRS = 8
SHAPE = (224, 224, 3)
TIMEOUT_SECONDS = 120.0


def runs_of(bench: Bench, graph: Path) -> dict[str, Any]:
    """Return the task of running a graph on the CPU provider."""
    pixels = bench.scratch / "pixels"
    pixels.write_bytes(pixels_224())
    return {
        **{"threads": 1, "spinning": False, "batch": 1, "callers": RUNNERS},
        **{"shape": SHAPE, "pixels": str(pixels), "seconds": bench.seconds(2.0)},
        "graph": str(graph),
    }


def on_openvino(task: dict[str, Any], precision: str) -> dict[str, Any]:
    """Return a task on OpenVINO, without core pinning, which halves the speed of two streams.

    Args:
        task: The task.
        precision: OpenVINO's name of it, "f32" or "bf16".
    """
    config = {"CPU": {"INFERENCE_PRECISION_HINT": precision, "ENABLE_CPU_PINNING": "NO"}}
    options = {
        "device_type": "CPU",
        "num_of_threads": str(RUNNERS),
        "num_streams": str(RUNNERS),
        "load_config": json.dumps(config),
    }
    return {**task, "providers": ["OpenVINOExecutionProvider"], "provider_options": [options]}


def run(task: dict[str, Any], python: Path | None = None) -> Sample:
    """Run a task in a process of its own; None for the Python of the bench."""
    watch = Watch()
    seconds = task["seconds"] + TIMEOUT_SECONDS
    found = run_worker("bench.inprocess", task, seconds=seconds, python=python)
    return Sample(found["images_per_second"], watch.read().others, found["cpu_us"])
