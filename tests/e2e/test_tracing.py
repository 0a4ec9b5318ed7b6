"""One trace from a program that uses the SDK to the batch of its request."""

import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from opentelemetry.instrumentation.grpc import GrpcInstrumentorClient
from opentelemetry.sdk.trace import TracerProvider
from support.calls import sample, wait_until
from support.collector import Collector, attributes, collecting
from support.images import encode, picture
from support.server import ServerProcess
from support.tiny import write_tiny

from convscope.client import Client

pytestmark = pytest.mark.slow(seconds=2)

# Without the proxies that the environment may name.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))

CALL = "/convscope.v1.ClassifierService/Classify"
STAGES = {"decode", "queue", "infer", "encode"}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="module", params=["1", "2"], ids=["one worker", "two workers"])
def server(
    request: pytest.FixtureRequest, collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    root: Path = tmp_path_factory.mktemp("traced")
    write_tiny(root)
    flags = ("--workers", request.param, "--otlp-endpoint", collector.url)
    with ServerProcess(root, *flags) as server:
        yield server


def open_metrics(server: ServerProcess) -> str:
    """Scrape as Prometheus does if it stores exemplars."""
    headers = {"Accept": "application/openmetrics-text; version=1.0.0"}
    request = urllib.request.Request(server.metrics_url, headers=headers)
    with OPENER.open(request, timeout=5) as reply:
        text: str = reply.read().decode()
    return text


def test_the_trace_of_a_program_continues_in_the_server(
    server: ServerProcess, collector: Collector
) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    instrumentor = GrpcInstrumentorClient()  # type: ignore[no-untyped-call]
    instrumentor.instrument(tracer_provider=provider)
    try:
        with Client(server.target) as client:
            tracer = provider.get_tracer(__name__)
            with tracer.start_as_current_span("a program's work") as span:
                result = client.classify(encode(picture()), model="tiny")
    finally:
        instrumentor.uninstrument()
    trace_id = f"{span.get_span_context().trace_id:032x}"
    call, *stages = collector.trace(trace_id, CALL, *STAGES)
    assert {stage.name for stage in stages} == STAGES
    assert {stage.parent_span_id for stage in stages} == {call.span_id}
    (infer,) = [stage for stage in stages if stage.name == "infer"]
    batch = collector.span(infer.links[0].span_id)
    expected = {"model": result.model, "version": result.version, "images": 1}
    assert expected.items() <= attributes(batch).items()
    wait_until(lambda: any(line.get("trace_id") == trace_id for line in list(server.log)))
    count = partial(sample, server, "grpc_server_handling_seconds_count", grpc_method="Classify")
    wait_until(lambda: count() == 1)  # workers report once a second
    assert f'trace_id="{trace_id}"' in open_metrics(server)
