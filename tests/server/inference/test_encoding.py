"""Large replies are encoded in their own threads."""

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.calls import image_request
from support.images import encode, picture
from support.loading import load
from support.requests import NoReply, make_request
from support.tiny import write_tiny

from convscope.server.frontend.classifier.endpoint import ClassifyEndpoint
from convscope.server.frontend.reply_limits import ReplyLimits
from convscope.server.inference.encoding import MAX_REPLIES, ReplyEncoder
from convscope.server.inference.engine import Engine
from convscope.server.inference.handler import InferenceHandler
from convscope.server.inference.pipeline import PipelineLimits
from convscope.server.inference.requests import InferenceRequest, Outcome
from convscope.server.observability.calls import CallRecord
from convscope.server.observability.metrics import Metrics
from convscope.server.repository.manager import ModelManager
from convscope.server.runtime.versions import LoadedVersion
from convscope.v1 import inference_pb2 as pb

TIMEOUT_SECONDS = 20.0


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("repository")
    for model in ("ready", *(f"new{number}" for number in range(40))):
        write_tiny(root, model)
    return root


class Endpoint(NoReply):
    """An endpoint whose replies name the thread that encodes them."""

    def encode(self, request: InferenceRequest) -> bytes:
        if not request.results:
            raise ZeroDivisionError
        super().encode(request)
        return threading.current_thread().name.encode()


async def encoded(*results: Any) -> Outcome:
    """Encode a request by a thread of the encoder, and return the outcome."""
    loop, encoder = asyncio.get_running_loop(), ReplyEncoder()
    request = make_request()
    request.endpoint, request.results = Endpoint(), list(results)
    future: asyncio.Future[Outcome] = loop.create_future()

    def done(_: InferenceRequest, outcome: Outcome) -> None:
        loop.call_soon_threadsafe(future.set_result, outcome)

    encoder.submit(request, done)
    try:
        return await asyncio.wait_for(future, TIMEOUT_SECONDS)
    finally:
        encoder.close()


async def test_replies_are_encoded_in_a_thread_of_the_encoder() -> None:
    outcome = await encoded("a result")
    assert isinstance(outcome, bytes)
    assert outcome.startswith(b"reply-encoder")


async def test_errors_reach_the_caller() -> None:
    assert isinstance(await encoded(), ZeroDivisionError)


async def test_replies_that_wait_at_the_end_fail() -> None:
    encoder, may_end = ReplyEncoder(), threading.Event()
    outcomes: list[Outcome] = []

    class Held(Endpoint):
        def encode(self, request: InferenceRequest) -> bytes:
            may_end.wait(TIMEOUT_SECONDS)
            return b"done"

    for _ in range(5):
        request = make_request()
        request.endpoint = Held()
        encoder.submit(request, lambda _, outcome: outcomes.append(outcome))
    encoder.close()
    may_end.set()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while len(outcomes) < 5:
            await asyncio.sleep(0.001)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == [
        *["RuntimeError"] * 3,
        *["bytes"] * 2,
    ]


async def test_the_replies_that_wait_are_limited() -> None:
    """Each keeps the arrays of its batch in memory; a runner encodes further replies itself."""
    encoder, may_end = ReplyEncoder(), threading.Event()
    outcomes: list[Outcome] = []

    class Held(Endpoint):
        def encode(self, request: InferenceRequest) -> bytes:
            may_end.wait(TIMEOUT_SECONDS)
            return b"done"

    def submit() -> bool:
        request = make_request()
        request.endpoint = Held()
        return encoder.submit(request, lambda _, outcome: outcomes.append(outcome))

    accepted = [submit() for _ in range(2 * MAX_REPLIES)]
    assert accepted == [True] * MAX_REPLIES + [False] * MAX_REPLIES
    may_end.set()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while len(outcomes) < MAX_REPLIES:
            await asyncio.sleep(0.001)
    assert submit()
    encoder.close()


def test_session_builds_do_not_block_large_replies(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First requests for feature maps of many models, while another model replies with maps."""
    catalog = load(repository)
    may_end = threading.Event()
    for version in catalog:
        if version.key[0] == "ready":
            version.model.load_feature_maps()
        else:
            monkeypatch.setattr(
                version.model, "load_feature_maps", lambda: may_end.wait(TIMEOUT_SECONDS)
            )

    async def main() -> None:
        metrics = Metrics()
        engine = Engine(PipelineLimits(64, 0.0, 1), metrics.of)
        for version in catalog:
            engine.add(version)
        manager = cast("ModelManager[LoadedVersion]", SimpleNamespace(catalog=catalog))
        handler = InferenceHandler(manager, engine, metrics, max_inputs=64, cores=2)
        endpoint = ClassifyEndpoint(handler.admit, ReplyLimits(2**25, 2**24))
        maps = [pb.FeatureMapSelection(name="conv")]

        async def classify(model: str) -> pb.ClassifyResponse:
            message = image_request(encode(picture()), model=model, feature_maps=maps)
            future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            request = endpoint.request(
                message,
                CallRecord("test"),
                lambda requests: future.set_result(requests[0].reply),
                None,
                None,
            )
            handler.serve([request])
            return pb.ClassifyResponse.FromString(await future)

        waiting = [asyncio.create_task(classify(v.key[0])) for v in catalog if v.key[0] != "ready"]
        try:
            await asyncio.sleep(0.1)
            response = await asyncio.wait_for(classify("ready"), TIMEOUT_SECONDS / 2)
            assert response.results[0].prediction.feature_maps[0].name == "conv"
            assert not any(task.done() for task in waiting)
        finally:
            for task in waiting:
                task.cancel()
            may_end.set()
            await asyncio.gather(*waiting, return_exceptions=True)
            await handler.close()
            await engine.close()

    asyncio.run(main())
