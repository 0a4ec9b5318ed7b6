"""Images per second of ONNX Runtime in this process, for batches of 1 to 64."""

from collections.abc import Iterator
from typing import Any

from bench.hardware.bundles import Tested, image_classifiers
from bench.hardware.check import Check, Results, attempt
from bench.hardware.sessions import open_raw
from bench.inprocess import measure

__all__ = ["BATCHES", "run"]

BATCHES = (1, 2, 4, 8, 16, 32, 64)
# On the CPU, a large batch takes seconds. Larger ones are left out.
SLOW_SECONDS = 1.0
MODELS = 3


def run(check: Check, results: Results) -> None:
    """Measure the classifiers of images one after the other."""
    rows: dict[str, Any] = {}
    results["models"] = rows
    needed = 4 * check.window * len(BATCHES)
    for tested in check.while_time(image_classifiers(check)[:MODELS], needed, results):
        with attempt(tested.name, results):
            rows[tested.name] = list(_rows(check, tested))


def _rows(check: Check, tested: Tested) -> Iterator[dict[str, float]]:
    session = open_raw(tested, check.provider)
    for batch in BATCHES:
        for callers in (1, 2) if check.on_gpu else (1,):
            measured = measure(session, tested.inputs(batch), callers, check.window)
            yield {"batch": batch, "callers": callers, **measured}
        if measured["median_seconds"] > SLOW_SECONDS or check.left() < 4 * check.window:
            return
