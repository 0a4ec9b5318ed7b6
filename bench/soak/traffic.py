"""Calls of all kinds at a rate that takes about 30 % of one core of the server."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.calls import image_request, signal_request
from support.damage import kinds_of_images
from support.images import png_bomb
from support.oip import Stub, image_bytes_request, raw_request, signal_tensor_request

from bench.cpu import tree_seconds
from bench.photos import jpeg
from bench.servers import Server
from bench.soak.publishing import LARGE
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import inference_pb2_grpc

__all__ = ["Traffic"]

CORES = 0.3
FIRST_RATE, LOWEST_RATE, HIGHEST_RATE = 50.0, 5.0, 150.0
ADJUST_SECONDS = 2.0
SCRAPE_SECONDS = 15.0
CALL_SECONDS = 60.0
IN_FLIGHT = 32
# A channel is replaced after so many calls, so that connections come and go.
CALLS_PER_CHANNEL = 200
CLASSIFY = "/convscope.v1.ClassifierService/Classify"


class Kind(NamedTuple):
    """A kind of call.

    Args:
        weight: How often it is made, relative to the others.
        call: Makes it over a channel.
        codes: How it may end.
    """

    weight: int
    call: Callable[[grpc.aio.Channel], Awaitable[Any]]
    codes: frozenset[str] = frozenset({"OK"})


class Traffic:
    """Calls of all kinds, and how they ended.

    Args:
        server: The server.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._kinds = _kinds()
        self._stopped = asyncio.Event()
        self._rate = FIRST_RATE
        self.ends = Counter[str]()
        self.unexpected = Counter[str]()

    @property
    def calls(self) -> int:
        """How many calls have ended."""
        return self.ends.total()

    @property
    def errors(self) -> int:
        """How many of them ended with a code that is not expected."""
        return self.unexpected.total()

    def stop(self) -> None:
        """Call no more."""
        self._stopped.set()

    async def run(self) -> None:
        """Call until stopped, and wait until all calls have ended."""
        self._stopped.clear()
        tasks = [asyncio.create_task(self._adjust()), asyncio.create_task(self._scrape())]
        while not self._stopped.is_set():
            async with grpc.aio.insecure_channel(self._server.target) as channel:
                await self._call_over(channel)
        await asyncio.gather(*tasks)

    async def _call_over(self, channel: grpc.aio.Channel) -> None:
        names, weights = list(self._kinds), [kind.weight for kind in self._kinds.values()]
        running: set[asyncio.Task[None]] = set()
        due = time.monotonic()
        for name in random.choices(names, weights, k=CALLS_PER_CHANNEL):
            if self._stopped.is_set():
                break
            due = max(due + 1 / self._rate, time.monotonic() - 1)
            await asyncio.sleep(due - time.monotonic())
            while len(running) >= IN_FLIGHT:
                await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            call = asyncio.create_task(self._call(name, channel))
            running.add(call)
            call.add_done_callback(running.discard)
        await asyncio.gather(*running)

    async def _call(self, name: str, channel: grpc.aio.Channel) -> None:
        kind = self._kinds[name]
        try:
            await kind.call(channel)
        except grpc.aio.AioRpcError as error:
            code, details = error.code().name, error.details()
        except asyncio.CancelledError:
            code, details = "CANCELLED", ""
        else:
            code, details = "OK", ""
        self.ends[f"{name} {code}"] += 1
        if code not in kind.codes:
            self.unexpected[f"{name} {code}: {details}"] += 1

    async def _adjust(self) -> None:
        """Keep the processes of the server at their share of a core."""
        pid = self._server.process.pid
        before = tree_seconds(pid), time.monotonic()
        while not await _is_set_within(self._stopped, ADJUST_SECONDS):
            now = tree_seconds(pid), time.monotonic()
            cores = (now[0] - before[0]) / (now[1] - before[1])
            change = min(1.2, max(0.8, CORES / max(0.01, cores)))
            self._rate = min(HIGHEST_RATE, max(LOWEST_RATE, self._rate * change))
            before = now

    async def _scrape(self) -> None:
        while not await _is_set_within(self._stopped, SCRAPE_SECONDS):
            await asyncio.to_thread(self._server.answered)

    def __str__(self) -> str:
        lines = [f"{count} {name}" for name, count in sorted(self.ends.items())]
        lines += [f"NOT EXPECTED: {count} {name}" for name, count in self.unexpected.most_common()]
        return "\n  ".join(["", *lines])


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True


# Kinds


