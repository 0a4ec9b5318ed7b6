"""What is counted of a remote repository."""

from prometheus_client import CollectorRegistry, Counter, Gauge

__all__ = ["SyncMetrics"]


class SyncMetrics:
    """How the cache keeps up with a remote repository; a `SyncObserver` of its mirror."""

    def __init__(self, registry: CollectorRegistry, poll_seconds: float) -> None:
        poll = Gauge(
            "convscope_repository_poll_seconds",
            "Seconds between two looks at the remote repository; 0 if nobody looks by himself.",
            registry=registry,
        )
        poll.set(poll_seconds)
        self._last_sync = Gauge(
            "convscope_repository_last_sync_timestamp_seconds",
            "When the cache was last like the remote repository, in seconds of Unix time.",
            registry=registry,
        )
        self._failures = Counter(
            "convscope_repository_sync_failures",
            "Times that the remote repository could not be followed.",
            registry=registry,
        )

    def synced(self, at: float) -> None:
        """Note when the cache was last like the remote."""
        self._last_sync.set(at)

    def sync_failed(self) -> None:
        """Count a failure."""
        self._failures.inc()
