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
from support.tiny import write_tiny

from convscope.server.frontend.classifier.servicer import ClassifierServicer
from convscope.server.frontend.encoding import ReplyEncoder
from convscope.server.frontend.reply_limits import ReplyLimits
from convscope.server.inference.engine import Engine
from convscope.server.inference.handler import InferenceHandler
from convscope.server.inference.pipeline import PipelineLimits
from convscope.server.observability.calls import CallRecord, current_call
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


async def test_functions_run_in_a_thread_of_the_encoder() -> None:
    encoder = ReplyEncoder()
    name = await encoder.run(lambda: threading.current_thread().name)
    assert name.startswith("reply-encoder")
    encoder.close()


async def test_errors_reach_the_caller() -> None:
    encoder = ReplyEncoder()
    with pytest.raises(ZeroDivisionError):
        await encoder.run(divmod, 1, 0)
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
        metrics, encoder = Metrics(), ReplyEncoder()
        engine = Engine(PipelineLimits(64, 0.0, 1), metrics.of)
        for version in catalog:
            engine.add(version)
        manager = cast("ModelManager[LoadedVersion]", SimpleNamespace(catalog=catalog))
        handler = InferenceHandler(manager, engine, metrics, max_inputs=64, cores=2)
        servicer = ClassifierServicer(handler, ReplyLimits(2**25, 2**24), encoder)
        current_call.set(CallRecord("test"))
        context: Any = SimpleNamespace(time_remaining=lambda: None)
        maps = [pb.FeatureMapSelection(name="conv")]

        async def classify(model: str) -> pb.ClassifyResponse:
            request = image_request(encode(picture()), model=model, feature_maps=maps)
            return await servicer.Classify(request, context)

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
            encoder.close()

    asyncio.run(main())
