"""Graphs in FP16, converted here: the exporter makes none. Values and speed against FP32."""

from typing import Any

import onnx

from bench.hardware.bundles import Tested, image_classifiers
from bench.hardware.check import Check, Results, SkippedError, attempt
from bench.hardware.sessions import differences, open_raw
from bench.inprocess import measure
from convscope.server.runtime.providers import CPU
from convscope.server.runtime.validated import plain_graph

__all__ = ["run"]

BATCHES = (1, 8, 32)
MODELS = 2
OUTPUTS = ["logits", "probabilities"]
PARITY_BATCH = 8


def run(check: Check, results: Results) -> None:
    """Convert, compare and measure some classifiers."""
    results["exporter"] = "the exporter makes no FP16 graphs; these are converted here"
    models: dict[str, Any] = {}
    results["models"] = models
    needed = 8 * check.window * len(BATCHES)
    for tested in check.while_time(image_classifiers(check)[:MODELS], needed, results):
        with attempt(tested.name, results):
            models[tested.name] = _compare(check, tested)


def _compare(check: Check, tested: Tested) -> dict[str, Any]:
    half = _convert(tested)
    inputs = tested.inputs(PARITY_BATCH)
    name = tested.bundle.manifest.input.name
    expected = open_raw(tested, CPU).run(OUTPUTS, {name: inputs})
    sessions = {
        "fp32": open_raw(tested, check.provider),
        "fp16": open_raw(tested, check.provider, half),
    }
    found = sessions["fp16"].run(OUTPUTS, {name: inputs})
    report: dict[str, Any] = {
        "graph_bytes": len(half),
        "parity": differences(OUTPUTS, found, expected),
        "rows": [],
    }
    for batch in BATCHES:
        if check.left() < 4 * check.window:
            break
        speeds = {
            precision: measure(session, tested.inputs(batch), 1, check.window)["images_per_second"]
            for precision, session in sessions.items()
        }
        report["rows"].append({"batch": batch, "images_per_second": speeds})
    return report


def _convert(tested: Tested) -> bytes:
    """Convert the weights and operators to FP16; inputs and outputs keep their types.

    Raises:
        SkippedError: This onnxruntime came without its converter.
    """
    try:
        from onnxruntime.transformers.float16 import convert_float_to_float16
    except ImportError as error:
        raise SkippedError(f"no FP16 export, and no converter: {error}") from error
    graph = onnx.load_from_string(plain_graph(tested.bundle.read_graph(), tested.bundle.manifest))
    converted: onnx.ModelProto = convert_float_to_float16(
        graph, keep_io_types=True, disable_shape_infer=True
    )
    return converted.SerializeToString()
