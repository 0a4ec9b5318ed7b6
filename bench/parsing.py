"""Parse the output of h2load and of Prometheus metrics."""

import re
from dataclasses import dataclass

from bench.errors import BenchError

__all__ = [
    "Answered",
    "Call",
    "parse_h2load",
    "parse_log",
    "parse_metrics",
    "steady_rate",
]

_COUNTS = re.compile(
    r"requests: (?P<total>\d+) total, .*?(?P<succeeded>\d+) succeeded, (?P<failed>\d+) failed, "
    r"(?P<errored>\d+) errored, (?P<timeout>\d+) timeout"
)
_STATUS = re.compile(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx")
_SAMPLE = re.compile(r"^([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

# Replies within this time count as one burst.
BURST_SECONDS = 0.005

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answered:
    """The number of completed calls.

    Args:
        succeeded: The number of calls with an HTTP status 2xx.
        failed: The number of other calls.
    """

    succeeded: int
    failed: int


def parse_h2load(text: str) -> Answered:
    """Parse h2load's summary.

    Raises:
        BenchError: The text has no summary.
    """
    counts, status = _COUNTS.search(text), _STATUS.search(text)
    if counts is None or status is None:
        raise BenchError(f"h2load printed no summary: {text.strip()[-300:]}")
    good, *bad = (int(number) for number in status.groups())
    failed = sum(bad) + int(counts["errored"]) + int(counts["timeout"])
    return Answered(good, failed)


def steady_rate(ended: list[float]) -> float:
    """Return the calls per second, given the times at which they ended.

    A server that runs batches replies in bursts. The number of bursts in a window depends on
    where the window begins, so calls are counted from the end of the first burst to the end of
    the last.
    """
    times = sorted(ended)
    if not times or times[-1] - times[0] < BURST_SECONDS:
        return 0.0
    later = [time for time in times if time > times[0] + BURST_SECONDS]
    return len(later) / (times[-1] - times[0])


@dataclass(frozen=True, slots=True)
class Call:
    """One completed call: its end, in seconds since the epoch, and its duration in seconds."""

    ended: float
    seconds: float


def parse_log(text: str) -> list[Call]:
    """Parse h2load's log: start in microseconds, status, duration in microseconds."""
    rows = (line.split("\t") for line in text.splitlines())
    answered = (row for row in rows if len(row) >= 3 and row[1] == "200")
    return [
        Call((int(start) + int(took)) / 1e6, int(took) / 1e6) for start, _, took, *_ in answered
    ]


def parse_metrics(text: str) -> dict[tuple[str, Labels], float]:
    """Parse Prometheus's text format into samples by name and labels."""
    return {
        (name, frozenset(_LABEL.findall(labels))): float(value)
        for name, labels, value in _SAMPLE.findall(text)
    }
