"""Feature maps of a served model: values against the CPU, and the time of a call."""

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.hardware.bundles import Tested, image_classifiers, only
from bench.hardware.check import Check, Results, attempt
from bench.servers import serving
from convscope.client import Client

__all__ = ["run"]

Maps = dict[str, NDArray[np.float32]]
# Relative to the largest value of a map. By default, CUDA uses TF32.
LIMIT = 2e-2
SECONDS = 10.0
MODELS = 2


def run(check: Check, results: Results) -> None:
    """Compare the first, the middle and the last feature map of some models."""
    compared: dict[str, Any] = {}
    results["models"] = compared
    usable = [tested for tested in image_classifiers(check) if tested.feature_maps]
    for tested in check.while_time(usable[:MODELS], SECONDS, results):
        report: dict[str, Any] = {}
        compared[tested.name] = report
        with attempt(tested.name, results):
            _compare(check, tested, report)


def _compare(check: Check, tested: Tested, report: dict[str, Any]) -> None:
    maps = {name: _fetch(check, tested, name, report) for name in check.providers}
    expected, found = maps[check.providers[-1]], maps[check.provider]
    differences = {name: _difference(found[name], expected[name]) for name in expected}
    report["largest_relative_difference"] = differences
    if not all(value <= LIMIT for value in differences.values()):
        raise BenchError("the feature maps differ from the CPU's")


def _fetch(check: Check, tested: Tested, provider: str, report: dict[str, Any]) -> Maps:
    """Return the feature maps of a photo on a provider, and report the seconds of two calls."""
    available = tested.feature_maps
    names = list(dict.fromkeys((available[0], available[len(available) // 2], available[-1])))
    photo = tested.inputs(1)[0]
    flags = ("--provider", provider, "--no-tuning", "--no-access-log")
    with (
        serving(
            only(check, tested, "feature_maps"),
            *flags,
            tuning_cache=check.tuning_cache,
            seconds=check.left(),
        ) as server,
        Client(server.target, timeout_seconds=60) as client,
    ):
        seconds = []
        for _ in range(3):
            began = time.perf_counter()
            result = client.classify(photo, model=tested.name, feature_maps=names)
            seconds.append(time.perf_counter() - began)
    report[provider] = {"first_ms": 1000 * seconds[0], "later_ms": 1000 * seconds[-1]}
    report["shapes"] = {name: result.feature_maps[name].array.shape for name in names}
    return {name: result.feature_maps[name].array for name in names}


def _difference(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    return float(np.abs(found - expected).max() / (np.abs(expected).max() or 1.0))
