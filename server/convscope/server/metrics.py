"""Every Prometheus metric of the server, and the listener that shows them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from threading import Thread
from time import time
from wsgiref.simple_server import WSGIServer

import grpc
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    PlatformCollector,
    ProcessCollector,
    start_http_server,
)

from convscope.server.histograms import Histogram
from convscope.server.repository.versions import LoadedVersion, Refusal
from convscope.server.totals import Total, VersionTotals
from convscope.server.work import StageSeconds
from convscope.v1 import manifest_pb2 as pb

__all__ = ["Metrics", "MetricsServer"]

# Seconds. Inference takes 1 to 20 ms, so the library's own buckets start too coarse.
_REQUEST_BUCKETS = (
    *(0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075),
    *(0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
_STAGE_BUCKETS = (0.0001, 0.00025, 0.0005, *_REQUEST_BUCKETS)
_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64)
_RPC = ("grpc_type", "grpc_service", "grpc_method")
_VERSION = ("model", "version")
_SHADOW = (*_VERSION, "shadow")
_PROBABILITY_BUCKETS = tuple(round(0.05 * step, 2) for step in range(1, 21))
_DIFFERENCE_BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
_STAGES = ("decode", "queue", "infer", "encode")
# Series of one version's predicted classes.
MAX_CLASSES = 100
OTHER_CLASSES = "other"

SHADOW_OUTCOMES = ("agreed", "disagreed", "dropped", "failed")

# What the server answers with. Each begins at 0, so that the first failure is
# an increase that a rate sees.
_CODES = (
    grpc.StatusCode.OK,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNIMPLEMENTED,
)


# Why a bundle is refused. These begin at 0 for the same reason.
_REASONS = ("files", "golden", "graph", "hash", "manifest", "provider", "unforeseen")


class MethodMetrics:
    """The metrics of one gRPC method, with every label looked up once."""

    def __init__(self, metrics: "Metrics", kind: str, service: str, method: str) -> None:
        labels = (kind, service, method)
        self._started = metrics.started.labels(*labels)
        self._seconds = metrics.handling_seconds.labels(*labels)
        self._handled = {code: metrics.handled.labels(*labels, _go_name(code)) for code in _CODES}

    def begin(self) -> None:
        """Count a call that begins."""
        self._started.inc()

    def end(
        self,
        code: grpc.StatusCode,
        seconds: float,
        exemplar: Mapping[str, str] | None = None,
    ) -> None:
        """Count a call that ended, and observe how long it took.

        Args:
            code: How it ended.
            seconds: How long it took.
            exemplar: The labels of its trace, if it has one.
        """
        self._handled[code].inc()
        self._seconds.observe(seconds, exemplar)


class VersionMetrics:
    """The metrics of one version, with every label looked up once; an observer of the engine."""

    def __init__(
        self, metrics: "Metrics", model: str, version: str, classes: Sequence[str]
    ) -> None:
        labels = (model, version)
        self._predicted = PredictedClasses(metrics.predicted_classes, labels, classes)
        self._top1 = metrics.top1_probability.labels(*labels)
        self._entropy = metrics.entropy_ratio.labels(*labels)
        self._requests = {code: metrics.requests.labels(*labels, code.name) for code in _CODES}
        self._stages = {stage: metrics.stage_seconds.labels(*labels, stage) for stage in _STAGES}
        self._decode, self._queue, self._infer, self._encode = self._stages.values()
        self._failed = Total()
        self._last_success_at = 0.0
        self._batch = metrics.batch_images.labels(*labels)
        self._seconds = metrics.request_seconds.labels(*labels)
        self._waiting = metrics.queue_images.labels(*labels)
        self._limit = metrics.queue_limit_images.labels(*labels)
        self._running = metrics.batches_running.labels(*labels)

    def stages(self, seconds: StageSeconds) -> None:
        """Observe the stages of one answered input."""
        self._decode.observe(seconds.decode)
        self._queue.observe(seconds.queue)
        self._infer.observe(seconds.infer)

    def predictions(
        self,
        classes: Sequence[Sequence[int]],
        scores: Sequence[Sequence[float]],
        entropy_ratios: Sequence[float],
    ) -> None:
        """Observe what was found for some inputs: of each the best class and its probability."""
        for ranked, probabilities in zip(classes, scores, strict=True):
            if ranked:
                self._predicted.count(ranked[0])
                self._top1.observe(probabilities[0])
        for ratio in entropy_ratios:
            self._entropy.observe(ratio)

    def request(self, code: grpc.StatusCode, seconds: float) -> None:
        """Count a request that was answered, and observe how long it took if it has its answer."""
        self._requests[code].inc()
        # What is refused at once would make an overload look fast.
        if code is grpc.StatusCode.OK:
            self._seconds.observe(seconds)
            self._last_success_at = time()
        else:
            self._failed.add(seconds)

    def totals(self) -> VersionTotals:
        """Add up what was done so far."""
        stages = {name: Total(s.count, s.total) for name, s in self._stages.items()}
        return VersionTotals(
            Total(self._seconds.count, self._seconds.total),
            replace(self._failed),
            stages,
            self._batch.count,
            self._last_success_at,
        )

    def encode(self, seconds: float) -> None:
        """Observe the encoding of one reply."""
        self._encode.observe(seconds)

    def batch(self, images: int) -> None:
        """Observe the size of a batch."""
        self._batch.observe(images)

    def queue_limit(self, images: int) -> None:
        """State how many images may wait."""
        self._limit.set(images)

    def load(self, waiting: Callable[[], int], running: Callable[[], int]) -> None:
        """Have the number of waiting images and running batches asked for at each scrape."""
        self._waiting.set_function(waiting)
        self._running.set_function(running)

    def gone(self) -> None:
        """Ask no longer."""
        self.load(lambda: 0, lambda: 0)

    def forget(self) -> None:
        """Drop the series of classes, whose labels nobody else knows."""
        self._predicted.forget()


class PredictedClasses:
    """Counts the best classes of one version.

    The first classes to be predicted have series of their own, up to a bound;
    the rest share one, so that a model of thousands of classes stays readable.
    """

    def __init__(self, counter: Counter, labels: tuple[str, str], classes: Sequence[str]) -> None:
        self._counter = counter
        self._labels = labels
        self._classes = classes
        self._series: dict[int, Counter] = {}
        self._names: set[str] = set()

    def count(self, index: int) -> None:
        """Count a prediction of the class with this index."""
        series = self._series.get(index)
        if series is None:
            series = self._series[index] = self._open(index)
        series.inc()

    def forget(self) -> None:
        """Drop the series."""
        for name in self._names:
            self._counter.remove(*self._labels, name)

    def _open(self, index: int) -> Counter:
        name = self._classes[index] if len(self._names) < MAX_CLASSES else OTHER_CLASSES
        self._names.add(name)
        return self._counter.labels(*self._labels, name)


class ShadowMetrics:
    """What came of the copies that one version was given, compared with one that answered."""

    def __init__(self, metrics: "Metrics", model: str, version: str, shadow: str) -> None:
        labels = (model, version, shadow)
        self._inputs = {o: metrics.shadow_inputs.labels(*labels, o) for o in SHADOW_OUTCOMES}
        self._difference = metrics.shadow_difference.labels(*labels)

    def count(self, outcome: str, inputs: int = 1) -> None:
        """Count inputs: "agreed", "disagreed", "dropped" or "failed"."""
        self._inputs[outcome].inc(inputs)

    def difference(self, value: float) -> None:
        """Observe the largest difference between the probabilities of one input."""
        self._difference.observe(value)


class SyncMetrics:
    """How the cache keeps up with a remote repository; a `SyncObserver` of its mirror."""

    def __init__(self, registry: CollectorRegistry) -> None:
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


class Metrics:
    """The metrics of one server.

    Labels come from the repository, never from a request, so that no caller
    can make their number grow.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.started = Counter("grpc_server_started", "Calls begun.", _RPC, registry=registry)
        self.handled = Counter(
            "grpc_server_handled", "Calls ended.", (*_RPC, "grpc_code"), registry=registry
        )
        self.handling_seconds = Histogram(
            "grpc_server_handling_seconds",
            "Seconds from a call's arrival to its reply.",
            _RPC,
            buckets=_REQUEST_BUCKETS,
            registry=registry,
        )
        self.stage_seconds = Histogram(
            "convscope_stage_seconds",
            "Seconds that an input spent in a stage: decode, queue, infer, encode.",
            (*_VERSION, "stage"),
            buckets=_STAGE_BUCKETS,
            registry=registry,
        )
        self.batch_images = Histogram(
            "convscope_batch_images",
            "Images of one run.",
            _VERSION,
            buckets=_BATCH_BUCKETS,
            registry=registry,
        )
        self.queue_images = Gauge(
            "convscope_queue_images", "Images that wait.", _VERSION, registry=registry
        )
        self.queue_limit_images = Gauge(
            "convscope_queue_limit_images",
            "Images that may wait before calls are refused; of bulk requests as many again.",
            _VERSION,
            registry=registry,
        )
        self.batches_running = Gauge(
            "convscope_batches_running", "Batches that run.", _VERSION, registry=registry
        )
        self.requests = Counter(
            "convscope_requests", "Requests answered.", (*_VERSION, "code"), registry=registry
        )
        self.request_seconds = Histogram(
            "convscope_request_seconds",
            "Seconds from a request's arrival at its version to its answer, of those answered OK.",
            _VERSION,
            buckets=_REQUEST_BUCKETS,
            registry=registry,
        )
        self.model_info = Gauge(
            "convscope_model_info",
            "1 for each version that is ready.",
            (*_VERSION, "provider", "precision"),
            registry=registry,
        )
        self.provider_fallback = Gauge(
            "convscope_provider_fallback",
            "1 for each version that doesn't run, or not wholly, on the provider that was wanted.",
            (*_VERSION, "wanted", "provider"),
            registry=registry,
        )
        self.load_failures = Counter(
            "convscope_model_load_failures",
            "Bundles refused, by the check that refused them.",
            ("reason",),
            registry=registry,
        )
        for reason in _REASONS:
            self.load_failures.labels(reason)
        self.model_refused = Gauge(
            "convscope_model_refused",
            "1 for each version of the repository that failed a check.",
            (*_VERSION, "reason"),
            registry=registry,
        )
        self.predicted_classes = Counter(
            "convscope_predicted_classes",
            "Inputs by their best class; beyond the first classes seen, together as other.",
            (*_VERSION, "class"),
            registry=registry,
        )
        self.top1_probability = Histogram(
            "convscope_top1_probability",
            "The probability of an input's best class.",
            _VERSION,
            buckets=_PROBABILITY_BUCKETS,
            registry=registry,
        )
        self.entropy_ratio = Histogram(
            "convscope_prediction_entropy_ratio",
            "How undecided an input's probabilities are: 0 for one class, 1 for all alike.",
            _VERSION,
            buckets=_PROBABILITY_BUCKETS,
            registry=registry,
        )
        self.shadow_inputs = Counter(
            "convscope_shadow_inputs",
            "Inputs copied to a shadow, by whether its best class was the answer's.",
            (*_SHADOW, "outcome"),
            registry=registry,
        )
        self.shadow_difference = Histogram(
            "convscope_shadow_difference",
            "The largest difference between the probabilities of an answer and of its shadow.",
            _SHADOW,
            buckets=_DIFFERENCE_BUCKETS,
            registry=registry,
        )
        self.traffic_share = Gauge(
            "convscope_traffic_share",
            "The share of a model's requests that a version is to have as canary or shadow.",
            (*_VERSION, "kind"),
            registry=registry,
        )
        self._versions: dict[tuple[str, int], VersionMetrics] = {}
        self._shadows: dict[tuple[str, int, int], ShadowMetrics] = {}

    def of(self, version: LoadedVersion) -> VersionMetrics:
        """Give the metrics of one version."""
        if version.key not in self._versions:
            model, number = version.key
            self._versions[version.key] = VersionMetrics(self, model, str(number), version.labels)
        return self._versions[version.key]

    def shadow(self, version: LoadedVersion, shadow: int) -> ShadowMetrics:
        """Give the metrics of one version's shadow."""
        model, number = version.key
        key = (model, number, shadow)
        if key not in self._shadows:
            self._shadows[key] = ShadowMetrics(self, model, str(number), str(shadow))
        return self._shadows[key]

    def method(self, kind: str, service: str, method: str) -> MethodMetrics:
        """Give the metrics of one gRPC method; `kind` is "unary" or of the streaming ones."""
        return MethodMetrics(self, kind, service, method)

    def sync(self) -> SyncMetrics:
        """Give the metrics of a remote repository, which only a server that has one shows."""
        return SyncMetrics(self.registry)

    def ready(self, version: LoadedVersion) -> None:
        """State that a version answers, and on which provider."""
        for gauge, labels in _provider_series(self, version):
            gauge.labels(*labels).set(1)

    def gone(self, version: LoadedVersion) -> None:
        """State that a version no longer answers; what it counted stays for a while."""
        self.of(version).gone()
        self.replaced(version)

    def replaced(self, version: LoadedVersion) -> None:
        """State no longer on which provider a version answers: the same number was loaded anew."""
        for gauge, labels in _provider_series(self, version):
            gauge.remove(*labels)

    def forget(self, model: str, number: int) -> None:
        """Drop what a version that is gone has counted, so that versions don't add up for ever."""
        counted = self._versions.pop((model, number), None)
        if counted is None:
            return
        counted.forget()
        labels = (model, str(number))
        for code in _CODES:
            self.requests.remove(*labels, code.name)
        for stage in _STAGES:
            self.stage_seconds.remove(*labels, stage)
        self.batch_images.remove(*labels)
        self.top1_probability.remove(*labels)
        self.entropy_ratio.remove(*labels)
        self.request_seconds.remove(*labels)
        self.queue_images.remove(*labels)
        self.queue_limit_images.remove(*labels)
        self.batches_running.remove(*labels)
        for key in [k for k in self._shadows if k[0] == model and number in k[1:]]:
            self._forget_shadow(*key)

    def _forget_shadow(self, model: str, number: int, shadow: int) -> None:
        del self._shadows[model, number, shadow]
        labels = (model, str(number), str(shadow))
        for outcome in SHADOW_OUTCOMES:
            self.shadow_inputs.remove(*labels, outcome)
        self.shadow_difference.remove(*labels)

    def trials(self, shares: Iterable[tuple[str, int, str, float]]) -> None:
        """State each model's trials: model, version, "canary" or "shadow", share."""
        self.traffic_share.clear()
        for model, number, kind, share in shares:
            self.traffic_share.labels(model, str(number), kind).set(share)

    def refused(self, refusal: Refusal) -> None:
        """Count a version that failed a check."""
        self.load_failures.labels(refusal.reason).inc()

    def refusals(self, refusals: Iterable[Refusal]) -> None:
        """State which versions lie in the repository and don't answer."""
        self.model_refused.clear()
        for refusal in refusals:
            self.model_refused.labels(refusal.model, str(refusal.version), refusal.reason).set(1)


