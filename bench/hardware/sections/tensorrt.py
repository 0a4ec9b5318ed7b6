"""TensorRT, if its libraries are installed: time to build an engine, values and speed."""

import time
from typing import Any

import onnxruntime as ort

from bench.hardware.bundles import Tested, image_classifiers
from bench.hardware.check import Check, Results, SkippedError, attempt
from bench.hardware.sessions import differences, open_raw
from bench.inprocess import measure
from convscope.server.runtime.providers import CPU, PROVIDERS
from convscope.server.runtime.providers.cuda import why_not_started

__all__ = ["run"]

NAME = "tensorrt"
BATCHES = (1, 8, 32)
OUTPUTS = ["logits", "probabilities"]
# Building the engine of a small network takes about this long, and of a large one minutes.
SECONDS = 40.0
MODELS = 2


def run(check: Check, results: Results) -> None:
    """Build the engines of some classifiers.

    Raises:
        SkippedError: There is no GPU, or no TensorRT.
    """
    if not check.on_gpu:
        raise SkippedError(f"{check.provider} does not use a GPU")
    if PROVIDERS[NAME] not in ort.get_available_providers():
        raise SkippedError("this ONNX Runtime was built without TensorRT")
    smallest_first = image_classifiers(check)[:MODELS][::-1]
    models: dict[str, Any] = {}
    results["models"] = models
    for tested in check.while_time(smallest_first, SECONDS, results):
        with attempt(tested.name, results):
            models[tested.name] = _measure(check, tested)


def _measure(check: Check, tested: Tested) -> dict[str, Any]:
    name = tested.bundle.manifest.input.name
    report: dict[str, Any] = {"rows": []}
    session = _open(tested)
    for batch in BATCHES:
        if check.left() < SECONDS / 2:
            break
        inputs = tested.inputs(batch)
        began = time.perf_counter()
        found = session.run(OUTPUTS, {name: inputs})  # builds the engine for this batch
        row = {"batch": batch, "first_run_seconds": time.perf_counter() - began}
        report["rows"].append(row | measure(session, inputs, 1, check.window))
        expected = open_raw(tested, CPU).run(OUTPUTS, {name: inputs})
        report["parity"] = differences(OUTPUTS, found, expected)
    return report


def _open(tested: Tested) -> ort.InferenceSession:
    try:
        return open_raw(tested, NAME)
    except Exception as error:
        raise SkippedError(f"{why_not_started(NAME)} ({error})") from error
