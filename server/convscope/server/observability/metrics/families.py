"""Every Prometheus metric of a server, as one table: names, labels, buckets, merging."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from convscope.server.observability.metrics.codes import CODES, go_name

__all__ = [
    "EXPLANATION_METHODS",
    "EXPLANATION_RUNS",
    "LABELS",
    "PRIORITIES",
    "REQUEST_BUCKETS",
    "SESSIONS",
    "SHADOW_OUTCOMES",
    "SHADOW_SIDES",
    "SHADOW_VERDICTS",
    "STAGES",
    "TABLE",
    "Family",
    "Scope",
]


class Scope(Enum):
    """What a series belongs to; series are opened and removed together with it."""

    SERVER = "server"
    METHOD = "method"
    VERSION = "version"
    EXPLANATIONS = "explanations"
    SHADOW = "shadow"
    REPOSITORY = "repository"


LABELS: Mapping[Scope, tuple[str, ...]] = {
    Scope.SERVER: (),
    Scope.METHOD: ("grpc_type", "grpc_service", "grpc_method"),
    Scope.VERSION: ("model", "version"),
    Scope.EXPLANATIONS: ("model", "version"),
    Scope.SHADOW: ("model", "version", "shadow"),
    Scope.REPOSITORY: (),
}
_VERSION = LABELS[Scope.VERSION]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric.

    Args:
        name: Its name; a counter's without "_total".
        kind: Its type.
        help: What it measures.
        scope: What each series belongs to, with the labels of that.
        labels: More labels.
        values: The values of the last label that are open from the start, at 0, so that
            the first failure is an increase that a rate sees.
        buckets: The upper bounds of a histogram.
        merged: How the gauges of several workers become one.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    scope: Scope = Scope.SERVER
    labels: tuple[str, ...] = ()
    values: Sequence[str] = ()
    buckets: Sequence[float] = ()
    merged: Callable[[Iterable[float]], float] = sum

    @property
    def all_labels(self) -> tuple[str, ...]:
        """The labels of the scope, and the family's own."""
        return (*LABELS[self.scope], *self.labels)