def _provider_series(
    metrics: Metrics, version: LoadedVersion
) -> Sequence[tuple[Gauge, tuple[str, ...]]]:
    """The series that say what a version runs on."""
    model, number = version.key
    labels = (model, str(number))
    provider, wanted = version.model.provider, version.model.fallback_from
    precision = pb.Precision.Name(version.manifest.precision).removeprefix("PRECISION_").lower()
    series = [(metrics.model_info, (*labels, provider, precision))]
    if wanted:
        series.append((metrics.provider_fallback, (*labels, wanted, provider)))
    return series


class MetricsServer:
    """Answers Prometheus on a listener and a thread of its own, until closed."""

    def __init__(self, registry: CollectorRegistry, host: str, port: int) -> None:
        server: WSGIServer
        thread: Thread
        server, thread = start_http_server(port, host.strip("[]"), registry)
        self._server, self._thread = server, thread
        self.port = server.server_port

    def close(self) -> None:
        """Stop to listen."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _go_name(code: grpc.StatusCode) -> str:
    """The spelling that go-grpc-middleware made the standard: OK, NotFound, Canceled."""
    if code is grpc.StatusCode.OK:
        return "OK"
    if code is grpc.StatusCode.CANCELLED:
        return "Canceled"
    return code.name.title().replace("_", "")
