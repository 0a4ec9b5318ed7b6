"""Every Prometheus metric of a server: names, labels and buckets."""

import grpc
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    PlatformCollector,
    ProcessCollector,
)

from convscope.server.observability.metrics.histograms import Histogram

__all__ = ["CODES", "PRIORITIES", "REQUEST_BUCKETS", "SHADOW_OUTCOMES", "STAGES", "Families"]

# Seconds. Inference takes 1 to 20 ms, so the library's own buckets start too coarse.
REQUEST_BUCKETS = (
    *(0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075),
    *(0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
_STAGE_BUCKETS = (0.0001, 0.00025, 0.0005, *REQUEST_BUCKETS)
_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64)
_RPC = ("grpc_type", "grpc_service", "grpc_method")
_VERSION = ("model", "version")
_SHADOW = (*_VERSION, "shadow")
_PROBABILITY_BUCKETS = tuple(round(0.05 * step, 2) for step in range(1, 21))
_DIFFERENCE_BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
STAGES = ("decode", "queue", "infer", "encode")
PRIORITIES = ("interactive", "bulk")
SHADOW_OUTCOMES = ("agreed", "disagreed", "dropped", "failed")

# What the server answers with. Each begins at 0, so that the first failure is
# an increase that a rate sees.
CODES = (
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
REASONS = ("files", "golden", "graph", "hash", "manifest", "memory", "provider", "unforeseen")


class Families:
    """The metrics of one server, before any label has a value."""

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
            buckets=REQUEST_BUCKETS,
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
        self.queue_fill_ratio = Gauge(
            "convscope_queue_fill_ratio",
            "How much of its bound the fullest queue holds: those before the decoders and the "
            "runners, of interactive and of bulk requests. From 1 on calls are refused.",
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
            (*_VERSION, "priority"),
            buckets=REQUEST_BUCKETS,
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
            "1 for each version that doesn't run, or not wholly, on the provider that was wanted, "
            "unless that one's engine is being built.",
            (*_VERSION, "wanted", "provider"),
            registry=registry,
        )
        self.provider_awaited = Gauge(
            "convscope_provider_awaited",
            "1 for each version that another provider runs while the wanted one's engine is built.",
            (*_VERSION, "wanted", "provider"),
            registry=registry,
        )
        self.workers = Gauge(
            "convscope_workers",
            "Processes that answer; what each of them counts is counted so often.",
            registry=registry,
        )
        self.workers.set(1)  # itself; those of several workers are added up
        self.load_failures = Counter(
            "convscope_model_load_failures",
            "Bundles refused, by the check that refused them.",
            ("reason",),
            registry=registry,
        )
        for reason in REASONS:
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
