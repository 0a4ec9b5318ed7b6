"""What a number of images per second needs: requests, bytes, cores, replicas and money."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.scaling.figures import Work

__all__ = ["ASSUMPTIONS", "RATES", "Assumptions", "Need", "RayCost", "need", "ray_cost"]

RATES = (1_000, 10_000, 100_000, 1_000_000)
HOURS_PER_MONTH = 730


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """What isn't measured.

    Args:
        utilization: The share of the cores that are busy at the busiest hour.
        cores: The cores of a replica.
        images_per_request: The images of a request.
        core_hour: The price of a core for an hour, in dollars.
        link_gbit: The bits per second of a machine's network link, in units of 10^9.
        scrape_seconds: The time between two scrapes of a replica's metrics.
        clients: The processes that call, each of which connects to every replica.
        ray_us: The CPU time of a call through Ray Serve beyond that of one of the server, if
            `make scale` didn't measure it: as in docs/operations/ray.md, with one replica.
        proxy_us: The part of Ray's proxy in it.
    """

    utilization: float = 0.6
    cores: int = 8
    images_per_request: int = 1
    core_hour: float = 0.04
    link_gbit: float = 25.0
    scrape_seconds: float = 15.0
    clients: int = 200
    ray_us: float = 8500.0 - 490.0
    proxy_us: float = 3900.0


ASSUMPTIONS = Assumptions()


@dataclass(frozen=True, slots=True)
class Need:
    """What a number of images per second needs.

    Args:
        requests: The requests per second.
        gbit: The bits of requests per second, in units of 10^9.
        cores: The cores.
        replicas: The replicas, at least two.
        dollars: The price of a month.
    """

    requests: float
    gbit: float
    cores: float
    replicas: int
    dollars: float


@dataclass(frozen=True, slots=True)
class RayCost:
    """The CPU time of a call through Ray Serve beyond that of one of the server, in microseconds.

    Args:
        whole: Of all processes of Ray.
        proxy: Of its proxy, a part of the whole.
        is_measured: Whether `make scale` measured it; otherwise it is assumed.
    """

    whole: float
    proxy: float
    is_measured: bool


def ray_cost(
    jpeg: Work, scale: Mapping[str, Any], assumptions: Assumptions = ASSUMPTIONS
) -> RayCost:
    """Return what Ray Serve adds to a call.

    Args:
        jpeg: What the server takes for the JPEG that `make scale` sends through Ray.
        scale: The results of `make scale`.
        assumptions: What counts if these lack it.
    """
    if scale["ray"]["failure"]:
        return RayCost(assumptions.ray_us, assumptions.proxy_us, is_measured=False)
    proxy: float = scale["ray"]["details"]["proxy_us"]["jpeg"]
    served: float = scale["ray"]["figures"]["ray.jpeg"]["cpu_us"]["one"]
    return RayCost(max(proxy, served - jpeg.cpu_us), proxy, is_measured=True)


def need(work: Work, rate: float, assumptions: Assumptions = ASSUMPTIONS) -> Need:
    """Return what a number of images per second needs, if the load is even.

    Args:
        work: The kind of the requests.
        rate: The images per second.
        assumptions: What isn't measured.
    """
    cores = rate * work.cpu_us / 1e6 / assumptions.utilization
    replicas = max(2, math.ceil(cores / assumptions.cores))
    paid = replicas * assumptions.cores
    return Need(
        requests=rate / assumptions.images_per_request,
        gbit=8 * rate * work.request_bytes / 1e9,
        cores=cores,
        replicas=replicas,
        dollars=paid * assumptions.core_hour * HOURS_PER_MONTH,
    )
