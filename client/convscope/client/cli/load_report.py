"""The report of a load, for a person and for a program."""

import math
import shutil
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

from convscope.client.cli.load import Load, LoadResult
from convscope.client.cli.readable import readable
from convscope.client.cli.watch_view import duration

__all__ = ["as_json", "report"]

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
STAGES = ("decode", "queue", "infer", "encode")
BARS = 12
BAR_WIDTH = 40
BESIDE_BAR = 28  # columns for a latency and a count
EIGHTHS = " ▏▎▍▌▋▊▉█"
# From this share of a core on, an event loop has no time left.
BUSY_CLIENT = 0.85


def report(server: str, load: Load, result: LoadResult) -> Iterator[str]:
    """Yield the lines of a report."""
    first = result.first
    how = f"{load.rate:g} requests/s" if load.rate is not None else f"{load.concurrency} at a time"
    yield (
        f"{first.model} v{first.version} on {first.provider} at {server}, {how} for "
        f"{result.seconds:.1f} s"
    )
    yield ""
    rate = len(result.latencies) / result.seconds if result.seconds else 0.0
    yield f"answered  {len(result.latencies):,}, {rate:,.1f}/s"
    yield f"failed    {result.errors.total():,}{_codes(result)}"
    if result.message:
        yield f"          first: {readable(result.message)}"
    if result.unsent:
        yield f"not sent  {result.unsent:,}: too many requests were unanswered"
    if result.latencies:
        figures = _quantiles(sorted(result.latencies))
        shown = "   ".join(f"{name} {duration(value)}" for name, value in figures.items())
        yield f"latency   {shown}"
        yield ""
        yield from _histogram(result.latencies)
        yield ""
        means = _stage_means(result)
        stages = " · ".join(f"{name} {duration(value)}" for name, value in means.items())
        yield f"server    {stages} (mean)"
    yield from _client(load, result)


def as_json(server: str, load: Load, result: LoadResult) -> dict[str, Any]:
    """Return a report as a JSON object; times are in seconds."""
    latencies = sorted(result.latencies)
    return {
        "server": server,
        "model": result.first.model,
        "version": result.first.version,
        "provider": result.first.provider,
        "concurrency": None if load.rate is not None else load.concurrency,
        "rate": load.rate,
        "seconds": result.seconds,
        "answered": len(latencies),
        "answered_per_second": len(latencies) / result.seconds if result.seconds else 0.0,
        "errors": dict(result.errors),
        "not_sent": result.unsent,
        "latency_seconds": _quantiles(latencies) if latencies else None,
        "server_stage_seconds": _stage_means(result) if latencies else None,
        "client_cores": _client_cores(result),
        "client_is_bottleneck": _client_cores(result) > BUSY_CLIENT,
    }


def _codes(result: LoadResult) -> str:
    codes = ", ".join(f"{code} {count:,}" for code, count in result.errors.most_common())
    return f": {codes}" if codes else ""


def _quantiles(latencies: Sequence[float]) -> dict[str, float]:
    """Return the figures of sorted latencies."""
    middle = {
        name: latencies[min(len(latencies) - 1, math.ceil(share * len(latencies)) - 1)]
        for name, share in QUANTILES.items()
    }
    return {"min": latencies[0], **middle, "max": latencies[-1]}


def _stage_means(result: LoadResult) -> dict[str, float]:
    return {name: fmean(getattr(each, name) for each in result.stages) for name in STAGES}


def _histogram(latencies: Sequence[float]) -> Iterator[str]:
    """Yield a line for each range of latencies; all ranges have the same ratio of their ends."""
    low, high = min(latencies), max(latencies)
    ratio = (high / low) ** (1 / BARS) if high > low else 1.0
    ends = [low * ratio ** (step + 1) for step in range(BARS)] if ratio > 1.001 else [high]
    counts = [0] * len(ends)
    for latency in latencies:
        index = int(math.log(latency / low) / math.log(ratio)) if len(ends) > 1 else 0
        counts[min(index, len(ends) - 1)] += 1
    largest = max(counts)
    width = min(BAR_WIDTH, max(0, shutil.get_terminal_size().columns - BESIDE_BAR))
    for end, count in zip(ends, counts, strict=True):
        yield f"  up to {duration(end):>8}  {_bar(count / largest, width)} {count:,}".rstrip()


def _bar(share: float, width: int) -> str:
    eighths = round(share * width * 8)
    if share and width and not eighths:
        eighths = 1
    whole, rest = divmod(eighths, 8)
    return "█" * whole + EIGHTHS[rest].strip()


def _client_cores(result: LoadResult) -> float:
    return result.client_cpu_seconds / result.seconds if result.seconds else 0.0


def _client(load: Load, result: LoadResult) -> Iterator[str]:
    cores = _client_cores(result)
    yield f"client    {cores:.0%} of one core, with one connection and one event loop"
    if cores > BUSY_CLIENT:
        yield (
            "          The client is the bottleneck: the server may be faster than this. Run "
            "several at once."
        )
    elif load.rate is not None and result.done + result.unsent < 0.95 * load.rate * result.seconds:
        yield "          The client didn't reach the rate."
