"""What an attack did to the server and to an honest caller."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.openloop import quantile

__all__ = ["FIGURES", "Call", "Result", "Traffic", "phrase", "spread"]

# How each figure is written.
FIGURES = {
    "sent": "{:,.0f} sent",
    "cpu_seconds": "{:.2f} s of CPU",
    "cpu_more_than": "more than {:.1f} s of CPU",
    "cpu_per_second": "{:.2f} cores",
    "growth_mb": "{:,.0f} MB more",
    "kept_mb": "{:,.0f} MB kept",
    "threads": "{:,.0f} threads",
    "seconds": "{:.1f} s",
    "rejected_seconds": "rejected after {:.1f} s",
    "loaded_seconds": "next loaded after {:.1f} s",
    "stopped_seconds": "SIGTERM took {:.1f} s",
    "replaced_seconds": "replaced after {:.2f} s",
    "scrape_ms": "longest scrape {:.0f} ms",
    "drops": "the counter dropped {:.0f} times",
    "open": "{:.0f} still open",
    "closed": "{:,.0f} connections closed by the server",
    "dropped_lines": "{:,.0f} lines dropped",
    "reply": "{}",
}
ABSENT = {
    "rejected_seconds": "never rejected",
    "loaded_seconds": "next never loaded",
    "stopped_seconds": "SIGTERM had no effect",
    "replaced_seconds": "never replaced",
    "scrape_ms": "scrapes failed",
    "growth_mb": "server ended",
}


def spread(ratio: float | None, ratios: Sequence[float]) -> str:
    """Return the ratio of all rounds, and the range of that of each round if there are several."""
    if ratio is None:
        return ""
    if len(ratios) < 2:
        return f"{ratio:.1f}"
    return f"{ratio:.1f}, {min(ratios):.1f} to {max(ratios):.1f}"


def phrase(figures: dict[str, Any]) -> str:
    """Return the figures of an attack in words."""
    return ", ".join(
        ABSENT[name] if value is None else FIGURES[name].format(value)
        for name, value in figures.items()
    )


@dataclass(frozen=True, slots=True)
class Call:
    """A call of the honest caller.

    Args:
        due: The monotonic time at which it was scheduled.
        seconds: The time from then until its end.
        code: The gRPC code with which it ended.
    """

    due: float
    seconds: float
    code: str


@dataclass(frozen=True, slots=True)
class Traffic:
    """The honest calls of a window.

    Args:
        calls: Their number.
        p50_ms: The median of their times, failed calls included.
        p99_ms: The 99th percentile of their times.
        errors: The number of failed calls by code.
    """

    calls: int
    p50_ms: float | None
    p99_ms: float | None
    errors: dict[str, int]

    @classmethod
    def of(cls, calls: Sequence[Call]) -> "Traffic":
        """Summarize calls."""
        seconds = [1000 * call.seconds for call in calls]
        errors = Counter(call.code for call in calls if call.code != "OK")
        return cls(len(calls), quantile(seconds, 0.5), quantile(seconds, 0.99), dict(errors))

    def shown(self) -> str:
        """Return the median and the p99."""
        if self.p50_ms is None:
            return "no calls"
        return f"{self.p50_ms:.1f}, {self.p99_ms:.1f} ms"

    def ratio(self, quiet: "Traffic") -> float | None:
        """Return how much longer than quiet calls these take, by their p99."""
        if self.p99_ms is None or not quiet.p99_ms:
            return None
        return self.p99_ms / quiet.p99_ms

    def failures(self) -> str:
        """Return the failed calls."""
        failed = ", ".join(f"{count} {code}" for code, count in self.errors.items())
        return f"{failed} of {self.calls}" if failed else "0"


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the table.

    Args:
        row: The key of the row of findings.
        attack: The attack in words.
        figures: What it did to the server; see `FIGURES`.
        quiet: The honest calls before the attack, if there were any.
        attacked: The honest calls during the attack.
        ratios: The ratio of their p99 in each round.
    """

    row: str
    attack: str
    figures: dict[str, Any]
    quiet: Traffic | None = field(default=None)
    attacked: Traffic | None = field(default=None)
    ratios: Sequence[float] = ()
