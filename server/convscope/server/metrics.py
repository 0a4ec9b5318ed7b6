"""Every Prometheus metric of the server, and the listener that shows them."""

from collections.abc import Callable, Iterable
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
_STAGES = ("decode", "queue", "infer", "encode")


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

    def end(self, code: grpc.StatusCode, seconds: float) -> None:
        """Count a call that ended, and observe how long it took."""
        self._handled[code].inc()
        self._seconds.observe(seconds)


class VersionMetrics:
    """The metrics of one version, with every label looked up once; an observer of the engine."""

    def __init__(self, metrics: "Metrics", model: str, version: str) -> None:
        labels = (model, version)
        self._requests = {code: metrics.requests.labels(*labels, code.name) for code in _CODES}
        self._stages = {stage: metrics.stage_seconds.labels(*labels, stage) for stage in _STAGES}
        self._decode, self._queue, self._infer, self._encode = self._stages.values()
        self._succeeded, self._failed = Total(), Total()
        self._last_success_at = 0.0
        self._batch = metrics.batch_images.labels(*labels)
        self._waiting = metrics.queue_images.labels(*labels)
        self._running = metrics.batches_running.labels(*labels)

    def stages(self, seconds: StageSeconds) -> None:
        """Observe the stages of one answered input."""
        self._decode.observe(seconds.decode)
        self._queue.observe(seconds.queue)
        self._infer.observe(seconds.infer)

    def request(self, code: grpc.StatusCode, seconds: float) -> None:
        """Count a request that ended, after so long."""
        self._requests[code].inc()
        if code is grpc.StatusCode.OK:
            self._succeeded.add(seconds)
            self._last_success_at = time()
        else:
            self._failed.add(seconds)

    def totals(self) -> VersionTotals:
        """Add up what was done so far."""
        stages = {name: Total(s.count, s.total) for name, s in self._stages.items()}
        return VersionTotals(
            replace(self._succeeded),
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

    def load(self, waiting: Callable[[], int], running: Callable[[], int]) -> None:
        """Have the number of waiting images and running batches asked for at each scrape."""
        self._waiting.set_function(waiting)
        self._running.set_function(running)

    def gone(self) -> None:
        """Ask no longer."""
        self.load(lambda: 0, lambda: 0)


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
        self.batches_running = Gauge(
            "convscope_batches_running", "Batches that run.", _VERSION, registry=registry
        )
        self.requests = Counter(
            "convscope_requests", "Requests answered.", (*_VERSION, "code"), registry=registry
        )
        self.model_info = Gauge(
            "convscope_model_info",
            "1 for each version that is ready.",
            (*_VERSION, "provider", "precision"),
            registry=registry,
        )
        self.load_failures = Counter(
            "convscope_model_load_failures",
            "Bundles refused, by the check that refused them.",
            ("reason",),
            registry=registry,
        )
        self.model_refused = Gauge(
            "convscope_model_refused",
            "1 for each version of the repository that failed a check.",
            (*_VERSION, "reason"),
            registry=registry,
        )
        self._versions: dict[tuple[str, int], VersionMetrics] = {}

    def of(self, version: LoadedVersion) -> VersionMetrics:
        """Give the metrics of one version."""
        if version.key not in self._versions:
            model, number = version.key
            self._versions[version.key] = VersionMetrics(self, model, str(number))
        return self._versions[version.key]

    def method(self, kind: str, service: str, method: str) -> MethodMetrics:
        """Give the metrics of one gRPC method; `kind` is "unary" or of the streaming ones."""
        return MethodMetrics(self, kind, service, method)

    def ready(self, version: LoadedVersion) -> None:
        """State that a version answers."""
        self._info(version).set(1)

    def gone(self, version: LoadedVersion) -> None:
        """State that a version no longer answers; what it counted stays for a while."""
        self.of(version).gone()
        model, number = version.key
        self.model_info.remove(model, str(number), version.model.provider, _precision(version))

    def forget(self, model: str, number: int) -> None:
        """Drop what a version that is gone has counted, so that versions don't add up for ever."""
        if self._versions.pop((model, number), None) is None:
            return
        labels = (model, str(number))
        for code in _CODES:
            self.requests.remove(*labels, code.name)
        for stage in _STAGES:
            self.stage_seconds.remove(*labels, stage)
        self.batch_images.remove(*labels)
        self.queue_images.remove(*labels)
        self.batches_running.remove(*labels)

    def refused(self, refusal: Refusal) -> None:
        """Count a version that failed a check."""
        self.load_failures.labels(refusal.reason).inc()

    def refusals(self, refusals: Iterable[Refusal]) -> None:
        """State which versions lie in the repository and don't answer."""
        self.model_refused.clear()
        for refusal in refusals:
            self.model_refused.labels(refusal.model, str(refusal.version), refusal.reason).set(1)

    def _info(self, version: LoadedVersion) -> Gauge:
        model, number = version.key
        return self.model_info.labels(
            model, str(number), version.model.provider, _precision(version)
        )


def _precision(version: LoadedVersion) -> str:
    return pb.Precision.Name(version.manifest.precision).removeprefix("PRECISION_").lower()


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
