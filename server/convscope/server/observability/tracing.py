"""Traces: a span for each call, below it one for each stage, and links to the batches.

This module and `spans` are the only ones that import OpenTelemetry; they are
imported only if an endpoint is set. The spans of the stages are made after the
engine has answered, from times that were taken on the way: no stage waits for
its trace.
"""

import asyncio
from collections.abc import Iterable
from importlib.metadata import version as version_of
from threading import Thread
from urllib.parse import unquote

import grpc
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import extract
from opentelemetry.sdk.resources import (
    SERVICE_NAME,
    SERVICE_VERSION,
    OTELResourceDetector,
    Resource,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind

from convscope.server.observability.spans import CallSpans

__all__ = ["Tracing"]

# How long sending the last spans may take when the server ends.
FLUSH_SECONDS = 3.0


class Tracing:
    """Sends the spans of one server to a collector, by OTLP over gRPC.

    Sampling, resource attributes and the sizes of its queue follow OpenTelemetry's
    own environment variables. A collector that is slow or unreachable loses spans;
    no call waits for it.

    Args:
        endpoint: The collector's http:// or https:// URL.
    """

    def __init__(self, endpoint: str) -> None:
        self._exporter = OTLPSpanExporter(endpoint=endpoint)
        self._processor = BatchSpanProcessor(self._exporter)
        resource = Resource.create(
            {SERVICE_NAME: "convscope-server", SERVICE_VERSION: version_of("convscope")}
        ).merge(OTELResourceDetector().detect())  # the environment has the last word
        calls, batches = (
            TracerProvider(sampler, resource, shutdown_on_exit=False)
            # A batch is traced if one of its requests is, so that every link leads to a span.
            for sampler in (None, ALWAYS_ON)
        )
        for provider in (calls, batches):
            provider.add_span_processor(self._processor)
        self._requests = calls.get_tracer(__name__)
        self._batches = batches.get_tracer(__name__)

    def begin(
        self,
        service: str,
        method: str,
        metadata: Iterable[tuple[str, str | bytes]],
        peer: str,
        *,
        streamed: bool,
    ) -> CallSpans | None:
        """Begin the trace of a call, as part of its caller's trace; None if it isn't sampled.

        Args:
            service: The full name of the service.
            method: The name of the method.
            metadata: What the caller sent with the call.
            peer: The caller's address, such as "ipv4:127.0.0.1:57284".
            streamed: Whether the call has many requests.
        """
        texts = {key: value for key, value in metadata if isinstance(value, str)}
        span = self._requests.start_span(
            f"/{service}/{method}",
            extract(texts),
            SpanKind.SERVER,
            {
                "rpc.system": "grpc",
                "rpc.service": service,
                "rpc.method": method,
                "rpc.grpc.status_code": grpc.StatusCode.OK.value[0],
                **_peer(peer),
                **({"rpc.user_agent": texts["user-agent"]} if "user-agent" in texts else {}),
            },
        )
        if not span.is_recording():
            return None
        return CallSpans(span, self._requests, self._batches, streamed=streamed)

    async def close(self) -> None:
        """Send the remaining spans, but wait no longer than a few seconds for it."""
        flush = Thread(target=self._processor.shutdown, daemon=True)
        flush.start()
        await asyncio.to_thread(flush.join, FLUSH_SECONDS)
        if flush.is_alive():
            self._exporter.shutdown()


def _peer(peer: str) -> dict[str, str]:
    """Return the attributes of a caller's address, such as "ipv4:127.0.0.1:57284"."""
    kind, _, address = peer.partition(":")
    ip, _, port = address.rpartition(":")
    if kind not in ("ipv4", "ipv6") or not ip:
        return {}
    ip = unquote(ip)
    local = {"net.peer.name": "localhost"} if ip in ("127.0.0.1", "[::1]") else {}
    return {"net.peer.ip": ip, "net.peer.port": port, **local}
