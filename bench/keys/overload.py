"""Measure the goodput of the server at three times its capacity."""

from statistics import median
from typing import Any

from bench.bundles import LITE0, repository
from bench.context import Bench, interleave
from bench.openloads import closed, opened
from bench.photos import image_message, jpeg
from bench.registry import Measured, measurement
from bench.servers import serving

OVERLOAD = 3.0
DEADLINE_SECONDS = 0.5
IN_FLIGHT = 32


@measurement("overload_goodput")
def overload_goodput(bench: Bench) -> Measured:
    """Measure the replies within the deadline at three times the capacity, relative to the peak."""
    message, scratch = image_message(LITE0, jpeg("500x375")), bench.scratch
    seconds = bench.seconds(6.0)
    overloads: list[dict[str, Any]] = []
    with serving(repository(bench, LITE0), tuning_cache=bench.tuning_cache) as server:

        def peak() -> float:
            answer = closed(
                server,
                message,
                scratch,
                in_flight=IN_FLIGHT,
                seconds=seconds,
                deadline_seconds=DEADLINE_SECONDS,
            )
            return float(answer["goodput"])

        def overloaded() -> float:
            answer = opened(
                server,
                message,
                scratch,
                rate=OVERLOAD * capacity,
                seconds=seconds,
                deadline_seconds=DEADLINE_SECONDS,
                seed=len(overloads),
            )
            overloads.append(answer)
            return float(answer["goodput"])

        capacity = peak()
        samples = interleave(bench.repetitions, peak=peak, overloaded=overloaded)
    goodput = median(samples["overloaded"])
    # If there were more replies under overload, the measured peak was too low.
    best = max(capacity, median(samples["peak"]), goodput)
    return Measured(
        {"overload_goodput": goodput / best},
        {
            "answers_per_second": samples,
            "offered_per_second": OVERLOAD * capacity,
            "deadline_seconds": DEADLINE_SECONDS,
            "overloads": overloads,
        },
    )
