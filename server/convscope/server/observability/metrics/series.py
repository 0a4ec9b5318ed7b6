"""The table's metrics as collectors, and the series of one scope: opened and removed by a loop."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    PlatformCollector,
    ProcessCollector,
)

from convscope.server.observability.metrics.families import TABLE, Family, Scope
from convscope.server.observability.metrics.histograms import Histogram, HistogramChild

__all__ = ["Families", "Series"]

T = TypeVar("T", Counter, Gauge)


class Families:
    """The metrics of one server, before any label has a value."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.counters: dict[str, Counter] = {}
        self.gauges: dict[str, Gauge] = {}
        self.histograms: dict[str, Histogram] = {}
        for scope in Scope:
            if scope is not Scope.REPOSITORY:
                self.create(scope)

    def create(self, scope: Scope) -> None:
        """Create the families of a scope; those of a repository only if there is a remote one."""
        for family in TABLE:
            if family.scope is scope:
                self._create(family)

    def _create(self, family: Family) -> None:
        name, labels, registry = family.name, family.all_labels, self.registry
        if family.kind == "counter":
            self.counters[name] = Counter(name, family.help, labels, registry=registry)
        elif family.kind == "gauge":
            self.gauges[name] = Gauge(name, family.help, labels, registry=registry)
        else:
            self.histograms[name] = Histogram(name, family.help, labels, family.buckets, registry)


class Series:
    """The series of one version, method, shadow, repository or of the server itself.

    Looking a series up takes a lock and a dictionary: callers do it once and
    keep what they get.

    Args:
        families: The metrics that the series are part of.
        scope: What they belong to.
        labels: The values of the scope's labels.
    """

    def __init__(self, families: Families, scope: Scope, *labels: str) -> None:
        self._families = families
        self._labels = labels
        self._opened: set[tuple[str, tuple[str, ...]]] = set()
        for family in TABLE:
            if family.scope is scope:
                self._open(family)

    def _open(self, family: Family) -> None:
        """Open the series of a family that are shown from the start."""
        look_ups: Mapping[str, Callable[..., object]]
        look_ups = {"counter": self.counter, "gauge": self.gauge, "histogram": self.histogram}
        look_up = look_ups[family.kind]
        if not family.labels:
            look_up(family.name)
        for value in family.values:
            look_up(family.name, value)

    def counter(self, name: str, *values: str) -> Counter:
        """Return a counter of the scope."""
        return self._child(self._families.counters[name], name, values)

    def gauge(self, name: str, *values: str) -> Gauge:
        """Return a gauge of the scope."""
        return self._child(self._families.gauges[name], name, values)

    def histogram(self, name: str, *values: str) -> HistogramChild:
        """Return a histogram of the scope."""
        self._opened.add((name, values))
        return self._families.histograms[name].labels(*self._labels, *values)

    def remove(self) -> None:
        """Remove every series that was opened."""
        families = self._families
        collectors: dict[str, Counter | Gauge | Histogram]
        collectors = {**families.counters, **families.gauges, **families.histograms}
        for name, values in self._opened:
            collectors[name].remove(*self._labels, *values)
        self._opened.clear()

    def _child(self, family: T, name: str, values: tuple[str, ...]) -> T:
        labels = (*self._labels, *values)
        if not labels:
            return family
        self._opened.add((name, values))
        return family.labels(*labels)
