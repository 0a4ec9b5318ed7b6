"""The connection to a server: target, TLS, retries, keepalive, message sizes."""

import json
import math
from collections.abc import Sequence

import grpc

from convscope.client._connection.authorization import (
    async_interceptors,
    sync_interceptor,
)
from convscope.client._connection.options import is_local
from convscope.client._connection.tokens import TokenSource
from convscope.client.errors import InvalidInputError
from convscope.v1 import inference_pb2 as pb

__all__ = [
    "MAX_REQUEST_BYTES",
    "async_channel",
    "check_target",
    "check_timeout",
    "sync_channel",
]

MIB = 2**20
MAX_REQUEST_BYTES = 8 * MIB
MAX_REPLY_BYTES = 32 * MIB
# We reject a request just over the limit with a clear message, before gRPC does.
_SLACK_BYTES = MIB

SERVICE = pb.DESCRIPTOR.services_by_name["ClassifierService"].full_name
# Retries have two limits: three attempts per call, and a budget for all calls
# together, so that an overloaded server soon gets at most a tenth more calls. Nothing
# else retries a whole call, or the attempts would multiply.
# Retries end when half of the tokens are used. A lost connection uses one for each of its
# calls, of which a server allows 256.
SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": SERVICE}],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
            },
        }
    ],
    "retryThrottling": {"maxTokens": 600, "tokenRatio": 0.1},
}
OPTIONS: tuple[tuple[str, str | int], ...] = (
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
    ("grpc.enable_retries", 1),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # By default two minutes, which a caller would notice after a restart of the server.
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # A request that doesn't fit into this buffer, 256 KiB by default, is never retried.
    ("grpc.per_rpc_retry_buffer_size", MAX_REQUEST_BYTES + _SLACK_BYTES),
    ("grpc.max_send_message_length", MAX_REQUEST_BYTES + _SLACK_BYTES),
    ("grpc.max_receive_message_length", MAX_REPLY_BYTES),
)


def check_target(target: str) -> str:
    """Return the target if it is HOST:PORT or another form that gRPC accepts.

    Raises:
        InvalidInputError: It is a URL, or lacks a port, which gRPC would replace by 443.
    """
    if ("://" in target and target.startswith("http")) or ":" not in target:
        raise InvalidInputError(f"the target is {target!r}; give HOST:PORT, such as localhost:8001")
    return target


def check_timeout(timeout_seconds: float, name: str) -> float:
    """Return the timeout if it gives a call a deadline.

    Args:
        timeout_seconds: The timeout.
        name: What the caller calls it.

    Raises:
        InvalidInputError: It isn't a positive, finite number.
    """
    if not (math.isfinite(timeout_seconds) and timeout_seconds > 0):
        raise InvalidInputError(f"{name} is {timeout_seconds}; give a positive, finite number")
    return timeout_seconds


def _options(target: str) -> Sequence[tuple[str, str | int]]:
    # Through a proxy of the environment, a token for this machine would reach another one.
    return (*OPTIONS, ("grpc.enable_http_proxy", 0)) if is_local(target) else OPTIONS


def sync_channel(
    target: str, secure_by: grpc.ChannelCredentials | None, tokens: TokenSource | None = None
) -> grpc.Channel:
    """Make a channel for blocking calls; it connects on first use."""
    options = _options(target)
    if secure_by is None:
        channel = grpc.insecure_channel(target, options)
    else:
        channel = grpc.secure_channel(target, secure_by, options)
    return channel if tokens is None else grpc.intercept_channel(channel, sync_interceptor(tokens))


def async_channel(
    target: str, secure_by: grpc.ChannelCredentials | None, tokens: TokenSource | None = None
) -> grpc.aio.Channel:
    """Make a channel for the running event loop; it connects on first use."""
    interceptors = None if tokens is None else async_interceptors(tokens)
    options = _options(target)
    if secure_by is None:
        return grpc.aio.insecure_channel(target, options, interceptors=interceptors)
    return grpc.aio.secure_channel(target, secure_by, options, interceptors=interceptors)
