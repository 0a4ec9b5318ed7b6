"""What the page simulates: loads, a sudden rise, and a day."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from bench.scaling.arrivals import Rate, arrivals, constant, daily, step
from bench.scaling.autoscaler import Autoscaler, Policy
from bench.scaling.fleet import Balancing, Fleet, ReplicaModel, Result

__all__ = ["curves", "day", "rise", "simulate_all"]

UTILIZATIONS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
CURVE_IMAGES = 80_000
# The same eight cores.
LAYOUTS: dict[str, tuple[int, int, Balancing]] = {
    "4 replicas of 2 cores, at random": (4, 2, "random"),
    "4 replicas of 2 cores, the less loaded of two": (4, 2, "less loaded of two"),
    "1 replica of 8 cores": (1, 8, "random"),
}
START_SECONDS = (5.0, 30.0, 120.0)
RISE_SECONDS = 900.0
BUCKET_SECONDS = 10.0
# A day in three hours: the load changes eight times as fast, which is harder for an autoscaler.
DAY_SECONDS = 10_800.0
DEADLINE_SECONDS = 1.0
QUEUE = 256  # the default of --max-queue


def simulate_all(service: Mapping[str, Any]) -> dict[str, Any]:
    """Run every simulation of the page.

    Args:
        service: The `batch_seconds`, `image_seconds` and `variation` of EfficientNet-Lite0 on
            one core with batches of up to four, in the result with whatever else is known of
            them.
    """
    model = ReplicaModel(
        runners=2,
        max_batch=4,
        batch_seconds=service["batch_seconds"],
        image_seconds=service["image_seconds"],
        variation=service["variation"],
        max_queue=QUEUE,
        deadline_seconds=DEADLINE_SECONDS,
    )
    return {
        "service": dict(service),
        "curves": curves(model),
        "rises": rise(model),
        "days": day(model),
    }


def curves(model: ReplicaModel) -> list[dict[str, Any]]:
    """Simulate steady loads on eight cores, divided in several ways."""
    rows = []
    for name, (replicas, runners, balancing) in LAYOUTS.items():
        each = replace(model, runners=runners, deadline_seconds=float("inf"), max_queue=10**9)
        for utilization in UTILIZATIONS:
            rate = utilization * replicas * each.capacity
            seconds = CURVE_IMAGES / rate
            fleet = Fleet(each, replicas, balancing=balancing)
            found = fleet.run(arrivals(constant(rate), seconds, seed=1), seconds)
            rows.append(
                {
                    "layout": name,
                    "utilization": utilization,
                    "p50_ms": found.quantile_ms(0.5),
                    "p99_ms": found.quantile_ms(0.99),
                }
            )
    return rows


def rise(model: ReplicaModel) -> list[dict[str, Any]]:
    """Simulate three times the load within a minute, for replicas that start fast or slowly."""
    before = 0.5 * 2 * model.capacity
    rate = step(before, 3 * before, begins=120.0, rise_seconds=60.0)
    rows = []
    for start_seconds in START_SECONDS:
        each = replace(model, start_seconds=start_seconds)
        found = _autoscaled(each, Policy(), rate, RISE_SECONDS)
        rows.append(
            {
                "start_seconds": start_seconds,
                "replica_capacity": each.capacity,
                **_summary(found),
                "timeline": _timeline(found, rate, each.capacity),
            }
        )
    return rows


def day(model: ReplicaModel) -> list[dict[str, Any]]:
    """Simulate a day with an autoscaler by queue and CPU, by one of them, and with none."""
    each = replace(model, runners=1, start_seconds=30.0)
    rate = daily(2.5 * each.capacity, 0.8, period_seconds=DAY_SECONDS)
    peak = 2.5 * 1.8  # the replicas that are busy at the busiest time
    policy = Policy()
    fleets: dict[str, tuple[int, Policy | None]] = {
        "a fixed fleet for 60% at the peak": (round(peak / 0.6), None),
        "queue time and CPU": (2, policy),
        "CPU alone": (2, replace(policy, queue_ms=None)),
        "queue time alone": (2, replace(policy, cpu=None)),
    }
    rows = []
    for name, (replicas, used) in fleets.items():
        if used is None:
            found = Fleet(each, replicas).run(arrivals(rate, DAY_SECONDS, seed=3), DAY_SECONDS)
        else:
            found = _autoscaled(each, used, rate, DAY_SECONDS, replicas)
        samples = [[one.at, one.ready, one.replicas] for one in found.samples[::8]]
        offered = [[at, rate(at)] for at in np.arange(0.0, DAY_SECONDS + 1, 120.0).tolist()]
        rows.append(
            {
                "fleet": name,
                "replica_capacity": each.capacity,
                **_summary(found),
                "samples": samples,
                "offered": offered,
            }
        )
    return rows


def _autoscaled(
    model: ReplicaModel, policy: Policy, rate: Rate, seconds: float, replicas: int = 2
) -> Result:
    fleet = Fleet(model, replicas, autoscaler=Autoscaler(policy))
    return fleet.run(arrivals(rate, seconds, seed=2), seconds)


def _summary(found: Result) -> dict[str, Any]:
    ready = [sample.ready for sample in found.samples]
    return {
        "images": found.arrived,
        "p50_ms": found.quantile_ms(0.5),
        "p99_ms": found.quantile_ms(0.99),
        "failed": len(found.failed),
        "failed_share": found.failed_share,
        "rejected": found.rejected,
        "most_replicas": max(ready, default=0),
        "replica_hours": found.replica_seconds / 3600,
    }


def _timeline(found: Result, rate: Rate, capacity: float) -> list[dict[str, float | None]]:
    """Return the load, the capacity, the p99 and the failures in intervals of ten seconds."""
    edges = np.arange(0.0, found.seconds + BUCKET_SECONDS, BUCKET_SECONDS)
    answered, latencies = np.array(found.answered), np.array(found.latencies)
    failed, _ = np.histogram(found.failed, edges)
    rows: list[dict[str, float | None]] = []
    for start, failures in zip(edges[:-1].tolist(), failed.tolist(), strict=True):
        own = latencies[(answered >= start) & (answered < start + BUCKET_SECONDS)]
        before = [sample.ready for sample in found.samples if sample.at <= start + BUCKET_SECONDS]
        rows.append(
            {
                "at": start,
                "offered": rate(start + BUCKET_SECONDS / 2),
                "capacity": capacity * (before[-1] if before else 2),
                "p99_ms": 1000 * float(np.quantile(own, 0.99)) if len(own) else None,
                "failed_per_second": failures / BUCKET_SECONDS,
            }
        )
    return rows
