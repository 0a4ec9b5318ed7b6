"""Measure the throughput of the Python client."""

from typing import Any

from bench.bundles import repository
from bench.context import Bench
from bench.cpu import Watch
from bench.errors import BenchError
from bench.processes import run_worker
from bench.reference import Setting, run_inprocess
from bench.registry import Measured, measurement
from bench.sampling import Sample
from bench.servers import Server, serving

MANY = 10_000
SINGLE = 6_000
CONCURRENT = 256
TIMEOUT_SECONDS = 90.0


@measurement("many_digits")
def many_digits(bench: Bench) -> Measured:
    """Measure images per second of classify_many, relative to ONNX Runtime at batch 64."""
    count, batch = bench.count(MANY), Setting(threads=1, callers=1, batch=64)
    with serving(repository(bench, "digits"), tuning_cache=bench.tuning_cache) as server:

        def many() -> Sample:
            sample, answer = _called(server, {"kind": "many", "count": count})
            if answer["answers"] != [str(n) for n in range(10)]:
                raise BenchError(f"the digits 0 to 9 were read as {answer['answers']}")
            return sample

        samples = bench.interleave(
            classify_many=many,
            in_process=lambda: run_inprocess(bench, "digits", batch, bench.seconds(1.5)).rate(),
        )
    return Measured(
        {"many_digits": samples.ratio("classify_many", "in_process")},
        {"images_per_second": samples.details(), "images": count},
    )


@measurement("sdk_concurrent_digits")
def sdk_concurrent_digits(bench: Bench) -> Measured:
    """Measure 256 concurrent classify calls, relative to the same without request batching."""
    count = bench.count(SINGLE)
    with serving(repository(bench, "digits"), tuning_cache=bench.tuning_cache) as server:

        def concurrent(coalesce: bool) -> Sample:
            task = {
                "kind": "concurrent",
                "count": count,
                "in_flight": CONCURRENT,
                "coalesce": coalesce,
            }
            return _called(server, task)[0]

        samples = bench.interleave(
            coalesced=lambda: concurrent(True), separate=lambda: concurrent(False)
        )
    return Measured(
        {"sdk_concurrent_digits": samples.ratio("coalesced", "separate")},
        {"images_per_second": samples.details(), "images": count},
    )


def _called(server: Server, task: dict[str, Any]) -> tuple[Sample, dict[str, Any]]:
    """Make the calls of a task with the client; the CPU time per image is the server's."""
    watch = Watch(server=[server.process.pid])
    task = {**task, "target": server.target}
    answer = run_worker("bench.sdk", task, seconds=TIMEOUT_SECONDS)
    usage = watch.read()
    cpu_us = 1e6 * usage.cpu_seconds["server"] / task["count"]
    return Sample(answer["images_per_second"], usage.others, cpu_us), answer
