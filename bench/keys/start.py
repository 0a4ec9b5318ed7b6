"""Measure the time to readiness and the memory after it."""

from statistics import median

from bench.bundles import LITE0, repository
from bench.context import Bench, interleave
from bench.memory import resident_mb
from bench.registry import Measured, measurement
from bench.servers import serving


@measurement("ready_seconds")
def ready(bench: Bench) -> Measured:
    """Measure start to readiness with EfficientNet-Lite0 and a filled tuning cache."""
    models = repository(bench, LITE0)
    # The first start measures the runners and threads and stores the choice.
    with serving(models, tuning_cache=bench.tuning_cache) as first:
        first_seconds = first.ready_seconds
    memory: list[float] = []

    def start() -> float:
        with serving(models, tuning_cache=bench.tuning_cache) as server:
            memory.append(resident_mb(server.process.pid))
            return server.ready_seconds

    samples = interleave(bench.repetitions, ready_seconds=start)
    return Measured(
        {"ready_seconds": median(samples["ready_seconds"]), "idle_rss_mb": median(memory)},
        {"first_start_seconds": first_seconds, **samples, "idle_rss_mb": memory},
    )
