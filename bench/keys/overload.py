"""Measure the server at several times its capacity."""

from typing import Any

from grpc_health.v1 import health_pb2

from bench.background import meanwhile
from bench.bundles import LITE0, repository
from bench.context import Bench
from bench.openloads import Outcome, closed, opened, recording
from bench.photos import image_message, jpeg
from bench.registry import Measured, measurement
from bench.sampling import Sample, figure
from bench.servers import Server, serving

DEADLINE_SECONDS = 0.5
IN_FLIGHT = 32
OVERLOAD = 5.0
CHECK = "grpc.health.v1.Health/Check"
CHECKS_PER_SECOND = 50.0
CHECK_DEADLINE_SECONDS = 5.0
# The overload begins before the health checks, and ends after them.
LEAD_SECONDS = 2.0


@measurement("overload_goodput")
def overload_goodput(bench: Bench) -> Measured:
    """Measure the replies within the deadline at five times the capacity, relative to the peak."""
    seconds = bench.seconds(4.0)
    overloads: list[dict[str, Any]] = []
    rejections: list[float] = []
    with serving(repository(bench, LITE0), tuning_cache=bench.tuning_cache) as server:
        capacity = _capacity(bench, server, seconds)

        def peak() -> Sample:
            return _closed(bench, server, seconds).goodput()

        def overloaded() -> Outcome:
            rate = OVERLOAD * capacity
            outcome = _overload(bench, server, rate, seconds, len(overloads))
            if outcome.figures["shed"]:
                rejections.append(outcome.rejection_p99_ms().value)
            return outcome

        samples = bench.interleave(
            peak=peak, overloaded=recording(overloads, overloaded, Outcome.goodput)
        )
    figures = {"overload_goodput": samples.ratio("overloaded", "peak")}
    if rejections:
        figures["rejection_ms_under_overload"] = figure(rejections)
    return Measured(
        figures,
        {
            "replies_per_second": samples.details(),
            "offered_per_second": OVERLOAD * capacity,
            "deadline_seconds": DEADLINE_SECONDS,
            "overloads": overloads,
        },
    )


@measurement("health_ms_under_overload")
def health_under_overload(bench: Bench) -> Measured:
    """Measure the p99 of health checks at five times the capacity."""
    seconds = bench.seconds(4.0)
    outcomes: list[dict[str, Any]] = []
    overloads: list[dict[str, Any]] = []
    check = health_pb2.HealthCheckRequest().SerializeToString()
    with serving(repository(bench, LITE0), tuning_cache=bench.tuning_cache) as server:
        rate = OVERLOAD * _capacity(bench, server, seconds)

        def overload() -> None:
            outcome = _overload(bench, server, rate, seconds + LEAD_SECONDS, len(overloads))
            overloads.append(outcome.figures)

        def checked() -> Outcome:
            with meanwhile(overload):
                return opened(
                    server,
                    check,
                    bench.scratch,
                    rate=CHECKS_PER_SECOND,
                    seconds=seconds,
                    deadline_seconds=CHECK_DEADLINE_SECONDS,
                    method=CHECK,
                )

        samples = bench.interleave(health=recording(outcomes, checked, Outcome.p99_ms))
    return Measured(
        {"health_ms_under_overload": samples.level("health")},
        {
            "p99_ms": samples.details(),
            "checks": outcomes,
            "overloads": overloads,
            "offered_per_second": rate,
        },
    )


def _capacity(bench: Bench, server: Server, seconds: float) -> float:
    return _closed(bench, server, seconds).goodput().value


def _closed(bench: Bench, server: Server, seconds: float) -> Outcome:
    return closed(
        server,
        image_message(LITE0, jpeg("500x375")),
        bench.scratch,
        in_flight=IN_FLIGHT,
        seconds=seconds,
        deadline_seconds=DEADLINE_SECONDS,
    )


def _overload(bench: Bench, server: Server, rate: float, seconds: float, seed: int) -> Outcome:
    return opened(
        server,
        image_message(LITE0, jpeg("500x375")),
        bench.scratch,
        rate=rate,
        seconds=seconds,
        deadline_seconds=DEADLINE_SECONDS,
        seed=seed,
    )
