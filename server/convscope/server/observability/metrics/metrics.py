"""The metrics of one server, by the version, method or repository that they belong to."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType

from prometheus_client import CollectorRegistry, Gauge

from convscope.server.observability.logs import dropped_lines
from convscope.server.observability.metrics.explanations import ExplanationMetrics
from convscope.server.observability.metrics.families import Scope
from convscope.server.observability.metrics.logs import LogMetrics
from convscope.server.observability.metrics.methods import MethodMetrics
from convscope.server.observability.metrics.repository import SyncMetrics
from convscope.server.observability.metrics.series import Families, Series
from convscope.server.observability.metrics.shadows import ShadowMetrics
from convscope.server.observability.metrics.totals import TotalsByVersion, VersionTotals
from convscope.server.observability.metrics.versions import VersionMetrics

__all__ = ["Metrics"]

# A model's name and a version.
Key = tuple[str, int]


class Metrics:
    """The metrics of one server.

    Labels come from the repository, never from a request, so that no caller
    can make their number grow.

    Args:
        workers: The processes that serve, of those that are counted here: 0 in a supervisor.
    """

    def __init__(self, workers: int = 1) -> None:
        self._families = Families()
        self._server = Series(self._families, Scope.SERVER)
        self._server.gauge("convscope_workers").set(workers)
        self.registry.register(LogMetrics(dropped_lines))
        self._versions: dict[Key, VersionMetrics] = {}
        self._explanations: dict[Key, ExplanationMetrics] = {}
        self._shadows: dict[tuple[str, int, int], ShadowMetrics] = {}
        self._placements: dict[Key, list[tuple[Gauge, tuple[str, ...]]]] = {}
        self._stated: dict[str, set[tuple[str, ...]]] = {}
        self._siblings: TotalsByVersion = {}

    @property
    def registry(self) -> CollectorRegistry:
        """The registry that Prometheus scrapes."""
        return self._families.registry

    def of(self, key: Key) -> VersionMetrics:
        """Return the metrics of one version."""
        metrics = self._versions.get(key)
        if metrics is None:
            model, number = key
            metrics = self._versions[key] = VersionMetrics(self._families, model, str(number))
        return metrics

    def own_totals(self) -> TotalsByVersion:
        """Return what this process has counted of each version."""
        return {key: metrics.totals() for key, metrics in self._versions.items()}

    def set_siblings(self, totals: TotalsByVersion) -> None:
        """Set what the other workers of the server have counted."""
        self._siblings = totals

    def totals(self, key: Key) -> VersionTotals:
        """Return what all workers have counted of one version; the others' of a moment ago."""
        own, others = self.of(key).totals(), self._siblings.get(key)
        return own if others is None else own + others

    def explanations(self, key: Key) -> ExplanationMetrics:
        """Return the metrics of one version's explanations."""
        metrics = self._explanations.get(key)
        if metrics is None:
            model, number = key
            metrics = ExplanationMetrics(self._families, model, str(number))
            self._explanations[key] = metrics
        return metrics

    def shadow(self, key: Key, shadow: int) -> ShadowMetrics:
        """Return the metrics of one version's shadow."""
        model, number = key
        metrics = self._shadows.get((model, number, shadow))
        if metrics is None:
            metrics = ShadowMetrics(self._families, model, str(number), str(shadow))
            self._shadows[model, number, shadow] = metrics
        return metrics

    def method(self, kind: str, service: str, method: str) -> MethodMetrics:
        """Return the metrics of one gRPC method; `kind` is "unary" or "bidi_stream"."""
        return MethodMetrics(self._families, kind, service, method)

    def sync(self, poll_seconds: float) -> SyncMetrics:
        """Return the metrics of a remote repository; only a server that has one shows them.

        Args:
            poll_seconds: How often it is polled; 0 if only when an operator asks.
        """
        return SyncMetrics(self._families, poll_seconds)

    def ready(
        self,
        key: Key,
        *,
        provider: str,
        precision: str,
        compute_precision: str = "fp32",
        relative_speeds: Mapping[tuple[str, str], float] = MappingProxyType({}),
        fallback_from: str | None = None,
        engine_pending: Callable[[], bool] = lambda: False,
    ) -> None:
        """Set that a version is ready, and on which provider.

        Args:
            key: The version. If it was ready before, this replaces its provider.
            provider: The provider that it runs on.
            precision: The precision of its weights.
            compute_precision: The precision in which the provider computes.
            relative_speeds: By provider and precision, what was measured of those from which the
                fastest was chosen; 0 for those that were rejected.
            fallback_from: The configured provider, if it runs on another one.
            engine_pending: Returns whether that provider's engine is being built. It is
                called at each scrape, because a build that fails leaves a fallback.
        """
        self._remove_placement(key)
        model, number = key
        labels = (model, str(number))
        info = (*labels, provider, precision, compute_precision)
        series: dict[tuple[str, tuple[str, ...]], Callable[[], float]] = {
            ("convscope_model_info", info): lambda: True,
            **{
                ("convscope_provider_relative_speed", (*labels, *candidate)): partial(float, speed)
                for candidate, speed in relative_speeds.items()
            },
        }
        if fallback_from:
            both = (*labels, fallback_from, provider)
            series["convscope_provider_awaited", both] = engine_pending
            series["convscope_provider_fallback", both] = lambda: not engine_pending()
        for (name, values), holds in series.items():
            self._families.gauges[name].labels(*values).set_function(holds)
        self._placements[key] = [(self._families.gauges[name], v) for name, v in series]

    def gone(self, key: Key) -> None:
        """Set that a version is no longer ready; its counts stay for a while."""
        self.of(key).gone()
        self._remove_placement(key)

    def forget(self, key: Key) -> None:
        """Remove the counts of a version that is gone, so that versions don't add up for ever."""
        metrics = self._versions.pop(key, None)
        if metrics is None:
            return
        metrics.forget()
        if (explanations := self._explanations.pop(key, None)) is not None:
            explanations.forget()
        model, number = key
        for pair in [k for k in self._shadows if k[0] == model and number in k[1:]]:
            self._shadows.pop(pair).forget()

    def traffic_shares(self, shares: Iterable[tuple[str, int, str, float]]) -> None:
        """Set every model's traffic split: model, version, "canary" or "shadow", share."""
        self._state(
            "convscope_traffic_share",
            {(model, str(number), kind): share for model, number, kind, share in shares},
        )

    def request_memory(self, used: Callable[[], int]) -> Callable[[], None]:
        """Show the bytes of requests; return what counts a call for which there is no room.

        Args:
            used: Returns the bytes; it is called at each scrape, in another thread.
        """
        self._server.gauge("convscope_request_memory_bytes").set_function(used)
        return self._server.counter("convscope_request_memory_rejections").inc

    def rejected_call(self, reason: str) -> None:
        """Count a call that its transport ended before its method counted it."""
        self._server.counter("convscope_rejected_calls", reason).inc()

    def denied_call(self, reason: str) -> None:
        """Count a call, or a request in a stream, that access control denied."""
        self._server.counter("convscope_denied_calls", reason).inc()

    def reloaded(self, file: str, ok: bool) -> None:
        """Set whether the newest state of a file is in use.

        Args:
            file: "policy", "jwks" or "tls".
            ok: Whether it is.
        """
        self._server.gauge("convscope_reload_failed", file).set(not ok)

    def rejected(self, reason: str) -> None:
        """Count a version that failed a check."""
        self._server.counter("convscope_model_load_failures", reason).inc()

    def rejections(self, rejections: Iterable[tuple[str, int, str]]) -> None:
        """Set which versions of the repository are rejected: model, version, reason."""
        self._state(
            "convscope_model_refused",
            {(model, str(number), reason): 1 for model, number, reason in rejections},
        )

    def _state(self, name: str, values: Mapping[tuple[str, ...], float]) -> None:
        """Set all series of a gauge, without removing those that stay."""
        gauge = self._families.gauges[name]
        for labels in self._stated.get(name, set()) - values.keys():
            gauge.remove(*labels)
        for labels, value in values.items():
            gauge.labels(*labels).set(value)
        self._stated[name] = set(values)

    def _remove_placement(self, key: Key) -> None:
        for gauge, labels in self._placements.pop(key, ()):
            gauge.remove(*labels)
