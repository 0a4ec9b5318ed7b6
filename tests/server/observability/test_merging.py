"""The metrics of several workers as those of one server."""

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge

from convscope.server.observability.metrics.merging import MergedMetrics, snapshot


def worker(requests: int, last_sync: float) -> Any:
    """The snapshot of one worker."""
    registry = CollectorRegistry()
    counter = Counter("convscope_requests", "Requests.", ["model"], registry=registry)
    counter.labels("tiny").inc(requests)
    name = "convscope_repository_last_sync_timestamp_seconds"
    Gauge(name, "The last fetch.", registry=registry).set(last_sync)
    return snapshot(registry)


def requests(merged: MergedMetrics) -> float | None:
    return merged.registry.get_sample_value("convscope_requests_total", {"model": "tiny"})


def test_counters_are_added_and_the_oldest_sync_is_shown() -> None:
    merged = MergedMetrics()
    merged.update(0, worker(3, 1700000005))
    merged.update(1, worker(4, 1700000000))
    assert requests(merged) == 7
    name = "convscope_repository_last_sync_timestamp_seconds"
    assert merged.registry.get_sample_value(name) == 1700000000


def test_a_newer_snapshot_replaces_the_older_one() -> None:
    merged = MergedMetrics()
    merged.update(0, worker(3, 0))
    merged.update(0, worker(5, 0))
    assert requests(merged) == 5


def test_counts_of_finished_workers_are_kept() -> None:
    merged = MergedMetrics()
    merged.update(0, worker(3, 1700000000))
    merged.retire(0)
    merged.retire(0)  # it reported nothing since
    assert requests(merged) == 3
    merged.update(0, worker(2, 1700000007))
    assert requests(merged) == 5
    name = "convscope_repository_last_sync_timestamp_seconds"
    assert merged.registry.get_sample_value(name) == 1700000007  # of the living only
