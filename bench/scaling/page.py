"""The tables of docs/scaling.md, computed from the results of the bench and of the simulation."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from bench.performance_page import between
from bench.scaling.capacity import ASSUMPTIONS, RATES, Need, RayCost, need, ray_cost
from bench.scaling.figures import Parts, Work, parts, works

__all__ = ["with_tables"]

Document = Mapping[str, Any]
REPLICA_WORK = {
    "digits": "`digits`, 784 bytes, 64 in flight",
    "tensor": "EfficientNet-Lite0, tensor, 32 in flight",
    "jpeg": "EfficientNet-Lite0, JPEG 500×375, 32 in flight",
}


def with_tables(page: str, latest: Document, scale: Document, simulation: Document) -> str:
    """Return the page with all of its tables.

    Args:
        page: The page.
        latest: The results of `make bench`.
        scale: The results of `make scale`.
        simulation: The results of the simulation.

    Raises:
        ValueError: The page lacks a mark.
    """
    found = {work.name: work for work in works(latest, scale)}
    digits, jpeg = found["digits, tensor"], found["EfficientNet-Lite0, JPEG 500×375"]
    cost = ray_cost(jpeg, scale)
    tables = {
        "measured": _measured(latest, scale),
        "needs": _needs(list(found.values())),
        "parts": _parts(parts(latest, scale, cost.whole)),
        "fleet": _fleet(jpeg, cost, scale["bytes"]["details"]),
        "proxy": _proxy(cost, digits, jpeg),
        "replicas": _replicas(scale),
        "queue": _queue(scale, simulation),
        "rises": _rises(simulation),
        "days": _days(simulation),
    }
    for name, lines in tables.items():
        begin, end = f"<!-- scaling: {name} -->\n", f"<!-- /scaling: {name} -->\n"
        page = between(page, begin, end, "\n".join(lines))
    return page


def _table(*rows: Sequence[str]) -> Iterator[str]:
    head, *body = rows
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in body:
        yield f"| {' | '.join(row)} |"


def _measured(latest: Document, scale: Document) -> Iterator[str]:
    machine = latest["machine"]
    yield (
        f"Measured on {machine['cores']} cores of {machine['cpu']}, {latest['date'][:10]}, commit "
        f"{latest['git_commit'][:10]}; sizes by `make scale` on "
        f"{scale['bytes']['date'][:10]}, commit {scale['bytes']['git_commit'][:10]}.\n"
    )
    rows = [
        (work.name, _time(work.cpu_us), _bytes(work.request_bytes), f"`{work.command}`")
        for work in works(latest, scale)
    ]
    yield from _table(("one image per request", "CPU per image", "request", "command"), *rows)


def _needs(found: Sequence[Work]) -> Iterator[str]:
    rates = [f"{rate:,}/s" for rate in RATES]
    columns: Mapping[str, Callable[[Need], str]] = {
        f"cores, {ASSUMPTIONS.utilization:.0%} busy": lambda each: _count(each.cores),
        f"replicas of {ASSUMPTIONS.cores} cores": lambda each: f"{each.replicas:,}",
        "requests, Gbit/s": lambda each: _count(each.gbit),
        f"dollars per month at {ASSUMPTIONS.core_hour} per core-hour (example)": _dollars,
    }
    for title, cell in columns.items():
        rows = [(work.name, *(cell(need(work, rate)) for rate in RATES)) for work in found]
        yield from _table((title, *rates), *rows)
        yield ""


def _dollars(each: Need) -> str:
    return f"{float(f'{each.dollars:.2g}'):,.0f}"


def _parts(found: Sequence[Parts]) -> Iterator[str]:
    rows = [
        (
            each.name,
            *(
                f"{_time(value)}, {value / each.total:.0%}" if value else "–"
                for value in (each.network, each.decoding, each.messages, each.rest, each.ray)
            ),
            _time(each.total),
            each.largest,
            _count(1e9 * ASSUMPTIONS.link_gbit / 8 / each.request_bytes),
        )
        for each in found
    ]
    head = ("EfficientNet-Lite0", "network", "decoding", "messages", "batches and the rest", "Ray")
    last = f"images/s on {ASSUMPTIONS.link_gbit:g} Gbit/s"
    yield from _table((*head, "sum", "largest", last), *rows)


def _fleet(work: Work, cost: RayCost, bytes_: Document) -> Iterator[str]:
    """Show what else grows with a fleet."""
    needs = [need(work, rate) for rate in RATES]
    copies = [each.replicas for each in needs]

    def row(name: str, values: Sequence[float]) -> tuple[str, ...]:
        return name, *(_count(value) for value in values)

    def cores(used: float) -> list[float]:
        return [each.requests * used / 1e6 / ASSUMPTIONS.utilization for each in needs]

    rows = [
        row("requests per second", [each.requests for each in needs]),
        row("replicas", copies),
        row(
            f"links of {ASSUMPTIONS.link_gbit:g} Gbit/s",
            [_up(each.gbit / ASSUMPTIONS.link_gbit) for each in needs],
        ),
        row("with Ray Serve: further cores", cores(cost.whole)),
        row("of these, for Ray's proxies", cores(cost.proxy)),
        row(
            f"connections of {ASSUMPTIONS.clients} clients, each to all replicas",
            [ASSUMPTIONS.clients * number for number in copies],
        ),
        row(
            "calls in flight on each of these, at 50 ms",
            [
                each.requests * 0.05 / (ASSUMPTIONS.clients * number)
                for each, number in zip(needs, copies, strict=True)
            ],
        ),
        row("access log, MB/s", [each.requests * bytes_["log_per_call"] / 1e6 for each in needs]),
        row("time series of metrics", [number * bytes_["series"] for number in copies]),
        row(
            f"scraped every {ASSUMPTIONS.scrape_seconds:g} s, MB/s",
            [number * bytes_["scrape"] / ASSUMPTIONS.scrape_seconds / 1e6 for number in copies],
        ),
        row("copied for a new version, GB", [number * bytes_["bundle"] / 1e9 for number in copies]),
    ]
    yield from _table(("", *(f"{rate:,} images/s" for rate in RATES)), *rows)


def _proxy(cost: RayCost, digits: Work, jpeg: Work) -> Iterator[str]:
    origin = (
        "measured by `make scale` with JPEG images of 500×375"
        if cost.is_measured
        else "an assumption: it is [the measurement](operations/ray.md#what-a-call-costs) of "
        "`digits` on a machine that other programs kept busy, so it may be too high"
    )
    yield (
        f"A call through Ray Serve takes **{_time(cost.whole)}** of CPU time more than one of the "
        f"server, {_time(cost.proxy)} of it in the process of Ray's proxy ({origin}). For "
        f"EfficientNet-Lite0 and a JPEG of 500×375 that is {cost.whole / jpeg.cpu_us:.0%} more "
        f"CPU time, and for `digits` it is {cost.whole / digits.cpu_us:.0f} times that of the "
        f"call. One proxy is fully busy at {1e6 / cost.proxy:.0f} calls per second."
    )


def _replicas(scale: Document) -> Iterator[str]:
    runs = {kind: scale[kind] for kind in ("workers", "ray")}
    rows = [
        _replica_row(kind, key.partition(".")[2], figure, run["details"])
        for kind, run in runs.items()
        for key, figure in run["figures"].items()
    ]
    if rows:
        head = ("", "one", "two", "ratio", "spread", "CPU per call, one", "CPU per call, two")
        yield from _table(head, *rows)
        yield ""
    for kind, run in runs.items():
        yield f"- {kind}: {_origin(run)}"
    for work, used in runs["ray"]["details"].get("proxy_us", {}).items():
        yield f"- Ray's proxy alone: {_time(used)} of CPU per call, {REPLICA_WORK[work]}"


def _replica_row(
    kind: str, work: str, figure: Mapping[str, Any], details: Document
) -> tuple[str, ...]:
    rates = (f"{median(details[work][side]['value']):,.0f}/s" for side in ("one", "two"))
    spread = "" if figure["low"] is None else f"{figure['low']:.2f}–{figure['high']:.2f}"
    used = (_time(figure["cpu_us"][side]) for side in ("one", "two"))
    return f"{kind}, {REPLICA_WORK[work]}", *rates, f"{figure['value']:.2f}", spread, *used


def _origin(run: Document) -> str:
    """Return where and when something was measured, or why it wasn't."""
    if run["failure"]:
        return f"not measured: {' '.join(run['failure'].split())}"
    machine = run["machine"]
    return (
        f"{machine['cores']} cores of {machine['cpu']}, {run['date'][:10]}, commit "
        f"{run['git_commit'][:10]}"
    )


