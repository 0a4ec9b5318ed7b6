"""Measure the benefit of decoding JPEGs at the required scale."""

import sys

from bench.bundles import LITE0, repository
from bench.context import Bench, interleave, ratio
from bench.errors import BenchError
from bench.full_decode_server import MARK
from bench.photos import SIZES, image_message, jpeg
from bench.registry import Measured, measurement
from bench.servers import Server, serving

IN_FLIGHT = 16
FULL_DECODE = (sys.executable, "-m", "bench.full_decode_server")


@measurement("jpeg_speedup")
def jpeg_speedup(bench: Bench) -> Measured:
    """Measure images per second from JPEG, relative to the same server with full decode."""
    models = repository(bench, LITE0)
    with (
        serving(models, tuning_cache=bench.tuning_cache) as ours,
        serving(models, command=FULL_DECODE, tuning_cache=bench.tuning_cache) as full,
    ):
        if MARK not in full.process.first_lines():
            raise BenchError("the full decode is not in use; fix bench/full_decode_server.py")
        samples = {size: _compare(bench, size, ours, full) for size in SIZES}
    speedups = {size: ratio(s, "ours", "full_decode") for size, s in samples.items()}
    return Measured({"jpeg_speedup": speedups}, {"images_per_second": samples})


def _compare(bench: Bench, size: str, ours: Server, full: Server) -> dict[str, list[float]]:
    message = image_message(LITE0, jpeg(size))
    seconds = bench.seconds(3.0)

    def speed(server: Server) -> float:
        return server.saturate(
            message, bench.scratch, in_flight=IN_FLIGHT, seconds=seconds, warm_up=1.0
        ).per_second

    return interleave(bench.repetitions, ours=lambda: speed(ours), full_decode=lambda: speed(full))
