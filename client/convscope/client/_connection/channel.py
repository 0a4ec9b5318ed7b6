"""The channel to a server: retries, load balancing, keepalive, timeouts, message sizes."""

import json
from collections.abc import Sequence

import grpc

from convscope.client._connection.authorization import (
    async_interceptors,
    sync_interceptor,
)
from convscope.client._connection.options import ConnectionOptions
from convscope.client._connection.retries import Retries
from convscope.client._connection.targets import has_several_addresses, is_local
from convscope.client._connection.tokens import TokenSource
from convscope.v1 import inference_pb2 as pb

__all__ = ["async_channel", "service_config", "sync_channel"]

MIB = 2**20
# The server's limits apply, and not those of gRPC, which are fixed before a server is known.
_NO_LIMIT = -1
_RETRY_BUFFER_BYTES = 1024 * MIB
_FIRST_RECONNECT_MS = 1_000

_SERVICE = pb.DESCRIPTOR.services_by_name["ClassifierService"].full_name
# Retries have two limits: the attempts of each call, and a budget for all calls
# together, so that an overloaded server soon gets at most a tenth more calls. Nothing
# else retries a whole call, or the attempts would multiply.
# Retries end when half of the tokens are used. A lost connection uses one for each of its
# calls, of which a server allows 256.
_RETRY_BUDGET = {"maxTokens": 600, "tokenRatio": 0.1}


def sync_channel(
    target: str,
    options: ConnectionOptions,
    credentials: grpc.ChannelCredentials | None,
    tokens: TokenSource | None,
) -> grpc.Channel:
    """Make a channel for blocking calls; it connects on first use."""
    arguments = _arguments(target, options)
    if credentials is None:
        channel = grpc.insecure_channel(target, arguments)
    else:
        channel = grpc.secure_channel(target, credentials, arguments)
    return channel if tokens is None else grpc.intercept_channel(channel, sync_interceptor(tokens))


def async_channel(
    target: str,
    options: ConnectionOptions,
    credentials: grpc.ChannelCredentials | None,
    tokens: TokenSource | None,
) -> grpc.aio.Channel:
    """Make a channel for the running event loop; it connects on first use."""
    interceptors = None if tokens is None else async_interceptors(tokens)
    arguments = _arguments(target, options)
    if credentials is None:
        return grpc.aio.insecure_channel(target, arguments, interceptors=interceptors)
    return grpc.aio.secure_channel(target, credentials, arguments, interceptors=interceptors)


def _arguments(target: str, options: ConnectionOptions) -> Sequence[tuple[str, str | int]]:
    connect_ms = max(1, round(1000 * options.connect_timeout_seconds))
    arguments: list[tuple[str, str | int]] = [
        ("grpc.service_config", service_config(target, options.retries)),
        ("grpc.enable_retries", 1),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        # gRPC names it after its other effect, and an attempt to connect may take as long.
        ("grpc.min_reconnect_backoff_ms", connect_ms),
        ("grpc.initial_reconnect_backoff_ms", min(_FIRST_RECONNECT_MS, connect_ms)),
        # By default two minutes, which a caller would notice after a restart of the server.
        ("grpc.max_reconnect_backoff_ms", 5_000),
        # A request that doesn't fit into this buffer, 256 KiB by default, is never retried.
        ("grpc.per_rpc_retry_buffer_size", _RETRY_BUFFER_BYTES),
        ("grpc.max_send_message_length", _NO_LIMIT),
        ("grpc.max_receive_message_length", _NO_LIMIT),
    ]
    if is_local(target):
        # Through a proxy of the environment, a token for this machine would reach another one.
        arguments.append(("grpc.enable_http_proxy", 0))
    return arguments


def service_config(target: str, retries: Retries) -> str:
    """Return the service config of a channel: retries and load balancing."""
    policy = retries.policy()
    config: dict[str, object] = {
        "methodConfig": [{"name": [{"service": _SERVICE}], **policy}],
    }
    if policy:
        config["retryThrottling"] = _RETRY_BUDGET
    if has_several_addresses(target):
        # By default all calls go to the first address that responds.
        config["loadBalancingConfig"] = [{"round_robin": {}}]
    return json.dumps(config)
