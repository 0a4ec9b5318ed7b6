"""The metrics of several worker processes as those of one server."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

__all__ = ["GAUGES", "MergedMetrics", "Totals", "snapshot"]

Key = tuple[str, tuple[tuple[str, str], ...]]

Combination = Callable[[Iterable[float]], float]

# How the gauges of several workers become one. What each has or does is added
# up; of a fact that holds for each of them alike, or for one at first, the
# largest is shown; of what lags behind, the one that lags the most.
GAUGES: Mapping[str, Combination] = {
    "convscope_batches_running": sum,
    "convscope_queue_images": sum,
    "convscope_workers": sum,
    "process_max_fds": sum,
    "process_open_fds": sum,
    "process_resident_memory_bytes": sum,
    "process_virtual_memory_bytes": sum,
    "convscope_model_info": max,
    "convscope_model_refused": max,
    "convscope_provider_awaited": max,
    "convscope_provider_fallback": max,
    "convscope_queue_fill_ratio": max,
    "convscope_repository_poll_seconds": max,
    "convscope_traffic_share": max,
    "python_info": max,
    "convscope_repository_last_sync_timestamp_seconds": min,
    "process_start_time_seconds": min,
}
_CUMULATIVE = ("counter", "histogram")


def snapshot(registry: CollectorRegistry) -> list[dict[str, Any]]:
    """Return a registry's metrics as plain JSON values."""
    return [
        {
            "name": family.name,
            "type": family.type,
            "documentation": family.documentation,
            "samples": [
                [sample.name, sorted(sample.labels.items()), sample.value]
                for sample in family.samples
                if not sample.name.endswith("_created")
            ],
        }
        for family in registry.collect()
    ]


@dataclass
class Totals:
    """The samples of one or several workers, by family, and the families' types."""

    types: dict[str, tuple[str, str]] = field(default_factory=dict)
    samples: dict[str, dict[Key, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, families: Iterable[Mapping[str, Any]]) -> "Totals":
        """Read a snapshot."""
        totals = cls()
        for family in families:
            name = family["name"]
            totals.types[name] = (family["type"], family["documentation"])
            totals.samples[name] = {
                (sample, tuple((label, text) for label, text in labels)): value
                for sample, labels, value in family["samples"]
            }
        return totals

    def add(self, other: "Totals", *, cumulative_only: bool = False) -> None:
        """Add another worker's samples to these."""
        for name, (kind, documentation) in other.types.items():
            if cumulative_only and kind not in _CUMULATIVE:
                continue
            self.types.setdefault(name, (kind, documentation))
            mine = self.samples.setdefault(name, {})
            combine = GAUGES.get(name, sum)  # counters and histograms are added up
            for key, value in other.samples[name].items():
                mine[key] = combine((mine[key], value)) if key in mine else value

    def families(self) -> Iterator[Metric]:
        """Give the samples as prometheus_client shows them."""
        for name, (kind, documentation) in self.types.items():
            family = Metric(name, documentation, kind)
            family.samples = [
                Sample(sample, dict(labels), value)
                for (sample, labels), value in self.samples[name].items()
            ]
            yield family


class MergedMetrics(Collector):
    """Shows the metrics of all workers as those of one server.

    The cumulative values of a worker that has ended are kept: Prometheus would
    take a counter that went back for a restarted one.
    """

    def __init__(self) -> None:
        self._lock = Lock()  # scrapes run in a thread
        self._latest: dict[int, Totals] = {}
        self._retired = Totals()
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def update(self, worker: int, families: Iterable[Mapping[str, Any]]) -> None:
        """Replace the metrics of a worker by its newest snapshot."""
        totals = Totals.of(families)
        with self._lock:
            self._latest[worker] = totals

    def retire(self, worker: int) -> None:
        """Keep the cumulative values of a worker that has ended."""
        with self._lock:
            self._retired.add(self._latest.pop(worker, Totals()), cumulative_only=True)

    def collect(self) -> Iterator[Metric]:
        """Return the sums for Prometheus."""
        totals = Totals()
        with self._lock:
            totals.add(self._retired)
            for latest in self._latest.values():
                totals.add(latest)
        yield from totals.families()
