"""The metrics of several workers as those of one server: nothing drops, whatever dies when."""

import json
from collections.abc import Mapping
from threading import Event, Thread
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.samples import Exemplar

from convscope.server.observability.metrics import Metrics
from convscope.server.observability.metrics.histograms import Histogram as ServerHistogram
from convscope.server.observability.metrics.merging import GAUGES, MergedMetrics, snapshot
from convscope.server.observability.metrics.totals import Total, TotalsByVersion, VersionTotals

TURNS = 300


def counting(value: float, **classes: float) -> list[Any]:
    """The snapshot of a worker that has counted so far, as it arrives over a socket."""
    registry = CollectorRegistry()
    Counter("calls", "Calls.", registry=registry).inc(value)
    by_class = Counter("seen", "By class.", ["class"], registry=registry)
    for name, count in classes.items():
        by_class.labels(name).inc(count)
    sent: list[Any] = json.loads(json.dumps(snapshot(registry)))
    return sent


def value(metrics: MergedMetrics, name: str = "calls_total", **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def seen(metrics: MergedMetrics, name: str) -> float | None:
    return metrics.registry.get_sample_value("seen_total", {"class": name})


def test_counters_and_histograms_are_added_up() -> None:
    registry = CollectorRegistry()
    Histogram("took", "Took.", ["x"], registry=registry, buckets=[1, 2]).labels("a").observe(1.5)
    metrics = MergedMetrics()
    for worker in range(3):
        metrics.update(worker, counting(worker + 1) + json.loads(json.dumps(snapshot(registry))))
    assert value(metrics) == 6
    assert value(metrics, "took_bucket", x="a", le="1.0") == 0
    assert value(metrics, "took_bucket", x="a", le="2.0") == 3
    assert value(metrics, "took_bucket", x="a", le="+Inf") == 3
    assert value(metrics, "took_sum", x="a") == 4.5


def test_the_newest_exemplar_of_a_bucket_is_kept() -> None:
    metrics, clock = MergedMetrics(), iter((20.0, 10.0))
    for worker, trace in enumerate(("late", "early")):
        registry = CollectorRegistry()
        took = ServerHistogram("took", "Took.", ["x"], [1.0, 2.0], registry).labels("a")
        took.observe(1.5, {"trace_id": trace})
        took.exemplars[1] = took.exemplars[1]._replace(timestamp=next(clock))
        metrics.update(worker, json.loads(json.dumps(snapshot(registry))))
    (family,) = metrics.collect()
    found = {s.labels["le"]: s.exemplar for s in family.samples if s.exemplar is not None}
    assert found == {"2.0": Exemplar({"trace_id": "late"}, 1.5, 20.0)}
    metrics.retire(0)
    assert b'trace_id="late"' in generate_latest(metrics.registry)  # type: ignore[no-untyped-call]


def test_a_newer_snapshot_replaces_the_older_one() -> None:
    metrics = MergedMetrics()
    metrics.update(0, counting(3))
    metrics.update(0, counting(5))
    assert value(metrics) == 5


def test_counters_of_a_dead_worker_still_count() -> None:
    metrics = MergedMetrics()
    metrics.update(0, counting(3, cat=2))
    metrics.update(1, counting(4))
    metrics.retire(0)
    assert value(metrics) == 7
    metrics.update(0, counting(0))  # its replacement
    assert (value(metrics), seen(metrics, "cat")) == (7, 2)
    metrics.update(0, counting(1, cat=1))
    assert (value(metrics), seen(metrics, "cat")) == (8, 3)


def test_gauges_of_a_dead_worker_are_gone() -> None:
    registry = CollectorRegistry()
    Gauge("convscope_queue_images", "Wait.", registry=registry).set(5)
    metrics = MergedMetrics()
    for worker in range(2):
        metrics.update(worker, snapshot(registry))
    assert value(metrics, "convscope_queue_images") == 10
    metrics.retire(0)
    assert value(metrics, "convscope_queue_images") == 5
    metrics.retire(1)
    assert value(metrics, "convscope_queue_images") is None


def test_retiring_twice_or_before_any_snapshot_adds_nothing() -> None:
    metrics = MergedMetrics()
    metrics.retire(0)
    metrics.update(0, counting(3))
    metrics.retire(0)
    metrics.retire(0)
    assert value(metrics) == 3


def started(at: float, calls: float, **classes: float) -> list[Any]:
    registry = CollectorRegistry()
    Gauge("process_start_time_seconds", "Start.", registry=registry).set(at)
    return [*snapshot(registry), *counting(calls, **classes)]


def test_a_replacement_that_is_seen_before_the_death_loses_nothing() -> None:
    metrics = MergedMetrics()
    metrics.update(0, started(1, 3, cat=2))
    metrics.update(0, started(2, 0))
    assert (value(metrics), seen(metrics, "cat")) == (3, 2)
    metrics.update(0, started(2, 4))
    assert value(metrics) == 7


def test_forgotten_series_count_until_the_last_worker_has_forgotten_them() -> None:
    metrics = MergedMetrics()
    for worker in range(3):
        metrics.update(worker, counting(1, old=10))
    metrics.retire(2)
    metrics.update(0, counting(2))
    assert seen(metrics, "old") == 30
    metrics.update(1, counting(2))
    assert seen(metrics, "old") is None  # and takes no memory
    assert value(metrics) == 5


def test_a_scrape_that_is_under_way_sees_one_moment() -> None:
    metrics = MergedMetrics()
    metrics.update(0, counting(3, cat=1))
    metrics.update(1, counting(4, cat=1))
    scrape = metrics.collect()
    found = [next(scrape)]
    metrics.retire(0)
    metrics.update(0, counting(0, dog=1))
    metrics.update(1, counting(9, bird=1))
    metrics.retire(1)
    found += scrape
    samples = {(s.name, *s.labels.values()): s.value for family in found for s in family.samples}
    assert samples == {("calls_total",): 7, ("seen_total", "cat"): 2}


def test_counters_never_drop_while_workers_die_and_are_replaced() -> None:
    metrics, done = MergedMetrics(), Event()
    drops: list[tuple[float, float]] = []
    errors: list[Exception] = []
    metrics.update(0, counting(0))

    def scrape() -> None:
        last = 0.0
        while not done.is_set():
            try:
                now = value(metrics) or 0.0
            except Exception as error:  # noqa: BLE001 - shown below
                errors.append(error)
                return
            if now < last:
                drops.append((last, now))
            last = now

    threads = [Thread(target=scrape) for _ in range(2)]
    for thread in threads:
        thread.start()
    for turn in range(TURNS):
        for calls in (1, 2, 3):
            metrics.update(0, counting(calls, **{f"class{turn}_{calls}": 1}))
        metrics.retire(0)
    done.set()
    for thread in threads:
        thread.join()
    assert (drops, errors) == ([], [])
    assert value(metrics) == 3 * TURNS


def test_snapshot_of_a_server_survives_json_and_merging() -> None:
    metrics = Metrics()
    metrics.of(("m", 1)).requests([grpc.StatusCode.OK], [0.01], [False])
    metrics.method("unary", "s", "m").end([grpc.StatusCode.OK], [0.01], [{"trace_id": "1"}])
    merged = MergedMetrics()
    merged.update(0, json.loads(json.dumps(snapshot(metrics.registry), allow_nan=False)))
    assert samples_of(merged.registry) == samples_of(metrics.registry)


def samples_of(registry: CollectorRegistry) -> Mapping[tuple[str, frozenset[Any]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created") and not sample.name.startswith("process_")
    }


def test_every_gauge_has_a_rule_for_merging() -> None:
    metrics = Metrics()
    metrics.sync(5.0)
    gauges = {family.name for family in metrics.registry.collect() if family.type == "gauge"}
    assert gauges == GAUGES.keys()


@pytest.mark.parametrize(
    ("name", "merged"),
    [
        ("convscope_queue_images", 3),
        ("convscope_traffic_share", 2),
        ("convscope_model_refused", 2),
        ("convscope_provider_fallback", 2),
        ("convscope_repository_last_sync_timestamp_seconds", 1),
    ],
)
def test_gauges_of_two_workers_become_one(name: str, merged: float) -> None:
    metrics = MergedMetrics()
    for worker, found in enumerate((1, 2)):
        registry = CollectorRegistry()
        Gauge(name, "A fact.", registry=registry).set(found)
        metrics.update(worker, snapshot(registry))
    assert value(metrics, name) == merged


def test_the_supervisor_counts_too() -> None:
    own = Metrics(workers=0)
    own.denied_call("unauthenticated")
    metrics = MergedMetrics(own.registry)
    for worker in range(2):
        metrics.update(worker, snapshot(Metrics().registry))
    assert value(metrics, "convscope_denied_calls_total", reason="unauthenticated") == 1
    assert value(metrics, "convscope_workers") == 2


def test_totals_of_an_ended_worker_count_while_another_one_has_the_version() -> None:
    def counted(*versions: int) -> TotalsByVersion:
        one = VersionTotals(Total(1, 0.1), Total(), {}, 1, 0.0)
        return {("tiny", version): one for version in versions}

    merged = MergedMetrics()
    for turn in range(3):  # each time, another version is new and the one before is gone
        for worker in range(2):
            merged.totals.update(worker, counted(turn, turn + 1))
        merged.retire(0)
        merged.totals.update(1, counted(turn + 1))
        assert merged.totals.of_others(1)["tiny", turn + 1].succeeded.count == 1
        assert merged.totals._retired.keys() == {("tiny", turn + 1)}
