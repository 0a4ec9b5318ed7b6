"""Both clients behind one interface, and a server with scripted replies."""

import asyncio
import io
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from PIL import Image
from support.explained import write_explained
from support.server import ServerProcess
from support.tiny import write_extractor, write_tiny

from convscope.client import AsyncClient, Client
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import inference_pb2_grpc
from convscope.v1 import manifest_pb2 as mpb

COLORS = {"red": (200, 30, 20), "green": (20, 180, 40), "blue": (30, 20, 220)}


class Caller:
    """Calls a client of either kind, and waits for the results."""

    def __init__(self, kind: type[Client] | type[AsyncClient], target: str, **options: Any) -> None:
        self.client = kind(target, **options)
        self._runner = asyncio.Runner() if kind is AsyncClient else None

    def classify(self, image: Any, **options: Any) -> Any:
        return self._wait(lambda: self.client.classify(image, **options))

    def classify_many(self, images: Iterable[Any], **options: Any) -> Iterator[Any]:
        results = self.client.classify_many(images, **options)
        return results if isinstance(results, Iterator) else self._step(results)

    def models(self) -> Any:
        return self._wait(self.client.models)

    def model(self, name: str | None = None, **options: Any) -> Any:
        return self._wait(lambda: self.client.model(name, **options))

    def health(self, *arguments: Any, **options: Any) -> Any:
        return self._wait(lambda: self.client.health(*arguments, **options))

    def wait_ready(self, *arguments: Any, **options: Any) -> None:
        self._wait(lambda: self.client.wait_ready(*arguments, **options))

    def server_info(self, **options: Any) -> Any:
        return self._wait(lambda: self.client.server_info(**options))

    def use_channel(self) -> None:
        async def use() -> None:
            assert self.client.channel

        if self._runner is None:
            assert self.client.channel
        else:
            self._runner.run(use())

    def close(self) -> None:
        self._wait(self.client.close)

    def end(self) -> None:
        self.close()
        if self._runner is not None:
            self._runner.close()

    def _wait(self, call: Callable[[], Any]) -> Any:
        if self._runner is None:
            return call()

        async def wait() -> Any:
            return await call()

        return self._runner.run(wait())

    def _step(self, results: Any) -> Iterator[Any]:
        try:
            while True:
                try:
                    result = self._wait(lambda: anext(results))
                except StopAsyncIteration:
                    return
                yield result
        finally:
            self._wait(results.aclose)


class ScriptedServicer(inference_pb2_grpc.ClassifierServiceServicer):
    """Fails with the given codes, one per call, and then returns scripted results.

    A test can't choose the moments when a real queue is full or a real run slow.
    The label of a result is the content of the input.
    """

    def __init__(self, codes: Iterable[grpc.StatusCode], pushback_ms: int | None = None) -> None:
        self.codes = list(codes)
        self.attempts = 0
        self.attempts_by_request: Counter[bytes] = Counter()
        self.pushback_ms = pushback_ms
        self.max_inputs = 64
        self.infer_seconds = 0.0
        self.feature_map_bytes = 0
        self.execution: pb.Execution | None = None
        self.busy: set[str] = set()  # inputs that are shed once
        self.requests: list[pb.ClassifyRequest] = []
        self.cancelled = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def sizes(self) -> list[int]:
        """Return the number of images of each request that got a reply."""
        return [len(request.inputs) for request in self.requests]

    def Classify(self, request: Any, context: Any) -> pb.ClassifyResponse:  # noqa: N802
        self.attempts += 1
        self.attempts_by_request[request.SerializeToString(deterministic=True)] += 1
        if self.codes:
            code = self.codes.pop(0)
            if self.pushback_ms is not None:
                context.set_trailing_metadata((("grpc-retry-pushback-ms", str(self.pushback_ms)),))
            context.abort(code, f"scripted {code.name}")
        if len(request.inputs) > self.max_inputs:
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"at most {self.max_inputs} are allowed"
            )
        self.requests.append(request)
        context.add_callback(lambda: self._ended(context))
        self.gate.wait(30)
        results = [self._result(message.encoded_image.decode()) for message in request.inputs]
        if len(results) == 1 and results[0].HasField("error"):
            context.abort(_status(results[0].error.code), results[0].error.message)
        return pb.ClassifyResponse(model=request.model, version=1, results=results)

    def _ended(self, context: Any) -> None:
        if not context.is_active() and not self.gate.is_set():
            self.cancelled.set()

    def _result(self, text: str) -> pb.InputResult:
        if text in self.busy:
            self.busy.remove(text)
            return pb.InputResult(error=pb.ClassifyError(code=8, message=f"busy: {text}"))
        if text.startswith("bad"):
            return pb.InputResult(error=pb.ClassifyError(code=3, message=f"no image: {text}"))
        prediction = pb.Prediction(classes=[pb.ClassScore(index=0, label=text, probability=1)])
        if size := self.feature_map_bytes:
            tensor = pb.Tensor(dtype=mpb.DATA_TYPE_UINT8, shape=[1, 1, size], data=bytes(size))
            prediction.feature_maps.add(name="map", tensor=tensor, scale=1)
        times = pb.StageTimes(infer_seconds=self.infer_seconds)
        return pb.InputResult(prediction=prediction, stage_times=times)

    def ClassifyStream(self, requests: Any, context: Any) -> Any:  # noqa: N802
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "scripted servers answer single calls")

    def ListModels(self, request: Any, context: Any) -> pb.ListModelsResponse:  # noqa: N802
        return pb.ListModelsResponse()

    def GetModel(self, request: Any, context: Any) -> pb.GetModelResponse:  # noqa: N802
        return pb.GetModelResponse(execution=self.execution)

    def GetServerInfo(self, request: Any, context: Any) -> Any:  # noqa: N802
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "an older server has no such method")