# Seconds. Inference takes 1 to 20 ms, so the library's own buckets start too coarse.
REQUEST_BUCKETS = (
    *(0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075),
    *(0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
_STAGE_BUCKETS = (0.0001, 0.00025, 0.0005, *REQUEST_BUCKETS)
_CHANGE_BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
_PROBABILITY_BUCKETS = tuple(round(0.05 * step, 2) for step in range(1, 21))
STAGES = ("decode", "queue", "infer", "encode")
PRIORITIES = ("interactive", "bulk")
SESSIONS = ("feature_maps", "explanations")
EXPLANATION_METHODS = ("grad-cam", "cam", "eigen-cam", "occlusion")
EXPLANATION_RUNS = ("heat", "occlusion")
SHADOW_OUTCOMES = ("agreed", "disagreed", "dropped", "failed")
SHADOW_VERDICTS = ("agreed", "disagreed")
SHADOW_SIDES = ("answer", "shadow")
# The reasons for which a bundle is rejected.
REASONS = (
    *("files", "golden", "graph", "hash", "manifest"),
    *("memory", "provider", "signature", "time", "unexpected"),
)
# The reasons for which a call ends before its method counts it. Memory has its own metric.
CALL_REJECTIONS = ("expired", "invalid", "refused", "stalled", "too_large", "unimplemented")
# Why access control denies a call, or a request of one.
DENIALS = ("concurrent_bytes", "flood", "model", "rate", "rpc", "unauthenticated")
# The files that are followed without a restart.
FOLLOWED = ("jwks", "policy", "tls")

# How gauges are merged: what each worker has or does is added up. For a fact that
# holds for every worker, or for one of them at first, the largest value is shown;
# for a time, the one that lags behind the most.
TABLE = (
    Family("grpc_server_started", "counter", "Calls that began.", Scope.METHOD),
    Family(
        "grpc_server_handled",
        "counter",
        "Calls that ended.",
        Scope.METHOD,
        ("grpc_code",),
        [go_name(code) for code in CODES],
    ),
    Family(
        "convscope_caller_limited_calls",
        "counter",
        "Calls that ended because of a limit that --policy sets for their caller.",
        Scope.METHOD,
    ),
    Family(
        "grpc_server_handling_seconds",
        "histogram",
        "Seconds from a call's arrival to its reply.",
        Scope.METHOD,
        buckets=REQUEST_BUCKETS,
    ),
    Family(
        "convscope_requests",
        "counter",
        "Requests that ended.",
        Scope.VERSION,
        ("code",),
        [code.name for code in CODES],
    ),
    Family(
        "convscope_request_seconds",
        "histogram",
        "Seconds from a request's arrival at its version to its answer, for requests answered OK.",
        Scope.VERSION,
        ("priority",),
        PRIORITIES,
        REQUEST_BUCKETS,
    ),
    Family(
        "convscope_stage_seconds",
        "histogram",
        "Seconds that an answered input spent in a stage: decode, queue, infer, encode.",
        Scope.VERSION,
        ("stage",),
        STAGES,
        _STAGE_BUCKETS,
    ),
    Family(
        "convscope_batch_images",
        "histogram",
        "Images in one batch.",
        Scope.VERSION,
        buckets=(1, 2, 4, 8, 16, 32, 64),
    ),
    Family("convscope_queue_images", "gauge", "Images that wait.", Scope.VERSION),
    Family(
        "convscope_queue_fill_ratio",
        "gauge",
        "How full the fullest queue is: those before the decoders and the runners, for "
        "interactive and bulk requests. From 1 on, requests are rejected.",
        Scope.VERSION,
        merged=max,
    ),
    Family("convscope_batches_running", "gauge", "Batches that are running.", Scope.VERSION),
    Family(
        "convscope_session_open",
        "gauge",
        "1 if a session that is opened on first use is open: feature_maps, explanations.",
        Scope.VERSION,
        ("session",),
        SESSIONS,
    ),
    Family(
        "convscope_session_memory_bytes",
        "gauge",
        "The estimated memory of a version's open sessions: their weights, plain and packed.",
        Scope.VERSION,
    ),
    Family(
        "convscope_explained_requests",
        "counter",
        "Requests for explanations that ended. They are also counted with all requests.",
        Scope.EXPLANATIONS,
        ("code",),
        [code.name for code in CODES],
    ),
    Family(
        "convscope_explanations",
        "counter",
        "Explanations that were returned, by method.",
        Scope.EXPLANATIONS,
        ("method",),
        EXPLANATION_METHODS,
    ),
    Family(
        "convscope_explained_infer_seconds",
        "histogram",
        "Seconds that an answered input spent in runs with explanations: in one run with heat, or "
        "in many with occlusion. The stage infer includes them.",
        Scope.EXPLANATIONS,
        ("run",),
        EXPLANATION_RUNS,
        _STAGE_BUCKETS,
    ),
    Family(
        "convscope_occluded_images",
        "counter",
        "Images with a square that ran for occlusion.",
        Scope.EXPLANATIONS,
    ),
    Family(
        "convscope_predicted_classes",
        "counter",
        "Inputs by their best class; classes beyond the first ones seen are counted as other.",
        Scope.VERSION,
        ("class",),
    ),
    Family(
        "convscope_top1_probability",
        "histogram",
        "The probability of an input's best class.",
        Scope.VERSION,
        buckets=_PROBABILITY_BUCKETS,
    ),
    Family(
        "convscope_prediction_entropy_ratio",
        "histogram",
        "How undecided an input's probabilities are: 0 for a single class, 1 if all are equal.",
        Scope.VERSION,
        buckets=_PROBABILITY_BUCKETS,
    ),
    Family(
        "convscope_shadow_inputs",
        "counter",
        "Inputs copied to a shadow, by whether it names the same class as the answer, or the same "
        "classes if several can be probable.",
        Scope.SHADOW,
        ("outcome",),
        SHADOW_OUTCOMES,
    ),
    Family(
        "convscope_shadow_clear_inputs",
        "counter",
        "Those of the compared inputs whose answer is clear: its best class leads by 0.1 or more. "
        "If several classes can be probable: none has a probability between 0.45 and 0.55.",
        Scope.SHADOW,
        ("outcome",),
        SHADOW_VERDICTS,
    ),
    Family(
        "convscope_shadow_difference",
        "histogram",
        "The largest difference between the probabilities of an answer and of its shadow.",
        Scope.SHADOW,
        buckets=_CHANGE_BUCKETS,
    ),
    Family(
        "convscope_shadow_top1_change",
        "histogram",
        "How much the shadow changes the probability of the answer's best class, up or down.",
        Scope.SHADOW,
        buckets=_CHANGE_BUCKETS,
    ),
    Family(
        "convscope_shadow_infer_seconds",
        "histogram",
        "Seconds of the run that a compared input was part of, for the answer and for the shadow. "
        "Compare them where batches are small: answers share runs with other requests.",
        Scope.SHADOW,
        ("side",),
        SHADOW_SIDES,
        _STAGE_BUCKETS,
    ),
    Family(
        "convscope_model_info",
        "gauge",
        "1 for each version that is ready.",
        labels=(*_VERSION, "provider", "precision", "compute_precision"),
        merged=max,
    ),
    Family(
        "convscope_provider_relative_speed",
        "gauge",
        "With --provider auto, the images per second of each provider and precision that was "
        "measured at load, relative to the most exact one; 0 if it was rejected.",
        labels=(*_VERSION, "provider", "compute_precision"),
        merged=max,
    ),
    Family(
        "convscope_provider_fallback",
        "gauge",
        "1 for each version that doesn't run, or runs only in part, on the provider that is "
        "configured, unless that provider's engine is being built.",
        labels=(*_VERSION, "wanted", "provider"),
        merged=max,
    ),
    Family(
        "convscope_provider_awaited",
        "gauge",
        "1 for each version that runs on another provider while the configured provider's engine "
        "is being built.",
        labels=(*_VERSION, "wanted", "provider"),
        merged=max,
    ),
    Family(
        "convscope_workers",
        "gauge",
        "Processes that serve. Each of them counts on its own, and the counts are added up.",
    ),
    Family(
        "convscope_request_memory_bytes",
        "gauge",
        "Bytes of requests that have arrived, wholly or in part, and have no reply yet.",
    ),
    Family(
        "convscope_request_memory_rejections",
        "counter",
        "Calls that were rejected because the memory for requests was in use.",
    ),
    Family(
        "convscope_rejected_calls",
        "counter",
        "Calls that the transport http2 ended before their method counted them, by reason.",
        labels=("reason",),
        values=CALL_REJECTIONS,
    ),
    Family(
        "convscope_denied_calls",
        "counter",
        "Calls, and requests in streams, that the policy of --policy denied, by reason.",
        labels=("reason",),
        values=DENIALS,
    ),
    Family(
        "convscope_reload_failed",
        "gauge",
        "1 if the newest policy, token keys or TLS files can't be used, and older ones are in use.",
        labels=("file",),
        values=FOLLOWED,
        merged=max,
    ),
    Family(
        "convscope_model_load_failures",
        "counter",
        "Rejected bundles, by the check that failed.",
        labels=("reason",),
        values=REASONS,
    ),
    Family(
        "convscope_model_refused",
        "gauge",
        "1 for each version of the repository that failed a check.",
        labels=(*_VERSION, "reason"),
        merged=max,
    ),
    Family(
        "convscope_traffic_share",
        "gauge",
        "The configured share of a model's requests that a version gets as canary or shadow.",
        labels=(*_VERSION, "kind"),
        merged=max,
    ),
    Family(
        "convscope_repository_poll_seconds",
        "gauge",
        "Seconds between two polls of the remote repository; 0 if it isn't polled.",
        Scope.REPOSITORY,
        merged=max,
    ),
    Family(
        "convscope_repository_last_sync_timestamp_seconds",
        "gauge",
        "When the cache last matched the remote repository, in seconds of Unix time.",
        Scope.REPOSITORY,
        merged=min,
    ),
    Family(
        "convscope_repository_sync_failures",
        "counter",
        "Failed attempts to reach the remote repository.",
        Scope.REPOSITORY,
    ),
)
