"""The metrics of several worker processes as those of one server."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

__all__ = ["GAUGES", "MergedMetrics", "Totals"]

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


@dataclass
class Totals:
    """The samples of one scrape, by family, and the families' types."""

    types: dict[str, tuple[str, str]] = field(default_factory=dict)
    samples: dict[str, dict[Key, float]] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "Totals":
        """Read what a worker shows to Prometheus."""
        totals = cls()
        for family in text_string_to_metric_families(text):
            totals.types[family.name] = (family.type, family.documentation)
            totals.samples[family.name] = {
                (sample.name, tuple(sorted(sample.labels.items()))): sample.value
                for sample in family.samples
                if not sample.name.endswith("_created")
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
    """Scrapes the workers when it is scraped itself.

    What a worker had counted isn't lost with it: a counter that went back
    would look like one that began anew.

    Args:
        scrape: Gives what each living worker shows now.
    """

    def __init__(self, scrape: Callable[[], Iterable[str]]) -> None:
        self._scrape = scrape
        self._retired = Totals()
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def retire(self, last_scrape: str) -> None:
        """Keep what a worker that ended had counted."""
        self._retired.add(Totals.parse(last_scrape), cumulative_only=True)

    def collect(self) -> Iterator[Metric]:
        """Give what Prometheus scrapes."""
        totals = Totals()
        totals.add(self._retired)
        for text in self._scrape():
            totals.add(Totals.parse(text))
        yield from totals.families()
