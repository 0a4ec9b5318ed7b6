"""Calls per second on the CPU with 1 to 8 worker processes, on a machine with many cores."""

from typing import Any

from bench.hardware.bundles import Tested, find, only
from bench.hardware.check import Check, Results, SkippedError, attempt
from bench.servers import serving
from convscope.server.runtime.cores import available_cores

__all__ = ["run"]

CORES = 8
WORKERS = (1, 2, 4, 8)
MODELS = ("digits", "efficientnet_lite0")
IN_FLIGHT_PER_WORKER = 32
SECONDS = 12.0


def run(check: Check, results: Results) -> None:
    """Measure each model with each number of workers.

    Raises:
        SkippedError: The machine has too few cores, or the models are missing.
    """
    cores = available_cores()
    if cores < CORES:
        raise SkippedError(f"the machine has {cores} cores, and this needs {CORES}")
    found = [tested for tested in find(check) if tested.name in MODELS]
    if not found:
        raise SkippedError(f"there is no bundle of {' or '.join(MODELS)}")
    rows: list[dict[str, Any]] = []
    results["rows"] = rows
    pairs = [(tested, workers) for tested in found for workers in WORKERS]
    for tested, workers in check.while_time(pairs, SECONDS, results):
        with attempt(f"{tested.name} with {workers} workers", results):
            row = {"model": tested.name, "workers": workers}
            rows.append(row | _measure(check, tested, workers))


def _measure(check: Check, tested: Tested, workers: int) -> dict[str, Any]:
    with serving(
        only(check, tested, "workers"),
        *("--workers", str(workers), "--no-access-log"),
        tuning_cache=check.tuning_cache,
        seconds=check.left(),
    ) as server:
        loop = server.saturate(
            tested.tensor_request(1),
            check.scratch,
            in_flight=IN_FLIGHT_PER_WORKER * workers,
            seconds=check.window,
        )
    rate = loop.rate()
    return {
        "calls_per_second": rate.value,
        "median_call_ms": loop.latency_ms().value,
        "server_cpu_us_per_call": rate.cpu_us,
        "generator_cores": rate.generator_cores,
        "others_share_of_cpu": rate.others,
    }
