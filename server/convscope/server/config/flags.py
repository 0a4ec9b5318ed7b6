"""The table of flags: one line for each setting, with its type and its help.

Each flag --like-this is also the environment variable CONVSCOPE_LIKE_THIS and
the key like_this in the table [server] of a settings file. It sets the field
like_this of one of the groups of `Settings`, which also has the default.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from convscope.server.config.flag_types import (
    ADDRESS,
    ADMIN_ADDRESS,
    BYTES,
    CACHE_DIRECTORY,
    CACHE_FILE,
    NATURAL,
    NUMBER,
    PEM_FILE,
    PEM_FILE_OR_DIRECTORY,
    POLICY_FILE,
    POSITIVE_SECONDS,
    PRECISION,
    PROVIDER_NAMES,
    SECONDS,
    SWITCH,
    TEXT,
    TOKEN_FILE,
    TRANSPORT,
    URL,
    VERSIONS,
)

__all__ = ["FLAGS", "PANELS", "Flag"]


@dataclass(frozen=True, slots=True)
class Flag:
    """One line of the table.

    Args:
        name: The field that it sets.
        type: Reads and checks its text.
        help: One or two sentences.
        metavar: The name of its value in the help; by default that of the type.
        default: What happens without it, in words, if the default value doesn't say that.
        variables: More environment variables, after its own.
    """

    name: str
    type: "click.ParamType[Any]"
    help: str
    metavar: str | None = None
    default: str = ""
    variables: Sequence[str] = ()


PANELS = {
    "Repository": (
        Flag("models", TEXT, "The repository, with MODEL/VERSION/manifest.json and so on: a "
             "directory, or a URL such as s3://BUCKET/models, gs://… or hf://…. A directory may "
             "also be one model or one version.", "DIR|URL"),
        Flag("load", TEXT, "Models to load: all, on-demand, or names separated by commas."),
        Flag("versions", VERSIONS, "Number of latest versions of each model, or a list: =3,5. "
             "Versions with an alias are loaded too."),
        Flag("max_memory_mb", NUMBER, "With --load on-demand: above this limit, the server unloads "
             "the least recently used versions.", default="no limit"),
        Flag("poll_seconds", SECONDS, "Seconds between two polls for new versions and aliases; "
             "0 for none."),
        Flag("repository_cache", CACHE_DIRECTORY, "Directory of the local copies of remote "
             "repositories; several servers can share it."),
        Flag("require_signature", SWITCH, "Load only versions that one of the signers below has "
             "signed with convscope-exporter sign."),
        Flag("signature_key", PEM_FILE_OR_DIRECTORY, "Public key that may sign: a PEM file, or a "
             "directory of *.pem files for several.", default="no key"),
        Flag("signature_authority", PEM_FILE, "PEM file of the authorities whose certificates may "
             "sign.", default="no authority"),
        Flag("signature_identity", TEXT, "Identity that may sign through Sigstore, such as an "
             "email address.", default="no identity"),
        Flag("signature_issuer", URL, "OpenID Connect issuer that confirms --signature-identity.",
             default="no issuer"),
        Flag("signature_trust_config", PEM_FILE, "Sigstore's trust configuration.", "FILE",
             default="that of the public instance, which is fetched"),
    ),
    "Listeners": (
        Flag("grpc_address", ADDRESS, "Address of the gRPC listener."),
        Flag("metrics_address", ADDRESS, "Address of /metrics for Prometheus."),
        Flag("metrics_token_file", TOKEN_FILE, "File with the token that scrapers must send as "
             "Authorization: Bearer.", default="everyone who reaches the address may scrape"),
        Flag("metrics_tls", SWITCH, "Use the certificates of gRPC for /metrics too."),
        Flag("admin_address", ADMIN_ADDRESS, "Address of AdminService: unix:PATH or a loopback "
             "HOST:PORT. Its callers are checked only with --policy.", default="off"),
        Flag("transport", TRANSPORT, "What serves gRPC: http2 is the fastest and needs the package "
             "ngh2; auto is http2 if a tested version of it is installed."),
        Flag("otlp_endpoint", URL, "Collector of traces, by OTLP over gRPC, such as "
             "http://localhost:4317; also $OTEL_EXPORTER_OTLP_ENDPOINT.", default="off",
             variables=("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")),
        Flag("allow_insecure", SWITCH, "Listen beyond loopback without TLS."),
        Flag("policy", POLICY_FILE, "TOML file that says who may call which RPCs and models, and "
             "how much; see convscope-server token.", default="every caller may do everything"),
        Flag("tls_certificate", PEM_FILE, "PEM file of the certificate chain.", default="no TLS"),
        Flag("tls_key", PEM_FILE, "PEM file of the private key.", default="no TLS"),
        Flag("tls_client_ca", PEM_FILE, "PEM file of the authorities of client certificates, which "
             "clients then need.", default="no client certificates"),
        Flag("reflection", SWITCH, "Offer gRPC reflection also beyond loopback."),
        Flag("no_reflection", SWITCH, "Turn gRPC reflection off."),
        Flag("no_open_inference", SWITCH, "Turn the Open Inference Protocol off."),
        Flag("no_access_log", SWITCH, "Write no log line for each call."),
    ),
    "ONNX Runtime": (
        Flag("provider", PROVIDER_NAMES, "Execution providers in order of preference, separated by "
             "commas: cpu, cuda, tensorrt, openvino. All must be available, unless "
             "--allow-fallback. auto measures those that are available, and uses the fastest."),
        Flag("precision", PRECISION, "Precision in which OpenVINO computes FP32 operations: fp32, "
             "bf16 or fp16. auto is fp32, and with --provider auto the fastest of them that "
             "passes the golden gate."),
        Flag("allow_fallback", SWITCH, "Use the next provider or the CPU for what a provider can't "
             "run, instead of rejecting the bundle."),
        Flag("runners", NATURAL, "Batches of one model that run at once; 0 runs them on the event "
             "loop.", default="measured at load"),
        Flag("threads", NUMBER, "Threads of one run.", default="measured at load"),
        Flag("max_batch", NUMBER, "Images of one batch.", default="measured at load"),
        Flag("no_tuning", SWITCH, "Measure nothing at load: one runner per core, all cores "
             "for a single call, batches of 4; on a GPU one runner, batches of 16."),
        Flag("tuning_cache", CACHE_FILE, "File that keeps the measurements for the next start."),
        Flag("cores", NUMBER, "Cores to use.", default="all that this process may use"),
        Flag("preload_feature_maps", SWITCH, "Open the session with feature maps at load instead "
             "of at the first request for one."),
        Flag("preload_explanations", SWITCH, "Open the session with explanations at load instead "
             "of at the first request for one."),
    ),
    "Limits": (
        Flag("max_queue", NUMBER, "Images of one model that may wait, fewer if they have more than "
             "4 megapixels on average."),
        Flag("max_delay_seconds", SECONDS, "How long a free runner waits for a fuller batch."),
        Flag("max_inputs", NUMBER, "Inputs of one request."),
        Flag("max_request_bytes", BYTES, "Bytes of one request."),
        Flag("max_reply_bytes", BYTES, "Bytes of one reply."),
        Flag("max_memory_in_flight", BYTES, "Bytes of requests that have arrived, wholly or in "
             "part, and are not answered yet; each of several workers has an equal share."),
        Flag("max_connection_age_seconds", SECONDS, "After how long a connection gets no more "
             "calls, give or take a tenth, so that its client connects again and finds new "
             "servers; 0 for no limit."),
        Flag("max_connection_age_grace_seconds", SECONDS, "How long the calls of such a connection "
             "may go on; 0 for no limit."),
        Flag("max_feature_map_bytes", NATURAL, "Bytes of one reply's feature maps."),
        Flag("max_explanations", NUMBER, "Explanations of one request."),
        Flag("max_occluded_images", NATURAL, "Images with a square that one request's explanations "
             "by occlusion may run; 0 turns occlusion off."),
        Flag("max_image_pixels", NUMBER, "Pixels of one image."),
        Flag("max_image_side", NUMBER, "Pixels of an image's longer edge."),
        Flag("max_load_seconds", POSITIVE_SECONDS, "Seconds of CPU that validating one version may "
             "take before it is rejected; by the clock, it may take five times as long."),
        Flag("max_load_memory", BYTES, "Bytes of memory that validating one version may take "
             "before it is rejected.", default="1 GiB, six times its graph and 32 MiB for each "
             "input of a full batch, and at most half of the machine's memory"),
        Flag("decode_threads", NATURAL, "Images of one model decoded at once; 0 for one per core. "
             "Images that take more than 128 MiB wait until they fit into 128 MiB a thread."),
    ),
    "Lifecycle": (
        Flag("workers", NUMBER, "Server processes on the one port, each with its share of the "
             "cores."),
        Flag("drain_seconds", SECONDS, "After SIGTERM, how long the server accepts calls while "
             "health is NOT_SERVING."),
        Flag("grace_seconds", SECONDS, "After that, how long calls in flight may take."),
        Flag("no_strict_readiness", SWITCH, "Report overall health as SERVING although a model of "
             "the repository has no ready version."),
    ),
}  # fmt: skip

FLAGS = {flag.name: flag for flags in PANELS.values() for flag in flags}
