"""ClassifyStream: any number of requests, one reply each, in order."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.calls import connected, image_request, sample, signal_request
from support.server import ServerProcess
from support.tiny import write_signal, write_tiny

from convscope.v1 import inference_pb2 as pb

MAX_REQUEST_BYTES = 8 * 2**20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    root: Path = tmp_path_factory.mktemp("stream")
    write_tiny(root)
    write_signal(root)
    with ServerProcess(root) as server:
        yield server


def stream(
    server: ServerProcess, requests: list[pb.ClassifyRequest]
) -> list[pb.ClassifyStreamResponse]:
    messages = [pb.ClassifyStreamRequest(request=request) for request in requests]
    with connected(server) as stub:
        return list(stub.ClassifyStream(iter(messages), timeout=60))


def test_each_request_is_answered_in_its_place(server: ServerProcess) -> None:
    requests = [signal_request(n % 3 + 1) if n % 2 else image_request() for n in range(200)]
    replies = stream(server, requests)
    assert len(replies) == len(requests)
    for request, reply in zip(requests, replies, strict=True):
        assert reply.response.model == request.model
        assert len(reply.response.results) == len(request.inputs)


def test_a_request_that_fails_does_not_end_the_stream(server: ServerProcess) -> None:
    before = sample(server, "convscope_requests_total", model="tiny", code="INVALID_ARGUMENT")
    replies = stream(
        server,
        [image_request(), image_request(model="nobody"), image_request(top_k=-1), image_request()],
    )
    assert [reply.WhichOneof("outcome") for reply in replies] == [
        "response",
        "error",
        "error",
        "response",
    ]
    assert replies[1].error.code == grpc.StatusCode.NOT_FOUND.value[0]
    assert "'nobody'" in replies[1].error.message
    assert replies[2].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    after = sample(server, "convscope_requests_total", model="tiny", code="INVALID_ARGUMENT")
    assert after == before + 1


def test_an_empty_stream_ends_at_once(server: ServerProcess) -> None:
    assert stream(server, []) == []


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"\xff\xff\xff", "the request's 3 bytes can't be parsed as the method's message"),
        (bytes(MAX_REQUEST_BYTES + 1), "at most 8,388,608 are accepted"),
    ],
    ids=["unparsable", "too large"],
)
def test_a_message_that_cannot_be_read_does_not_end_the_stream(
    server: ServerProcess, bad: bytes, reason: str
) -> None:
    good = pb.ClassifyStreamRequest(request=image_request()).SerializeToString()
    with grpc.insecure_channel(server.target) as channel:
        call: Any = channel.stream_stream(
            "/convscope.v1.ClassifierService/ClassifyStream",
            response_deserializer=pb.ClassifyStreamResponse.FromString,
        )
        replies = list(call(iter([good, bad, bad, good]), timeout=30))
    outcomes = [reply.WhichOneof("outcome") for reply in replies]
    assert outcomes == ["response", "error", "error", "response"]
    for reply in replies[1:3]:
        assert reply.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
        assert reason in reply.error.message


def test_client_that_cancels_midway_does_not_affect_others(server: ServerProcess) -> None:
    messages = (pb.ClassifyStreamRequest(request=image_request()) for _ in range(10_000))
    with connected(server) as stub:
        call = stub.ClassifyStream(messages, timeout=60)
        next(call)
        call.cancel()
        assert stub.Classify(image_request(), timeout=30).model == "tiny"
