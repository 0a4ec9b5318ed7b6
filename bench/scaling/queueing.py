"""Measure a server's latency at several loads, and compare it with the simulation."""

from functools import partial
from statistics import median
from typing import Any

import numpy as np

from bench.bundles import LITE0, repository
from bench.context import Bench
from bench.loads import Loop
from bench.openloads import Outcome, opened, recording
from bench.registry import Measured
from bench.sampling import Sample
from bench.scaling.arrivals import arrivals, constant
from bench.scaling.fleet import Fleet, ReplicaModel
from bench.scaling.replicas import LOADS, ONE_CORE
from bench.servers import Server, serving

__all__ = ["predict", "queueing"]

UTILIZATIONS = (0.3, 0.5, 0.7, 0.85)
BATCH = 4
IN_FLIGHT = 16
SECONDS = 12.0
DEADLINE_SECONDS = 5.0
SIMULATED_IMAGES = 100_000


def queueing(bench: Bench) -> Measured:
    """Measure EfficientNet-Lite0 on one core, with batches of up to four tensors.

    The times of a batch follow from the rates of full batches of one and of four; what a single
    call takes beyond a batch of one is spent elsewhere. The simulation knows nothing else.
    """
    models, message = repository(bench, LITE0), LOADS["tensor"].message()
    outcomes: dict[str, list[dict[str, Any]]] = {f"{share:.2f}": [] for share in UTILIZATIONS}
    with (
        serving(models, *ONE_CORE, "--max-batch", "1", tuning_cache=bench.tuning_cache) as single,
        serving(
            models, *ONE_CORE, "--max-batch", str(BATCH), tuning_cache=bench.tuning_cache
        ) as server,
    ):
        service = _service(bench, single, server, message)
        capacity = service["capacity"]

        def load(share: float) -> Outcome:
            name = f"{share:.2f}"
            return opened(
                server,
                message,
                bench.scratch,
                rate=share * capacity,
                seconds=bench.seconds(SECONDS),
                deadline_seconds=DEADLINE_SECONDS,
                seed=len(outcomes[name]),
            )

        sides = {
            name: recording(found, partial(load, float(name)), Outcome.p99_ms)
            for name, found in outcomes.items()
        }
        samples = bench.interleave(3, **sides)
    loads = [
        {
            "utilization": float(name),
            "rate": float(name) * capacity,
            "measured": {
                "p50_ms": 1000 * median(one["p50_seconds"] for one in found),
                "p99_ms": 1000 * median(one["p99_seconds"] for one in found),
            },
            "simulated": predict(service, float(name) * capacity),
        }
        for name, found in outcomes.items()
    ]
    return Measured({}, {"service": service, "loads": loads, "p99_ms": samples.details()})


def predict(service: dict[str, float], rate: float) -> dict[str, float]:
    """Simulate a replica with one runner at a rate, and return the quantiles in milliseconds."""
    model = ReplicaModel(
        runners=1,
        max_batch=BATCH,
        batch_seconds=service["batch_seconds"],
        image_seconds=service["image_seconds"],
        variation=service["variation"],
    )
    seconds = SIMULATED_IMAGES / rate
    found = Fleet(model, 1).run(arrivals(constant(rate), seconds, seed=0), seconds)
    elsewhere = 1000 * service["elsewhere_seconds"]
    return {
        "p50_ms": found.quantile_ms(0.5) + elsewhere,
        "p99_ms": found.quantile_ms(0.99) + elsewhere,
    }


def _service(bench: Bench, single: Server, server: Server, message: bytes) -> dict[str, float]:
    """Measure the times of batches: each twice in alternation, the faster one counts."""
    alone: list[Loop] = []
    rates: dict[str, list[float]] = {"single": [], "full": []}

    def rate(of: Server, name: str) -> Sample:
        sample = of.saturate(
            message, bench.scratch, in_flight=IN_FLIGHT, seconds=bench.seconds(4.0)
        ).rate()
        rates[name].append(sample.value)
        return sample

    def lone() -> Sample:
        loop = server.saturate(message, bench.scratch, in_flight=1, seconds=bench.seconds(4.0))
        alone.append(loop)
        return loop.latency_ms()

    bench.interleave(
        3, single=lambda: rate(single, "single"), full=lambda: rate(server, "full"), lone=lone
    )
    one, four = 1 / median(rates["single"]), BATCH / median(rates["full"])
    fixed = max(0.0, (BATCH * one - four) / (BATCH - 1))
    latencies = np.array([call.seconds for loop in alone for call in loop.calls])
    low, middle, high = np.quantile(latencies, (0.1, 0.5, 0.9)).tolist()
    return {
        "batch_seconds": fixed,
        "image_seconds": (four - fixed) / BATCH,
        # The distance between these quantiles of a normal distribution, in standard deviations.
        "variation": (high - low) / 2.563 / middle,
        "elsewhere_seconds": max(0.0, middle - one),
        "capacity": median(rates["full"]),
    }
