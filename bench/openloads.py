"""Run the open and closed loops of `bench.openloop` in a separate process."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.cpu import Usage, Watch
from bench.errors import BenchError
from bench.processes import run_worker
from bench.sampling import Sample
from bench.servers import CLASSIFY, Server

__all__ = ["Outcome", "closed", "opened", "recording"]

TIMEOUT_SECONDS = 40.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a loop.

    Args:
        figures: What `bench.openloop` returned.
        usage: The CPU time of `server` during the loop.
    """

    figures: dict[str, Any]
    usage: Usage

    def p99_ms(self) -> Sample:
        """Return the p99 of the successful calls in milliseconds.

        Raises:
            BenchError: No call succeeded.
        """
        if self.figures["p99_seconds"] is None:
            raise BenchError(f"no call succeeded: {self.figures['codes']}")
        return self._sample(1000 * self.figures["p99_seconds"])

    def rejection_p99_ms(self) -> Sample:
        """Return the p99 of the rejected calls in milliseconds.

        Raises:
            BenchError: No call was rejected.
        """
        if self.figures["shed_p99_seconds"] is None:
            raise BenchError(f"no call was rejected: {self.figures['codes']}")
        return self._sample(1000 * self.figures["shed_p99_seconds"])

    def goodput(self) -> Sample:
        """Return the successful calls per second that met their deadline."""
        return self._sample(self.figures["goodput"])

    def _sample(self, value: float) -> Sample:
        calls = sum(self.figures["codes"].values())
        cpu_us = 1e6 * self.usage.cpu_seconds["server"] / calls if calls else None
        return Sample(value, self.usage.others, cpu_us, self.figures["generator_cores"])


def opened(
    server: Server,
    message: bytes,
    scratch: Path,
    *,
    rate: float,
    seconds: float,
    deadline_seconds: float,
    seed: int = 0,
    method: str = CLASSIFY,
) -> Outcome:
    """Make calls at an average rate. Each deadline counts from the scheduled start."""
    extra = {"rate": rate, "seed": seed, "method": method}
    return _run(server, message, scratch, seconds, deadline_seconds, extra)


def closed(
    server: Server,
    message: bytes,
    scratch: Path,
    *,
    in_flight: int,
    seconds: float,
    deadline_seconds: float,
    metadata: Mapping[str, str] | None = None,
) -> Outcome:
    """Keep a number of calls in flight, with the same client as the open loop."""
    extra = {"in_flight": in_flight, "method": CLASSIFY, "metadata": dict(metadata or {})}
    return _run(server, message, scratch, seconds, deadline_seconds, extra)


def recording(
    outcomes: list[dict[str, Any]], load: Callable[[], Outcome], value: Callable[[Outcome], Sample]
) -> Callable[[], Sample]:
    """Return a side of a comparison that also appends the figures of each outcome to a list."""

    def measure() -> Sample:
        outcome = load()
        outcomes.append(outcome.figures)
        return value(outcome)

    return measure


def _run(
    server: Server,
    message: bytes,
    scratch: Path,
    seconds: float,
    deadline_seconds: float,
    extra: dict[str, Any],
) -> Outcome:
    body = scratch / f"{extra['method'].rpartition('/')[2]}.body"
    body.write_bytes(message)
    task = {
        "target": server.target,
        "body": str(body),
        "seconds": seconds,
        "deadline_seconds": deadline_seconds,
        **extra,
    }
    timeout = seconds + deadline_seconds + TIMEOUT_SECONDS
    watch = Watch(server=[server.process.pid])
    figures = run_worker("bench.openloop", task, seconds=timeout)
    return Outcome(figures, watch.read())
