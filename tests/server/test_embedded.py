"""A server without listeners, compared with one that listens."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from support.calls import image_request, signal_request
from support.images import encode, picture
from support.server import ServerProcess
from support.tiny import write_tiny

from convscope.server.embedded import EmbeddedServer
from convscope.server.errors import StartError
from convscope.server.frontend.transport.in_process import Ended, InProcessTransport
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import inference_pb2_grpc

CLASSIFIER = "/convscope.v1.ClassifierService"
REQUESTS = (
    image_request(top_k=2, feature_maps=[pb.FeatureMapSelection(name="conv")]),
    image_request(b"no image", encode(picture())),
    signal_request(3),
    image_request(model="cat"),
    image_request(version=9),
    pb.ClassifyRequest(model="tiny"),
)
OTHER_CALLS = (
    ("ListModels", pb.ListModelsRequest()),
    ("GetModel", pb.GetModelRequest(model="tiny")),
    ("GetModel", pb.GetModelRequest(model="cat")),
)
METADATA = (("x-request-id", "a-1"),)


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tiny_repository: Path) -> AsyncIterator[EmbeddedServer]:
    server = EmbeddedServer(tiny_repository, {"runners": 1, "max_batch": 8})
    await server.start()
    yield server
    await server.stop()
    assert not server.is_running


async def each(requests: Sequence[Message]) -> AsyncIterator[bytes]:
    for request in requests:
        yield request.SerializeToString()


def timeless(reply: Any) -> Any:
    """Return a reply without what is measured or chosen on each server."""
    if isinstance(reply, pb.ClassifyStreamResponse):
        timeless(reply.response)
    for result in getattr(reply, "results", ()):
        result.ClearField("stage_times")
    if isinstance(reply, pb.GetModelResponse):
        reply.ClearField("execution")
    return reply


def outcome(call: Any, request: Message) -> Any:
    """Return the reply of a listening server, or its status with the metadata."""
    try:
        reply, ended = call.with_call(request, metadata=METADATA, timeout=30)
    except grpc.RpcError as error:
        status: Any = error
        return status.code(), status.details(), dict(status.trailing_metadata())
    return timeless(reply), dict(ended.trailing_metadata())


def embedded_outcome(ended: Ended, kind: type[Message]) -> Any:
    if ended.code is not grpc.StatusCode.OK:
        return ended.code, ended.details, dict(ended.trailing)
    return timeless(kind.FromString(ended.message)), dict(ended.trailing)


@pytest.mark.parametrize(
    ("method", "request_message"),
    [*(("Classify", request) for request in REQUESTS), *OTHER_CALLS],
)
async def test_replies_and_errors_are_those_of_a_server_that_listens(
    server: EmbeddedServer, tiny_server: ServerProcess, method: str, request_message: Message
) -> None:
    ended = await server.calls.unary(
        f"{CLASSIFIER}/{method}", request_message.SerializeToString(), METADATA
    )
    with grpc.insecure_channel(tiny_server.target) as channel:
        stub = inference_pb2_grpc.ClassifierServiceStub(channel)
        kind = getattr(pb, f"{method}Response")
        expected = await asyncio.to_thread(outcome, getattr(stub, method), request_message)
    assert embedded_outcome(ended, kind) == expected


async def test_streams_are_those_of_a_server_that_listens(
    server: EmbeddedServer, tiny_server: ServerProcess
) -> None:
    requests = [pb.ClassifyStreamRequest(request=request) for request in REQUESTS]
    stream = server.calls.stream(f"{CLASSIFIER}/ClassifyStream", each(requests))
    *replies, ended = [reply async for reply in stream]
    assert ended == Ended()
    with grpc.insecure_channel(tiny_server.target) as channel:
        stub = inference_pb2_grpc.ClassifierServiceStub(channel)
        expected = await asyncio.to_thread(
            lambda: [timeless(one) for one in stub.ClassifyStream(iter(requests), timeout=30)]
        )
    serialized = [reply for reply in replies if isinstance(reply, bytes)]
    parsed = [pb.ClassifyStreamResponse.FromString(reply) for reply in serialized]
    assert [timeless(reply) for reply in parsed] == expected


async def test_messages_and_methods_that_are_none(server: EmbeddedServer) -> None:
    unparsable = await server.calls.unary(f"{CLASSIFIER}/Classify", b"\xff")
    assert unparsable.code is grpc.StatusCode.INVALID_ARGUMENT
    for path in (f"{CLASSIFIER}/Nothing", f"{CLASSIFIER}/ClassifyStream"):
        assert (await server.calls.unary(path, b"")).code is grpc.StatusCode.UNIMPLEMENTED
    stream = server.calls.stream(f"{CLASSIFIER}/Classify", each([]))
    (ended,) = [reply async for reply in stream]
    assert isinstance(ended, Ended)
    assert ended.code is grpc.StatusCode.UNIMPLEMENTED


async def test_health(server: EmbeddedServer) -> None:
    for service, code in (("", "OK"), ("tiny", "OK"), ("cat", "NOT_FOUND")):
        request = health_pb2.HealthCheckRequest(service=service).SerializeToString()
        assert (await server.calls.unary("/grpc.health.v1.Health/Check", request)).code.name == code


async def test_a_cancelled_call_and_a_stream_that_is_left_end(server: EmbeddedServer) -> None:
    request = image_request().SerializeToString()
    call = asyncio.create_task(server.calls.unary(f"{CLASSIFIER}/Classify", request))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    requests = [pb.ClassifyStreamRequest(request=image_request())] * 50
    stream = server.calls.stream(f"{CLASSIFIER}/ClassifyStream", each(requests))
    assert isinstance(await anext(stream), bytes)
    await stream.aclose()  # type: ignore[attr-defined] # it is a generator
    ended = await server.calls.unary(f"{CLASSIFIER}/Classify", request)
    assert ended.code is grpc.StatusCode.OK


async def test_a_batch_may_end_before_a_cancelled_call_is_woken_up() -> None:
    transport, calls = InProcessTransport(), list[Any]()
    transport.add_group_methods("a.Service", {"Call": calls.extend})
    waiting = asyncio.create_task(transport.unary("/a.Service/Call", b""))
    await asyncio.sleep(0)
    waiting.cancel()
    calls[0].reply(b"too late")
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_model_that_is_loaded_on_demand_is_unloaded(tiny_repository: Path) -> None:
    server = EmbeddedServer(tiny_repository, {"load": "on-demand"})
    await server.start()

    async def loaded() -> list[str]:
        ended = await server.calls.unary(f"{CLASSIFIER}/ListModels", b"")
        return [one.model for one in pb.ListModelsResponse.FromString(ended.message).models]

    try:
        assert server.has("tiny")
        assert not server.has("cat")
        for _ in range(2):
            assert await loaded() == []
            ended = await server.calls.unary(
                f"{CLASSIFIER}/Classify", image_request().SerializeToString()
            )
            assert ended.code is grpc.StatusCode.OK
            assert await loaded() == ["tiny"]
            await server.unload("tiny")
            await server.unload("cat")
    finally:
        await server.stop()


async def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="there is no setting 'provder'"):
        EmbeddedServer(tmp_path, {"provder": "cpu"})
    write_tiny(tmp_path)
    server = EmbeddedServer(tmp_path, {"load": "cat"})
    with pytest.raises(StartError, match=r"^load names cat, and /"):
        await server.start()
    assert not server.is_running
