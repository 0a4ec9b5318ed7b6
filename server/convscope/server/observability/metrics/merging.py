"""The metrics of several worker processes, merged into those of one server.

Each worker sends a snapshot of its registry from time to time. Counters and
histograms are added up, and never drop: what a worker counted before it died
is kept. Of the exemplars of a bucket, the newest is kept.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from threading import Lock
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar, Sample

from convscope.server.observability.metrics.families import TABLE
from convscope.server.observability.metrics.totals import MergedTotals

__all__ = ["GAUGES", "MergedMetrics", "snapshot"]

# A sample's name, the names of its labels and their values.
_Key = tuple[str, tuple[str, ...], tuple[str, ...]]
_Samples = Mapping[_Key, float]

# How the gauges of several workers become one; those that are not in the table
# are prometheus_client's own.
GAUGES: Mapping[str, Callable[[Iterable[float]], float]] = {
    **{family.name: family.merged for family in TABLE if family.kind == "gauge"},
    "process_max_fds": sum,
    "process_open_fds": sum,
    "process_resident_memory_bytes": sum,
    "process_virtual_memory_bytes": sum,
    "process_start_time_seconds": min,
    "python_info": max,
}
_CUMULATIVE = ("counter", "histogram")


def snapshot(registry: Collector | CollectorRegistry) -> list[list[Any]]:
    """Return what a registry collects, as lists, strings and numbers for JSON.

    A family is [name, type, help, samples]. Its samples are [name, names of the labels,
    [[values of the labels, value], ...]]: the names are the same for all of them. A sample with
    an exemplar ends with [its labels, value, Unix time].
    """
    families: list[list[Any]] = []
    for family in registry.collect():
        rows: dict[tuple[str, tuple[str, ...]], list[list[Any]]] = {}
        for sample in family.samples:
            # JSON has no NaN and no infinity; the time of creation means nothing when merged.
            if isfinite(sample.value) and not sample.name.endswith("_created"):
                row = [list(sample.labels.values()), sample.value]
                if (exemplar := sample.exemplar) is not None:
                    row.append([exemplar.labels, exemplar.value, exemplar.timestamp])
                rows.setdefault((sample.name, tuple(sample.labels)), []).append(row)
        samples = [[name, list(labels), values] for (name, labels), values in rows.items()]
        families.append([family.name, family.type, family.documentation, samples])
    return families


@dataclass(frozen=True, slots=True)
class _Family:
    """One family of one worker or of all; never changed after it is made."""

    type: str
    help: str
    samples: _Samples
    exemplars: Mapping[_Key, Exemplar] = field(default_factory=dict)

    @property
    def is_cumulative(self) -> bool:
        return self.type in _CUMULATIVE


_Families = Mapping[str, _Family]


class MergedMetrics(Collector):
    """Merges the latest snapshots of all workers.

    A scrape runs in a thread of its own. It reads mappings that are replaced
    and never changed, so that it sees one moment.

    Args:
        own: The metrics of the supervisor, which never retires; None for none.

    Attributes:
        registry: What Prometheus scrapes.
        totals: What ModelStatistics reports; the event loop alone uses it.
    """

    def __init__(self, own: CollectorRegistry | None = None) -> None:
        self._lock = Lock()
        self._own = own
        self._workers: Mapping[int, _Families] = {}
        self._retired: _Families = {}
        self.totals = MergedTotals()
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def update(self, worker_index: int, snapshot: list[list[Any]]) -> None:
        """Replace a worker's snapshot by a newer one, as `snapshot` returned it.

        If a new process has started in the worker's place, the counters of the old one are kept,
        as by `retire`.
        """
        families = _parse(snapshot)
        with self._lock:
            before = self._workers.get(worker_index, {})
            if _start_time(before) != _start_time(families):  # a new process in its place
                self._retired, before = _merge([self._retired, _cumulative(before)]), {}
            others = [f for index, f in self._workers.items() if index != worker_index]
            self._retired = _retire(self._retired, before, families, others)
            self._workers = {**self._workers, worker_index: families}

    def retire(self, worker_index: int) -> None:
        """Keep the counters of a worker that has ended, and forget its gauges."""
        self.totals.retire(worker_index)
        with self._lock:
            workers = dict(self._workers)
            counted = _cumulative(workers.pop(worker_index, {}))
            self._retired = _merge([self._retired, counted])
            self._workers = workers

    def collect(self) -> Iterator[Metric]:
        """Return what Prometheus scrapes."""
        with self._lock:
            parts = [self._retired, *self._workers.values()]
        if self._own is not None:
            parts.append(_parse(snapshot(self._own)))
        for name, merged in _merge(parts).items():
            family = Metric(name, merged.help, merged.type)
            family.samples = [
                Sample(
                    sample,
                    dict(zip(labels, values, strict=True)),
                    value,
                    exemplar=merged.exemplars.get((sample, labels, values)),
                )
                for (sample, labels, values), value in merged.samples.items()
            ]
            yield family


def _parse(families: list[list[Any]]) -> _Families:
    """Return a snapshot as families; raise an exception if it can't be merged and shown."""
    return {
        name: _Family(
            kind,
            text,
            {
                (sample, tuple(labels), tuple(values)): float(value)
                for sample, labels, rows in samples
                for values, value, *_ in rows
            },
            {
                (sample, tuple(labels), tuple(values)): Exemplar(*exemplar)
                for sample, labels, rows in samples
                for values, _, *exemplars in rows
                for exemplar in exemplars
            },
        )
        for name, kind, text, samples in families
    }


