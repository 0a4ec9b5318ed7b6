"""Measure the benefit of decoding JPEGs at the required scale."""

import sys

from bench.bundles import LITE0, repository
from bench.context import Bench
from bench.errors import BenchError
from bench.full_decode_server import MARK
from bench.photos import SIZES, image_message, jpeg
from bench.registry import Measured, measurement
from bench.sampling import Sample, Samples
from bench.servers import Server, serving

IN_FLIGHT = 16
# A large photo takes so long that a short window would have too few replies.
SECONDS = {"500x375": 1.5, "1024x768": 1.5, "4000x3000": 4.0}
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
    return Measured(
        {f"jpeg_speedup.{size}": s.ratio("ours", "full_decode") for size, s in samples.items()},
        {size: s.details() for size, s in samples.items()},
    )


def _compare(bench: Bench, size: str, ours: Server, full: Server) -> Samples:
    message = image_message(LITE0, jpeg(size))
    seconds = bench.seconds(SECONDS[size])

    def speed(server: Server) -> Sample:
        return server.saturate(message, bench.scratch, in_flight=IN_FLIGHT, seconds=seconds).rate()

    return bench.interleave(ours=lambda: speed(ours), full_decode=lambda: speed(full))
