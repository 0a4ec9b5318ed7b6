"""The metadata of calls, and what concurrent calls leave in memory."""

import asyncio
import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from convscope.client import AsyncClient, Client, InvalidInputError
from convscope.client._calls.requests import EncodedImage
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import inference_pb2_grpc

TOKEN = [("Authorization", "Bearer secret")]


class Recorder(inference_pb2_grpc.ClassifierServiceServicer):
    """Keeps the metadata and the number of images of each call."""

    def __init__(self) -> None:
        self.calls: list[tuple[str | bytes, int]] = []

    def Classify(self, request: pb.ClassifyRequest, context: Any) -> pb.ClassifyResponse:  # noqa: N802
        self._record(context, len(request.inputs))
        score = pb.ClassScore(index=0, label="yes", probability=1)
        result = pb.InputResult(prediction=pb.Prediction(classes=[score]))
        return pb.ClassifyResponse(model="m", version=1, results=[result] * len(request.inputs))

    def ListModels(self, request: pb.ListModelsRequest, context: Any) -> pb.ListModelsResponse:  # noqa: N802
        self._record(context, 0)
        return pb.ListModelsResponse()

    def GetModel(self, request: pb.GetModelRequest, context: Any) -> pb.GetModelResponse:  # noqa: N802
        self._record(context, 0)
        return pb.GetModelResponse()

    def _record(self, context: Any, images: int) -> None:
        metadata = dict(context.invocation_metadata())
        self.calls.append((metadata.get("authorization", ""), images))


@pytest.fixture
def recorded() -> Iterator[tuple[Recorder, str]]:
    recorder = Recorder()  # type: ignore[abstract]
    server = grpc.server(ThreadPoolExecutor(4))
    inference_pb2_grpc.add_ClassifierServiceServicer_to_server(recorder, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield recorder, f"127.0.0.1:{port}"
    server.stop(None)


def test_every_call_sends_its_metadata(recorded: tuple[Recorder, str]) -> None:
    recorder, target = recorded
    with Client(target) as client:
        client.classify(b"a", model="m", metadata=dict(TOKEN))
        assert len(list(client.classify_many([b"a"], model="m", metadata=TOKEN))) == 1
        client.models(metadata=TOKEN)
        client.model("m", metadata=TOKEN)
    assert [token for token, _ in recorder.calls] == ["Bearer secret"] * 4


async def test_only_calls_with_equal_metadata_share_a_request(
    recorded: tuple[Recorder, str],
) -> None:
    recorder, target = recorded
    async with AsyncClient(target) as client:
        calls = [
            client.classify(b"a", model="m", metadata=[("authorization", str(number % 2))])
            for number in range(8)
        ]
        await asyncio.gather(*calls)
        async for _ in client.classify_many([b"a"], model="m", metadata=TOKEN):
            pass
    assert sorted(recorder.calls) == [("0", 4), ("1", 4), ("Bearer secret", 1)]


async def test_concurrent_calls_leave_no_images_for_the_garbage_collector(
    recorded: tuple[Recorder, str],
) -> None:
    async with AsyncClient(recorded[1]) as client:
        gc.collect()
        gc.disable()
        try:
            await asyncio.gather(*(client.classify(b"a", model="m") for _ in range(8)))
            assert not [each for each in gc.get_objects() if isinstance(each, EncodedImage)]
        finally:
            gc.enable()


@pytest.mark.parametrize(
    ("entry", "part"),
    [
        (("bad key", "x"), "the metadata key 'bad key' can't be sent"),
        (("grpc-timeout", "x"), "can't be sent"),
        (("a-bin", "x"), "can't be sent"),
        (("a", "ü"), "must be printable ASCII"),
        (("a", "b\nc"), "must be printable ASCII"),
    ],
)
def test_metadata_that_grpc_does_not_send_is_rejected(entry: tuple[str, str], part: str) -> None:
    with Client("localhost:1") as client, pytest.raises(InvalidInputError, match=part):
        client.models(metadata=[entry])
