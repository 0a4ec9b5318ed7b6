"""The metrics of one server, by the version, method or repository that they are of."""

from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry, Gauge

from convscope.server.observability.metrics.families import (
    CODES,
    PRIORITIES,
    SHADOW_OUTCOMES,
    STAGES,
    Families,
)
from convscope.server.observability.metrics.methods import MethodMetrics
from convscope.server.observability.metrics.repository import SyncMetrics
from convscope.server.observability.metrics.shadows import ShadowMetrics
from convscope.server.observability.metrics.versions import VersionMetrics
from convscope.server.repository.rejection import Rejection
from convscope.server.runtime.versions import LoadedVersion
from convscope.v1 import manifest_pb2 as pb

__all__ = ["Metrics"]


class Metrics:
    """The metrics of one server.

    Labels come from the repository, never from a request, so that no caller
    can make their number grow.
    """

    def __init__(self) -> None:
        self.families = Families()
        self._versions: dict[tuple[str, int], VersionMetrics] = {}
        self._shadow_traffic: dict[tuple[str, int, int], ShadowMetrics] = {}

    @property
    def registry(self) -> CollectorRegistry:
        """What Prometheus scrapes."""
        return self.families.registry

    def of(self, version: LoadedVersion) -> VersionMetrics:
        """Give the metrics of one version."""
        if version.key not in self._versions:
            model, number = version.key
            self._versions[version.key] = VersionMetrics(self.families, model, str(number))
        return self._versions[version.key]

    def shadow(self, version: LoadedVersion, shadow: int) -> ShadowMetrics:
        """Give the metrics of one version's shadow."""
        model, number = version.key
        key = (model, number, shadow)
        if key not in self._shadow_traffic:
            self._shadow_traffic[key] = ShadowMetrics(
                self.families, model, str(number), str(shadow)
            )
        return self._shadow_traffic[key]

    def method(self, kind: str, service: str, method: str) -> MethodMetrics:
        """Give the metrics of one gRPC method; `kind` is "unary" or of the streaming ones."""
        return MethodMetrics(self.families, kind, service, method)

    def sync(self, poll_seconds: float) -> SyncMetrics:
        """Give the metrics of a remote repository, which only a server that has one shows.

        Args:
            poll_seconds: How often it is looked at; 0 if only when an operator asks.
        """
        return SyncMetrics(self.registry, poll_seconds)

    def ready(self, version: LoadedVersion) -> None:
        """State that a version answers, and on which provider."""
        for gauge, labels, holds in _provider_series(self.families, version):
            gauge.labels(*labels).set_function(holds)

    def gone(self, version: LoadedVersion) -> None:
        """State that a version no longer answers; what it counted stays for a while."""
        self.of(version).gone()
        self.replaced(version)

    def replaced(self, version: LoadedVersion) -> None:
        """State no longer on which provider a version answers: the same number was loaded anew."""
        for gauge, labels, _ in _provider_series(self.families, version):
            gauge.remove(*labels)

    def forget(self, model: str, number: int) -> None:
        """Drop what a version that is gone has counted, so that versions don't add up for ever."""
        counted = self._versions.pop((model, number), None)
        if counted is None:
            return
        counted.forget()
        labels = (model, str(number))
        for code in CODES:
            self.families.requests.remove(*labels, code.name)
        for stage in STAGES:
            self.families.stage_seconds.remove(*labels, stage)
        for priority in PRIORITIES:
            self.families.request_seconds.remove(*labels, priority)
        self.families.batch_images.remove(*labels)
        self.families.top1_probability.remove(*labels)
        self.families.entropy_ratio.remove(*labels)
        self.families.queue_images.remove(*labels)
        self.families.queue_fill_ratio.remove(*labels)
        self.families.batches_running.remove(*labels)
        for key in [k for k in self._shadow_traffic if k[0] == model and number in k[1:]]:
            self._forget_shadow(*key)

    def _forget_shadow(self, model: str, number: int, shadow: int) -> None:
        del self._shadow_traffic[model, number, shadow]
        labels = (model, str(number), str(shadow))
        for outcome in SHADOW_OUTCOMES:
            self.families.shadow_inputs.remove(*labels, outcome)
        self.families.shadow_difference.remove(*labels)

    def trials(self, shares: Iterable[tuple[str, int, str, float]]) -> None:
        """State each model's trials: model, version, "canary" or "shadow", share."""
        self.families.traffic_share.clear()
        for model, number, kind, share in shares:
            self.families.traffic_share.labels(model, str(number), kind).set(share)

    def refused(self, rejection: Rejection) -> None:
        """Count a version that failed a check."""
        self.families.load_failures.labels(rejection.reason).inc()

    def rejections(self, rejections: Iterable[Rejection]) -> None:
        """State which versions lie in the repository and don't answer."""
        self.families.model_refused.clear()
        for rejection in rejections:
            self.families.model_refused.labels(
                rejection.model, str(rejection.version), rejection.reason
            ).set(1)


def _provider_series(
    families: Families, version: LoadedVersion
) -> Sequence[tuple[Gauge, tuple[str, ...], Callable[[], bool]]]:
    """The series that say what a version runs on, and what tells whether that is so."""
    model, number = version.key
    labels = (model, str(number))
    loaded = version.model
    provider, wanted = loaded.provider, loaded.fallback_from
    precision = pb.Precision.Name(version.manifest.precision).removeprefix("PRECISION_").lower()
    series: list[tuple[Gauge, tuple[str, ...], Callable[[], bool]]]
    series = [(families.model_info, (*labels, provider, precision), lambda: True)]
    if wanted:  # asked for at each scrape: a build that fails turns the one into the other
        stands_in = (*labels, wanted, provider)
        series += [
            (families.provider_awaited, stands_in, lambda: loaded.awaits_engine),
            (families.provider_fallback, stands_in, lambda: not loaded.awaits_engine),
        ]
    return series
