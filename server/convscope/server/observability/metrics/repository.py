"""The metrics of a remote repository."""

from convscope.server.observability.metrics.families import Scope
from convscope.server.observability.metrics.series import Families, Series

__all__ = ["SyncMetrics"]


class SyncMetrics:
    """How well the cache keeps up with a remote repository; a `SyncObserver`."""

    def __init__(self, families: Families, poll_seconds: float) -> None:
        families.create(Scope.REPOSITORY)
        series = Series(families, Scope.REPOSITORY)
        series.gauge("convscope_repository_poll_seconds").set(poll_seconds)
        self._last_sync = series.gauge("convscope_repository_last_sync_timestamp_seconds")
        self._failures = series.counter("convscope_repository_sync_failures")

    def synced(self, at: float) -> None:
        """Record when the cache last matched the remote."""
        self._last_sync.set(at)

    def sync_failed(self) -> None:
        """Count a failure."""
        self._failures.inc()
