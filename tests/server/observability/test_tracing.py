"""Traces of calls, their stages and batches, and the exemplars that lead to them."""

import re
import secrets
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import grpc
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from PIL import Image
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from support.alterations import slow_down, stumble_over_white
from support.calls import (
    LOOPBACK,
    TIMEOUT_SECONDS,
    connected,
    health,
    image_request,
    rejection,
    run_to_end,
    sample,
    signal_request,
    wait_until,
)
from support.collector import Collector, attributes, collecting
from support.explained import write_explained
from support.images import encode, picture
from support.server import ServerProcess
from support.tiny import write_signal, write_tiny

from convscope.v1 import inference_pb2 as pb

CLASSIFY = "/convscope.v1.ClassifierService/Classify"
CLASSIFY_STREAM = "/convscope.v1.ClassifierService/ClassifyStream"
STAGES = ["decode", "queue", "infer", "encode"]
TURNS = 400_000  # of the slow model: half a second or so
WHITE = encode(Image.new("RGB", (20, 20), "white"))


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="module")
def server(
    collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    root = tmp_path_factory.mktemp("traced")
    write_tiny(root)
    write_signal(root)
    write_tiny(root, "frail", alter_graph=stumble_over_white)
    write_tiny(root, "slow", alter_graph=slow_down(TURNS))
    write_explained(root, "shown")
    with ServerProcess(root, "--otlp-endpoint", collector.url) as server:
        yield server


class Caller:
    """A program with a trace of its own."""

    def __init__(self) -> None:
        self.trace_id, self.span_id = secrets.token_hex(16), secrets.token_hex(8)
        self.metadata = (("traceparent", f"00-{self.trace_id}-{self.span_id}-01"),)


def seconds(span: Span) -> float:
    return (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9


def test_call_continues_its_callers_trace(server: ServerProcess, collector: Collector) -> None:
    caller = Caller()
    with connected(server) as stub:
        stub.Classify(image_request(), timeout=30, metadata=caller.metadata)
    call, *stages = collector.trace(caller.trace_id, CLASSIFY, *STAGES)
    assert (call.name, call.kind) == (CLASSIFY, Span.SPAN_KIND_SERVER)
    assert call.parent_span_id.hex() == caller.span_id
    expected = {
        "model": "tiny",
        "version": 1,
        "images": 1,
        "rpc.system": "grpc",
        "rpc.service": "convscope.v1.ClassifierService",
        "rpc.method": "Classify",
        "rpc.grpc.status_code": 0,
        "net.peer.ip": "127.0.0.1",
        "net.peer.name": "localhost",
    }
    assert expected.items() <= attributes(call).items()
    assert {"request_id", "rpc.user_agent", "net.peer.port"} <= attributes(call).keys()
    assert collector.resource["service.name"] == "convscope-server"
    assert [stage.name for stage in stages] == STAGES
    for earlier, later in zip([call, *stages], stages, strict=False):
        assert earlier.start_time_unix_nano <= later.start_time_unix_nano
    for stage in stages:
        assert stage.parent_span_id == call.span_id
        assert stage.end_time_unix_nano <= call.end_time_unix_nano


def test_inference_is_linked_to_its_batch(server: ServerProcess, collector: Collector) -> None:
    caller = Caller()
    picture_ = encode(picture())
    with connected(server) as stub:
        stub.Classify(
            image_request(picture_, picture_, picture_), timeout=30, metadata=caller.metadata
        )
    call, *stages = collector.trace(caller.trace_id, CLASSIFY, *STAGES)
    (infer,) = [stage for stage in stages if stage.name == "infer"]
    (link,) = infer.links
    batch = collector.span(link.span_id)
    assert batch.name == "batch"
    assert not batch.parent_span_id
    assert attributes(batch) == {"model": "tiny", "version": 1, "images": 3, "requests": 1}
    assert [link.span_id for link in batch.links] == [call.span_id]
    times = (batch.start_time_unix_nano, batch.end_time_unix_nano)
    assert (infer.start_time_unix_nano, infer.end_time_unix_nano) == times


def test_requests_that_ran_together_are_linked_to_one_batch(
    server: ServerProcess, collector: Collector
) -> None:
    callers = [Caller(), Caller()]
    with connected(server) as stub:
        first = stub.Classify.future(image_request(model="slow"), timeout=60)
        wait_until(lambda: sample(server, "convscope_batches_running", model="slow") == 1)
        calls = [
            stub.Classify.future(image_request(model="slow"), timeout=60, metadata=one.metadata)
            for one in callers
        ]
        for call in (first, *calls):
            call.result(timeout=60)
    links = {
        link.span_id
        for caller in callers
        for span in collector.trace(caller.trace_id, "infer")
        for link in span.links
    }
    batch = collector.span(links.pop())
    assert not links
    assert (attributes(batch)["images"], attributes(batch)["requests"]) == (2, 2)
    assert len(batch.links) == 2


def test_request_of_many_batches_is_linked_to_each(
    server: ServerProcess, collector: Collector
) -> None:
    caller = Caller()
    with connected(server) as stub:
        stub.Classify(signal_request(20), timeout=30, metadata=caller.metadata)
    stages = collector.trace(caller.trace_id, CLASSIFY, "queue", "infer", "encode")[1:]
    assert [stage.name for stage in stages] == ["queue", "infer", "encode"]  # nothing to decode
    batches = [collector.span(link.span_id) for link in stages[1].links]
    assert sorted(attributes(batch)["images"] for batch in batches) == [4, 8, 8]


def test_spans_state_what_is_explained(server: ServerProcess, collector: Collector) -> None:
    first, second = Caller(), Caller()
    grid = pb.OcclusionGrid(cells=2)
    selections = [
        pb.ExplanationSelection(),
        pb.ExplanationSelection(target=pb.ClassTarget(rank=2)),
        pb.ExplanationSelection(method=pb.EXPLANATION_METHOD_OCCLUSION, occlusion=grid),
    ]
    request = image_request(model="shown", explanations=selections)
    with connected(server) as stub:
        for caller in (first, second):
            stub.Classify(request, timeout=30, metadata=caller.metadata)
    # Only the first request waits for the session.
    _, opened, *stages = collector.trace(first.trace_id, CLASSIFY, *STAGES)
    assert [span.name for span in (opened, *stages)] == ["open session", *STAGES]
    assert attributes(opened)["session"] == "explanations"
    stages = collector.trace(second.trace_id, CLASSIFY, *STAGES)[1:]
    assert [span.name for span in stages] == STAGES
    infer = stages[STAGES.index("infer")]
    stated = {"explanations": 3, "explanation_methods": "grad-cam, occlusion", "occluded_images": 4}
    assert stated.items() <= attributes(infer).items()
    batches = [attributes(collector.span(link.span_id)) for link in infer.links]
    version = {"model": "shown", "version": 1}
    assert sum(batch["images"] for batch in batches) == 5
    assert sum(batch.get("explained_images", 0) for batch in batches) == 1
    assert sum(batch.get("occluded_images", 0) for batch in batches) == 4
    assert all(version.items() <= batch.items() for batch in batches)
    assert not any("explanations" in batch for batch in batches)  # it belongs to one request


def test_failure_of_the_server_is_an_error(server: ServerProcess, collector: Collector) -> None:
    caller = Caller()
    with connected(server) as stub:
        code, message = rejection(
            stub.Classify, image_request(WHITE, model="frail"), metadata=caller.metadata
        )
    assert code is grpc.StatusCode.INTERNAL
    (call, *_) = collector.trace(caller.trace_id, CLASSIFY)
    assert (call.status.code, call.status.message) == (Status.STATUS_CODE_ERROR, message)
    assert attributes(call)["rpc.grpc.status_code"] == 13


@pytest.mark.parametrize(
    ("image", "names"),
    [(b"text", []), (encode(picture())[:-20], ["decode"])],
    ids=["no image", "a damaged image"],
)
def test_failure_of_the_caller_is_a_code_and_no_error(
    server: ServerProcess, collector: Collector, image: bytes, names: list[str]
) -> None:
    caller = Caller()
    with connected(server) as stub:
        rejection(stub.Classify, image_request(image), metadata=caller.metadata)
    call, *stages = collector.trace(caller.trace_id, CLASSIFY)
    assert attributes(call)["rpc.grpc.status_code"] == 3
    assert call.status.code == Status.STATUS_CODE_UNSET
    assert [stage.name for stage in stages] == names


def test_call_past_its_deadline_is_an_error(server: ServerProcess, collector: Collector) -> None:
    caller = Caller()
    with connected(server) as stub:
        first = stub.Classify.future(image_request(model="slow"), timeout=60)
        wait_until(lambda: sample(server, "convscope_batches_running", model="slow") == 1)
        code, _ = rejection(
            stub.Classify,
            image_request(model="slow", priority=pb.PRIORITY_BULK),
            timeout=0.2,
            metadata=caller.metadata,
        )
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        first.result(timeout=60)
    (call, *_) = collector.trace(caller.trace_id, CLASSIFY)
    assert call.status.code == Status.STATUS_CODE_ERROR
    assert attributes(call)["rpc.grpc.status_code"] == 4


def test_cancelled_call_has_its_code(server: ServerProcess, collector: Collector) -> None:
    caller = Caller()
    with connected(server) as stub:
        call = stub.Classify.future(
            image_request(model="slow"), timeout=60, metadata=caller.metadata
        )
        wait_until(lambda: sample(server, "convscope_batches_running", model="slow") == 1)
        call.cancel()
        (span, *_) = collector.trace(caller.trace_id, CLASSIFY)
    assert attributes(span)["rpc.grpc.status_code"] == 1
    assert span.status.code == Status.STATUS_CODE_UNSET


def test_each_request_of_a_stream_has_a_span(server: ServerProcess, collector: Collector) -> None:
    caller = Caller()
    requests = [pb.ClassifyStreamRequest(request=image_request()) for _ in range(3)]
    with connected(server) as stub:
        replies = list(stub.ClassifyStream(iter(requests), timeout=30, metadata=caller.metadata))
    assert len(replies) == 3
    call, *spans = collector.trace(caller.trace_id, CLASSIFY_STREAM)
    requests_ = [span for span in spans if span.name == "request"]
    assert [span.parent_span_id for span in requests_] == [call.span_id] * 3
    for request in requests_:
        stages = [span.name for span in spans if span.parent_span_id == request.span_id]
        assert stages == STAGES


def test_cancelled_stream_ends_its_trace(server: ServerProcess, collector: Collector) -> None:
    caller, done = Caller(), Event()

    def requests() -> Iterator[pb.ClassifyStreamRequest]:
        yield pb.ClassifyStreamRequest(request=image_request())
        # Without a request in flight, a stream that is cancelled can look like one that ends.
        yield pb.ClassifyStreamRequest(request=image_request(model="slow"))
        done.wait(TIMEOUT_SECONDS)  # the stream stays open

    with connected(server) as stub:
        call: Any = stub.ClassifyStream(requests(), timeout=30, metadata=caller.metadata)
        next(call)
        wait_until(lambda: sample(server, "convscope_batches_running", model="slow") == 1)
        call.cancel()
        (span, *_) = collector.trace(caller.trace_id, CLASSIFY_STREAM)
        done.set()
    assert attributes(span)["rpc.grpc.status_code"] == 1
    assert not [line for line in server.log if line["event"] == "library warning"]


def test_streams_at_once_keep_to_their_own_traces(
    server: ServerProcess, collector: Collector
) -> None:
    callers = [Caller() for _ in range(4)]
    with connected(server) as stub:
        streams = []
        for caller in callers:
            messages = [pb.ClassifyStreamRequest(request=image_request()) for _ in range(3)]
            streams.append(
                stub.ClassifyStream(iter(messages), timeout=30, metadata=caller.metadata)
            )
        assert [len(list(stream)) for stream in streams] == [3] * 4
    for caller in callers:
        call, *spans = collector.trace(caller.trace_id, CLASSIFY_STREAM)
        requests = [span for span in spans if span.name == "request"]
        assert [span.parent_span_id for span in requests] == [call.span_id] * 3
        assert call.parent_span_id.hex() == caller.span_id


def test_call_without_a_trace_of_its_caller_begins_one(
    server: ServerProcess, collector: Collector
) -> None:
    with connected(server) as stub:
        stub.Classify(image_request(), timeout=30, metadata=(("x-request-id", "rootless"),))
    wait_until(lambda: any(line.get("request_id") == "rootless" for line in list(server.log)))
    (line,) = [line for line in server.log if line.get("request_id") == "rootless"]
    (call, *_) = collector.trace(line["trace_id"], CLASSIFY)
    assert not call.parent_span_id


def test_health_is_not_traced(server: ServerProcess, collector: Collector) -> None:
    assert health(server) == "SERVING"
    caller = Caller()
    with connected(server) as stub:
        stub.Classify(image_request(), timeout=30, metadata=caller.metadata)
    collector.trace(caller.trace_id, CLASSIFY)
    assert not [span for span in collector.spans if "Health" in span.name]


def test_what_the_caller_does_not_sample_is_not_traced(
    server: ServerProcess, collector: Collector
) -> None:
    unsampled, caller = Caller(), Caller()
    with connected(server) as stub:
        ((key, value),) = unsampled.metadata
        stub.Classify(image_request(), timeout=30, metadata=((key, f"{value[:-2]}00"),))
        stub.Classify(image_request(), timeout=30, metadata=caller.metadata)
    collector.trace(caller.trace_id, CLASSIFY)
    assert not [span for span in collector.spans if span.trace_id.hex() == unsampled.trace_id]


def test_access_log_names_the_trace(server: ServerProcess) -> None:
    caller = Caller()
    with connected(server) as stub:
        stub.Classify(image_request(), timeout=30, metadata=caller.metadata)
    wait_until(lambda: any(line.get("trace_id") == caller.trace_id for line in server.log))


def test_latency_histogram_has_exemplars(server: ServerProcess, collector: Collector) -> None:
    caller = Caller()
    with connected(server) as stub:
        stub.Classify(signal_request(), timeout=30, metadata=caller.metadata)
    (call, *_) = collector.trace(caller.trace_id, CLASSIFY)
    found = [
        (sample.exemplar, float(sample.labels["le"]))
        for family in families(openmetrics(server))
        for sample in family.samples
        if sample.name == "grpc_server_handling_seconds_bucket" and sample.exemplar
    ]
    ours = [pair for pair in found if pair[0].labels["trace_id"] == caller.trace_id]
    ((exemplar, bound),) = ours
    assert exemplar.labels["span_id"] == call.span_id.hex()
    assert 0 < exemplar.value <= min(bound, seconds(call))
    assert "trace_id" not in server.metrics()  # the older format has no exemplars


def families(text: str) -> list[Metric]:
    return list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call]


def openmetrics(server: ServerProcess) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    with opener.open(urllib.request.Request(server.metrics_url, headers=accept)) as reply:
        text: str = reply.read().decode()
    return text


# Unreachable collectors, and servers without traces


def unused_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


def test_unreachable_collector_costs_no_call(
    tiny_repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    endpoint = f"http://127.0.0.1:{unused_port()}"
    with ServerProcess(tiny_repository, "--otlp-endpoint", endpoint) as server:
        with connected(server) as stub:
            for _ in range(20):
                assert stub.Classify(image_request(), timeout=30).model == "tiny"
        wait_until(lambda: bool(library_warnings(server)))
        assert server.stop() == 0
    assert any(endpoint.removeprefix("http://") in reason for reason in library_warnings(server))


def library_warnings(server: ServerProcess) -> list[str]:
    return [line["reason"] for line in server.log if line["event"] == "library warning"]


def test_spans_are_sent_before_the_server_ends(tiny_repository: Path) -> None:
    caller = Caller()
    with collecting() as collector, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
        # By OpenTelemetry's own variable instead of the flag.
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        with ServerProcess(tiny_repository) as server, connected(server) as stub:
            stub.Classify(image_request(), timeout=30, metadata=caller.metadata)
            assert collector.spans == []
            assert server.stop() == 0
        assert {span.name for span in collector.spans} == {CLASSIFY, "batch", *STAGES}


IMPORTED = """
import sys
from convscope.server.__main__ import main
try:
    main()
finally:
    found = [name for name in sys.modules if name.startswith("opentelemetry")]
    print("imported:", *found, file=sys.stderr)
"""
MISSING = """
import sys
from convscope.server.__main__ import main
sys.modules["opentelemetry"] = None
main()
"""


def test_opentelemetry_is_not_imported_without_an_endpoint(tiny_repository: Path) -> None:
    with ServerProcess(tiny_repository, command=(sys.executable, "-c", IMPORTED)) as server:
        with connected(server) as stub:
            stub.Classify(image_request(), timeout=30)
        server.stop()
    assert server.log[-1]["event"] == "imported:"


def test_endpoint_without_opentelemetry_is_a_failed_start(tiny_repository: Path) -> None:
    flags = ("--models", str(tiny_repository), *LOOPBACK, "--otlp-endpoint", "http://localhost:1")
    done = subprocess.run(
        [sys.executable, "-c", MISSING, *flags], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "pip install '.[server,tracing]'" in done.stderr
    assert re.search(r"opentelemetry\S* is missing", done.stderr)


@pytest.mark.parametrize("endpoint", ["localhost:4317", "ftp://localhost", "http://", "collector"])
def test_endpoint_must_be_a_url(tiny_repository: Path, endpoint: str) -> None:
    code, _, err = run_to_end("--models", tiny_repository, *LOOPBACK, "--otlp-endpoint", endpoint)
    assert code == 64
    assert "http://localhost:4317" in err