def _queue(scale: Document, simulation: Document) -> Iterator[str]:
    rows = [
        (
            f"{load['rate']:.0f}/s, {load['utilization']:.0%}",
            *(f"{load[side]['p50_ms']:.0f} ms" for side in ("measured", "simulated")),
            *(f"{load[side]['p99_ms']:.0f} ms" for side in ("measured", "simulated")),
        )
        for load in scale["queue"]["details"].get("loads", [])
    ]
    if rows:
        head = ("load", "p50, measured", "p50, simulated", "p99, measured", "p99, simulated")
        yield from _table(head, *rows)
        yield ""
    yield f"- {_origin(scale['queue'])}"
    yield f"- the picture: {_service(simulation)}"


def _service(simulation: Document) -> str:
    """Say where the times of a simulation come from."""
    service = simulation["service"]
    batch, image = (1e6 * service[f"{each}_seconds"] for each in ("batch", "image"))
    times = f"{_time(batch)} for a batch and {_time(image)} for each of its images"
    variation = f"with a variation of {service['variation']:.2g}"
    if service["is_measured"]:
        return f"simulated with measured times, {times}, {variation}"
    return f"simulated with assumed times, not with measured ones: {times}, {variation}"


def _rises(simulation: Document) -> Iterator[str]:
    rows = [
        (
            f"{each['start_seconds']:.0f} s",
            f"{each['p50_ms']:.0f} ms",
            f"{each['p99_ms']:.0f} ms",
            f"{each['failed_share']:.1%}",
            f"{each['most_replicas']}",
        )
        for each in simulation["rises"]
    ]
    yield from _table(("a replica starts in", "p50", "p99", "failed", "most replicas"), *rows)
    yield ""
    yield f"- {_service(simulation)}"


def _days(simulation: Document) -> Iterator[str]:
    rows = [
        (
            each["fleet"],
            f"{each['replica_hours']:.0f}",
            f"{each['p50_ms']:.0f} ms",
            f"{each['p99_ms']:.0f} ms",
            f"{each['failed_share']:.3%}",
        )
        for each in simulation["days"]
    ]
    yield from _table(("fleet", "replica-hours", "p50", "p99", "failed"), *rows)
    yield ""
    yield f"- {_service(simulation)}"


def _up(value: float) -> float:
    return float(max(1, -int(-value // 1)))


def _count(value: float) -> str:
    """Round to two digits below 10, and to whole numbers above."""
    if value >= 10:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.2g}"


def _time(microseconds: float) -> str:
    if microseconds >= 1000:
        return f"{microseconds / 1000:.1f} ms"
    return f"{microseconds:.0f} µs"


def _bytes(size: int) -> str:
    return f"{size:,} B" if size < 10_000 else f"{size / 1000:,.0f} kB"