def _start_time(families: _Families) -> list[float]:
    family = families.get("process_start_time_seconds")
    return list(family.samples.values()) if family else []


def _cumulative(families: _Families) -> _Families:
    return {name: family for name, family in families.items() if family.is_cumulative}


def _merge(parts: Sequence[_Families]) -> _Families:
    """Combine the samples of several workers, or of a worker and of those that have ended."""
    values: dict[str, dict[_Key, list[float]]] = {}
    first: dict[str, _Family] = {}
    for part in parts:
        for name, family in part.items():
            first.setdefault(name, family)
            of_family = values.setdefault(name, {})
            for key, value in family.samples.items():
                of_family.setdefault(key, []).append(value)
    merged = {}
    for name, family in first.items():
        combine = sum if family.is_cumulative else GAUGES.get(name, sum)
        samples = {key: combine(found) for key, found in values[name].items()}
        newest = _newest(part[name].exemplars for part in parts if name in part)
        merged[name] = _Family(family.type, family.help, samples, newest)
    return merged


def _newest(parts: Iterable[Mapping[_Key, Exemplar]]) -> Mapping[_Key, Exemplar]:
    """Return the newest exemplar of each sample."""
    newest: dict[_Key, Exemplar] = {}
    for part in parts:
        for key, exemplar in part.items():
            if key not in newest or _time(newest[key]) < _time(exemplar):
                newest[key] = exemplar
    return newest


def _time(exemplar: Exemplar) -> float:
    return float(exemplar.timestamp or 0.0)


def _retire(
    retired: _Families, before: _Families, after: _Families, others: list[_Families]
) -> _Families:
    """Keep what a worker's new snapshot no longer counts.

    The series of a version that a worker has forgotten are kept as long as
    another worker shows them, and then removed for good: those of versions that
    are gone must not add up for ever.
    """
    lost: dict[str, _Family] = {}
    ended: set[tuple[str, _Key]] = set()
    for name, family in _cumulative(before).items():
        now = after[name].samples if name in after else {}
        samples = {}
        for key, value in family.samples.items():
            if key not in now and not any(_has(other, name, key) for other in others):
                ended.add((name, key))
            elif now.get(key, 0.0) < value:
                samples[key] = value
        if samples:
            lost[name] = _Family(family.type, family.help, samples)
    if not lost and not ended:
        return retired
    kept = {
        name: _Family(
            family.type,
            family.help,
            {key: value for key, value in family.samples.items() if (name, key) not in ended},
        )
        for name, family in retired.items()
    }
    return _merge([kept, lost])


def _has(families: _Families, name: str, key: _Key) -> bool:
    family = families.get(name)
    return family is not None and key in family.samples
