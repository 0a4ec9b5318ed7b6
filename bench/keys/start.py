"""Measure the time to readiness and the memory after it."""

from bench.bundles import LITE0, repository
from bench.context import Bench
from bench.cpu import Watch
from bench.memory import resident_mb
from bench.registry import Measured, measurement
from bench.sampling import Sample, figure
from bench.servers import serving


@measurement("ready_seconds")
def ready(bench: Bench) -> Measured:
    """Measure start to readiness with EfficientNet-Lite0 and a filled tuning cache."""
    models = repository(bench, LITE0)
    # The first start measures the runners and threads and stores the choice.
    with serving(models, tuning_cache=bench.tuning_cache) as first:
        first_seconds = first.ready_seconds
    memory: list[float] = []

    def start() -> Sample:
        watch = Watch()
        with serving(models, tuning_cache=bench.tuning_cache) as server:
            others = watch.read().others
            memory.append(resident_mb(server.process.pid))
            return Sample(server.ready_seconds, others)

    samples = bench.interleave(start=start)
    return Measured(
        {"ready_seconds": samples.level("start"), "idle_rss_mb": figure(memory)},
        {
            "first_start_seconds": first_seconds,
            "ready_seconds": samples.details(),
            "idle_rss_mb": memory,
        },
    )