def _status(number: int) -> grpc.StatusCode:
    return next(code for code in grpc.StatusCode if code.value[0] == number)


CallerFactory = Callable[..., Caller]
ScriptedServer = Callable[..., tuple[str, ScriptedServicer]]


@pytest.fixture(params=[Client, AsyncClient], ids=["Client", "AsyncClient"])
def make_caller(request: pytest.FixtureRequest) -> Iterator[CallerFactory]:
    """Make callers of one kind of client, and close them after the test."""
    with ExitStack() as stack:

        def make(target: str, **options: Any) -> Caller:
            caller = Caller(request.param, target, **options)
            stack.callback(caller.end)
            return caller

        yield make


@pytest.fixture
def caller(make_caller: CallerFactory, tiny_server: ServerProcess) -> Caller:
    """A caller of the server with small models."""
    return make_caller(tiny_server.target)


@pytest.fixture(scope="session")
def explained_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of "tiny" with explanations in its graph, "plain" without, and a filter bank."""
    root = tmp_path_factory.mktemp("explained")
    write_explained(root)
    write_tiny(root, "plain")
    write_extractor(root, "filters")
    with ServerProcess(root) as server:
        yield server


@pytest.fixture
def explainer(make_caller: CallerFactory, explained_server: ServerProcess) -> Caller:
    """A caller of the server with explanations."""
    return make_caller(explained_server.target)


@pytest.fixture
def scripted_server() -> Iterator[ScriptedServer]:
    """Start servers with scripted replies, and stop them after the test."""
    with ExitStack() as stack:

        def start(
            *codes: grpc.StatusCode,
            pushback_ms: int | None = None,
            max_request_bytes: int = -1,
        ) -> tuple[str, ScriptedServicer]:
            servicer = ScriptedServicer(codes, pushback_ms)
            options = [
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", max_request_bytes),
            ]
            pool = stack.enter_context(ThreadPoolExecutor(32))
            server = grpc.server(pool, options=options)
            inference_pb2_grpc.add_ClassifierServiceServicer_to_server(servicer, server)
            port = server.add_insecure_port("127.0.0.1:0")
            server.start()
            stack.callback(lambda: server.stop(None).wait())
            stack.callback(servicer.gate.set)
            return f"127.0.0.1:{port}", servicer

        yield start


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A picture file of each color that "tiny" distinguishes."""
    directory = tmp_path_factory.mktemp("photos")
    paths = {name: directory / f"{name}.png" for name in COLORS}
    for name, path in paths.items():
        path.write_bytes(png(COLORS[name]))
    return paths


def png(color: tuple[int, ...], size: tuple[int, int] = (40, 30), mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, color).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def silent_target() -> Iterator[str]:
    """An address that accepts connections, and never replies."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