def _kinds() -> dict[str, Kind]:
    invalid = frozenset({"INVALID_ARGUMENT"})
    maps = [pb.FeatureMapSelection(name="conv")]
    narrow = [pb.FeatureMapSelection(name="conv", strongest=2)]
    explained = [pb.ExplanationSelection()]
    occluded = [pb.ExplanationSelection(method=pb.EXPLANATION_METHOD_OCCLUSION)]
    photo = jpeg("500x375")
    kinds = {
        f"image, {name}": Kind(2, _classify(image_request(data)))
        for name, data in kinds_of_images().items()
    }
    return kinds | {
        "photo": Kind(8, _classify(image_request(photo))),
        "photo of 12 megapixels": Kind(1, _classify(image_request(jpeg("4000x3000")))),
        "photos": Kind(4, _classify(image_request(photo, photo, jpeg("1024x768")))),
        "large model": Kind(2, _classify(image_request(photo, model=LARGE))),
        "signals": Kind(20, _classify(signal_request(4))),
        "feature maps": Kind(6, _classify(image_request(photo, feature_maps=maps))),
        "strongest feature maps": Kind(4, _classify(image_request(photo, feature_maps=narrow))),
        "explanation": Kind(6, _classify(image_request(photo, explanations=explained))),
        "occlusion": Kind(1, _classify(image_request(photo, explanations=occluded))),
        "compressed": Kind(3, _classify(image_request(), compression=grpc.Compression.Gzip)),
        "stream": Kind(3, _stream([image_request(photo), signal_request(2), image_request(b"x")])),
        "OIP": Kind(10, _oip("ModelInfer", raw_request(model="tiny.features", outputs=["conv"]))),
        "OIP images": Kind(5, _oip("ModelInfer", image_bytes_request(photo))),
        "OIP signal": Kind(5, _oip("ModelInfer", signal_tensor_request())),
        "OIP stream": Kind(3, _oip_stream([raw_request(), signal_tensor_request()])),
        "models": Kind(2, _models),
        "health": Kind(4, _health),
        "not an image": Kind(4, _classify(image_request(b"not an image")), invalid),
        "cut off": Kind(4, _classify(image_request(photo[:5000])), frozenset({*invalid, "OK"})),
        "too many pixels": Kind(2, _classify(image_request(png_bomb())), invalid),
        "wrong input": Kind(2, _classify(signal_request(1, model="tiny")), invalid),
        "unparsable": Kind(2, _unparsable, invalid),
        "unknown model": Kind(
            2, _classify(image_request(model="no_such_model")), frozenset({"NOT_FOUND"})
        ),
        "unknown feature map": Kind(
            2,
            _classify(image_request(feature_maps=[pb.FeatureMapSelection(name="none")])),
            invalid,
        ),
        "no time": Kind(
            2,
            _classify(image_request(photo, model=LARGE), timeout=0.003),
            frozenset({"DEADLINE_EXCEEDED", "OK"}),
        ),
        "cancelled": Kind(
            4,
            _cancelled(image_request(photo, model=LARGE)),
            frozenset({"CANCELLED", "OK"}),
        ),
        "cancelled stream": Kind(2, _cancelled_stream, frozenset({"CANCELLED", "OK"})),
    }


def _classify(
    request: pb.ClassifyRequest, **options: Any
) -> Callable[[grpc.aio.Channel], Awaitable[Any]]:
    async def call(channel: grpc.aio.Channel) -> None:
        stub: Any = inference_pb2_grpc.ClassifierServiceStub(channel)
        await stub.Classify(request, **({"timeout": CALL_SECONDS} | options))

    return call


def _stream(
    requests: Sequence[pb.ClassifyRequest],
) -> Callable[[grpc.aio.Channel], Awaitable[Any]]:
    messages = [pb.ClassifyStreamRequest(request=request) for request in requests]

    async def call(channel: grpc.aio.Channel) -> None:
        stub: Any = inference_pb2_grpc.ClassifierServiceStub(channel)
        async for _ in stub.ClassifyStream(iter(messages * 3), timeout=CALL_SECONDS):
            pass

    return call


def _oip(method: str, request: Any) -> Callable[[grpc.aio.Channel], Awaitable[Any]]:
    async def call(channel: Any) -> None:
        await getattr(Stub(channel), method)(request, timeout=CALL_SECONDS)

    return call


def _oip_stream(requests: Sequence[Any]) -> Callable[[grpc.aio.Channel], Awaitable[Any]]:
    async def call(channel: Any) -> None:
        method = Stub(channel).ModelStreamInfer
        async for _ in method(iter(list(requests) * 3), timeout=CALL_SECONDS):
            pass

    return call


def _cancelled(request: pb.ClassifyRequest) -> Callable[[grpc.aio.Channel], Awaitable[Any]]:
    """Make a call that is cancelled before, while or after it runs."""

    async def call(channel: grpc.aio.Channel) -> None:
        stub: Any = inference_pb2_grpc.ClassifierServiceStub(channel)
        running = stub.Classify(request, timeout=CALL_SECONDS)
        await asyncio.sleep(random.uniform(0, 0.03))
        running.cancel()
        await running

    return call


async def _cancelled_stream(channel: grpc.aio.Channel) -> None:
    stub: Any = inference_pb2_grpc.ClassifierServiceStub(channel)
    messages = [pb.ClassifyStreamRequest(request=image_request(jpeg("500x375")))] * 10
    running = stub.ClassifyStream(iter(messages), timeout=CALL_SECONDS)
    async for _ in running:
        break
    running.cancel()


async def _unparsable(channel: Any) -> None:
    await channel.unary_unary(CLASSIFY)(b"\xff" * 100, timeout=CALL_SECONDS)


async def _models(channel: grpc.aio.Channel) -> None:
    stub: Any = inference_pb2_grpc.ClassifierServiceStub(channel)
    await stub.ListModels(pb.ListModelsRequest(), timeout=CALL_SECONDS)
    await stub.GetModel(pb.GetModelRequest(model="tiny"), timeout=CALL_SECONDS)


async def _health(channel: grpc.aio.Channel) -> None:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    await stub.Check(health_pb2.HealthCheckRequest(service=""), timeout=CALL_SECONDS)
