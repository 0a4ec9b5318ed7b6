"""Measure the throughput of the Python client."""

from bench.bundles import repository
from bench.context import Bench, interleave, ratio
from bench.errors import BenchError
from bench.processes import run_worker
from bench.reference import Setting, run_inprocess
from bench.registry import Measured, measurement
from bench.servers import serving

MANY = 10_000
CONCURRENT = 256
TIMEOUT_SECONDS = 90.0
WITHOUT = "AsyncClient has no switch for request batching, so both sides are the same"


@measurement("many_digits")
def many_digits(bench: Bench) -> Measured:
    """Measure images per second of classify_many, relative to ONNX Runtime at batch 64."""
    count, batch = bench.count(MANY), Setting(threads=1, callers=1, batch=64)
    with serving(repository(bench, "digits"), tuning_cache=bench.tuning_cache) as server:

        def many() -> float:
            task = {"kind": "many", "target": server.target, "count": count}
            answer = run_worker("bench.sdk", task, seconds=TIMEOUT_SECONDS)
            if answer["answers"] != [str(n) for n in range(10)]:
                raise BenchError(f"the digits 0 to 9 were read as {answer['answers']}")
            return float(answer["images_per_second"])

        samples = interleave(
            bench.repetitions,
            classify_many=many,
            in_process=lambda: run_inprocess(bench, "digits", batch, bench.seconds(1.5))[
                "images_per_second"
            ],
        )
    return Measured(
        {"many_digits": ratio(samples, "classify_many", "in_process")},
        {"images_per_second": samples, "images": count},
    )


@measurement("sdk_concurrent_digits")
def sdk_concurrent_digits(bench: Bench) -> Measured:
    """Measure 256 concurrent classify calls, relative to the same without request batching."""
    count, notes = bench.count(MANY), []
    with serving(repository(bench, "digits"), tuning_cache=bench.tuning_cache) as server:

        def concurrent(coalesce: bool) -> float:
            task = {
                "kind": "concurrent",
                "target": server.target,
                "count": count,
                "in_flight": CONCURRENT,
                "coalesce": coalesce,
            }
            answer = run_worker("bench.sdk", task, seconds=TIMEOUT_SECONDS)
            if answer["switch"] is None:
                notes.append(WITHOUT)
            return float(answer["images_per_second"])

        samples = interleave(
            bench.repetitions,
            coalesced=lambda: concurrent(True),
            separate=lambda: concurrent(False),
        )
    details = {"images_per_second": samples, "images": count}
    return Measured(
        {"sdk_concurrent_digits": ratio(samples, "coalesced", "separate")},
        {**details, "note": notes[0]} if notes else details,
    )
