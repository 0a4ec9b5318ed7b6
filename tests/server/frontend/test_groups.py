"""Groups of calls: each call is answered once, whatever happens to it."""

import asyncio
import gc
import random
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from structlog.testing import capture_logs
from support.loading import load
from support.tiny import SIDE, write_tiny

from convscope.server.errors import UnavailableError
from convscope.server.frontend.access.caller import AccessCaller
from convscope.server.frontend.access.control import Admission
from convscope.server.frontend.access.policy import CallerRules
from convscope.server.frontend.accounting import Accounting
from convscope.server.frontend.classifier.endpoint import ClassifyEndpoint
from convscope.server.frontend.reply_limits import ReplyLimits
from convscope.server.frontend.transport.calls import GroupHandler, Metadata, Transport
from convscope.server.inference.engine import Engine
from convscope.server.inference.handler import InferenceHandler
from convscope.server.inference.pipeline import PipelineLimits
from convscope.server.observability.metrics import Metrics
from convscope.server.repository.catalog import Catalog, Target
from convscope.server.repository.manager import ModelManager
from convscope.server.runtime.execution import Execution
from convscope.server.runtime.model import ModelOutput
from convscope.server.runtime.versions import LoadedVersion
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import manifest_pb2 as mpb

TIMEOUT_SECONDS = 30.0
SERVICE, METHOD = "test.Service", "Classify"


class Call:
    """A unary call of no transport."""

    def __init__(
        self, message: bytes, deadline: float | None = None, metadata: Metadata = ()
    ) -> None:
        self.message: bytes | memoryview = message
        self.deadline = deadline
        self.metadata = metadata
        self.peer = "ipv4:127.0.0.1:1"
        self.on_cancel: Callable[[], None] | None = None
        self.admission: Admission | None = None
        self.ended = False
        self.ended_with: grpc.StatusCode | None = None
        self.answers: list[pb.ClassifyResponse | grpc.StatusCode] = []
        self.details = ""
        self.trailing: Metadata = ()

    def reply(self, message: bytes, trailing: Metadata = ()) -> None:
        self.ended, self.trailing = True, trailing
        self.answers.append(pb.ClassifyResponse.FromString(message))

    def fail(self, code: grpc.StatusCode, details: str, trailing: Metadata = ()) -> None:
        if self.ended:
            return
        self.ended, self.details, self.trailing = True, details, trailing
        self.answers.append(code)

    def cancel(self) -> None:
        if not self.ended:
            self.ended = True
            if self.on_cancel is not None:
                self.on_cancel()


class Parts:
    """A method, and what it needs."""

    def __init__(self, catalog: Catalog[LoadedVersion], runners: int, max_queue: int) -> None:
        self.version = catalog.resolve(Target("tiny"))
        self.version.model.execution = Execution(runners, 1, 1, 4, "set by a test")
        self.metrics = Metrics()
        self.engine = Engine(PipelineLimits(max_queue, 0.0, 2), self.metrics.of)
        self.engine.add(self.version)
        self.handler = InferenceHandler(
            cast("ModelManager[LoadedVersion]", SimpleNamespace(catalog=catalog)),
            self.engine,
            self.metrics,
            max_inputs=64,
            cores=1,
        )
        self.is_open = True
        methods: dict[str, GroupHandler] = {}
        transport: Any = SimpleNamespace(add_group_methods=lambda _, more: methods.update(more))
        accounting = Accounting(
            cast(Transport, transport),
            self.metrics,
            max_request_bytes=2**20,
            access_log=True,
            check_open=self._check_open,
        )
        endpoint = ClassifyEndpoint(self.handler.admit, ReplyLimits(2**25, 2**24))
        accounting.add_group_method(
            SERVICE, METHOD, pb.ClassifyRequest.FromString, endpoint, self.handler
        )
        self.handle = methods[METHOD]

    def _check_open(self) -> None:
        if not self.is_open:
            raise UnavailableError("still loading")

    async def answered(self, *calls: Call) -> None:
        """Hand over calls, and wait until they have ended."""
        self.handle(calls)
        await until(lambda: all(call.ended for call in calls))

    def value(self, name: str, **labels: str) -> float:
        return sum(
            sample.value
            for family in self.metrics.registry.collect()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not condition():
            await asyncio.sleep(0.001)


@asynccontextmanager
async def serving(
    catalog: Catalog[LoadedVersion], *, runners: int = 1, max_queue: int = 64
) -> AsyncIterator[Parts]:
    parts = Parts(catalog, runners, max_queue)
    try:
        yield parts
    finally:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await parts.handler.close()
            await parts.engine.close()


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog[LoadedVersion]:
    write_tiny(tmp_path)
    return load(tmp_path)


@pytest.fixture
def captured() -> Iterator[None]:
    """Collect the log: to render many tracebacks takes long."""
    with capture_logs():
        yield


def message(inputs: int = 1, value: int = 0, kind: str = "tensor", **options: Any) -> bytes:
    data = bytes([value]) * (SIDE * SIDE * 3)
    tensor = pb.Tensor(dtype=mpb.DATA_TYPE_UINT8, shape=[SIDE, SIDE, 3], data=data)
    one = pb.Input(tensor=tensor) if kind == "tensor" else pb.Input(pixels=tensor)
    request = pb.ClassifyRequest(model="tiny", inputs=[one] * inputs, **options)
    return request.SerializeToString()


async def test_calls_over_the_limit_of_their_caller_are_counted_apart_from_an_overload(
    catalog: Catalog[LoadedVersion],
) -> None:
    rules = CallerRules(name="web", images_per_second=0.001, burst_seconds=1000.0)
    caller = AccessCaller(rules, 1.0, lambda _: None)
    async with serving(catalog) as parts:
        calls = [Call(message()) for _ in range(3)]
        for call in calls:
            call.admission = cast(Admission, SimpleNamespace(caller=caller))
        await parts.answered(*calls)
        codes = [answer for call in calls for answer in call.answers]
        assert codes[1:] == [grpc.StatusCode.RESOURCE_EXHAUSTED] * 2
        labels = {"grpc_service": SERVICE, "grpc_method": METHOD}
        handled = "grpc_server_handled_total"
        assert parts.value(handled, grpc_code="ResourceExhausted", **labels) == 2
        assert parts.value("convscope_caller_limited_calls_total", **labels) == 2


async def test_calls_of_a_group_are_answered_and_counted(
    catalog: Catalog[LoadedVersion],
) -> None:
    async with serving(catalog) as parts:
        calls = [Call(message()), Call(message(2)), Call(b"\xff\xff\xff"), Call(message(top_k=-1))]
        await parts.answered(*calls)
        one, two, unparsable, invalid = (call.answers for call in calls)
        assert isinstance(one[0], pb.ClassifyResponse)
        assert isinstance(two[0], pb.ClassifyResponse)
        assert len(two[0].results) == 2
        assert unparsable == invalid == [grpc.StatusCode.INVALID_ARGUMENT]
        assert "3 bytes can't be parsed" in calls[2].details
        labels = {"grpc_service": SERVICE, "grpc_method": METHOD}
        assert parts.value("grpc_server_started_total", **labels) == 4
        assert parts.value("grpc_server_handled_total", grpc_code="OK", **labels) == 2
        assert parts.value("grpc_server_handling_seconds_count", **labels) == 4
        assert parts.value("convscope_requests_total", code="INVALID_ARGUMENT") == 1


async def test_closed_gate_and_passed_deadline_reject_calls(
    catalog: Catalog[LoadedVersion],
) -> None:
    async with serving(catalog) as parts:
        parts.is_open = False
        early = Call(message())
        await parts.answered(early)
        assert (early.answers, early.details) == ([grpc.StatusCode.UNAVAILABLE], "still loading")
        parts.is_open = True
        late = Call(message(), asyncio.get_running_loop().time() - 1)
        await parts.answered(late)
        assert late.answers == [grpc.StatusCode.DEADLINE_EXCEEDED]
        assert parts.value("convscope_batch_images_count") == 0


async def test_callers_id_comes_back_and_ours_comes_with_errors(
    catalog: Catalog[LoadedVersion],
) -> None:
    async with serving(catalog) as parts:
        own = (("x-request-id", "mine"),)
        calls = [
            Call(message(), metadata=own),
            Call(message()),
            Call(b"\xff", metadata=own),
            Call(b"\xff"),
        ]
        await parts.answered(*calls)
        assert [len(call.trailing) for call in calls] == [1, 0, 1, 1]
        assert calls[0].trailing[0] == calls[2].trailing[0] == ("x-request-id", "mine")


async def test_call_that_ended_before_its_group_is_counted_and_not_run(
    catalog: Catalog[LoadedVersion],
) -> None:
    async with serving(catalog) as parts:
        gone, good = Call(message()), Call(message())
        gone.cancel()
        await parts.answered(gone, good)
        assert gone.answers == []
        assert parts.value("grpc_server_handled_total", grpc_code="Canceled") == 1
        assert parts.value("convscope_batch_images_sum") == 1


async def test_error_of_a_whole_batch_is_logged_once(
    catalog: Catalog[LoadedVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> ModelOutput:
        raise ArithmeticError("no")

    async with serving(catalog, runners=0) as parts:
        monkeypatch.setattr(parts.version.model, "run", broken)
        calls = [Call(message()) for _ in range(4)]
        with capture_logs() as lines:
            await parts.answered(*calls)
    assert [call.answers for call in calls] == [[grpc.StatusCode.INTERNAL]] * 4
    (line,) = [line for line in lines if line["event"] == "unexpected error"]
    assert {call.details for call in calls} == {
        f"the server failed; its log explains the error under the id {line['error_id']}"
    }
    assert isinstance(line["exc_info"], ArithmeticError)


@pytest.mark.parametrize("kind", ["tensor", "pixels"])
@pytest.mark.parametrize("top_k", [1, -1])
async def test_nothing_of_an_answered_call_is_left_to_the_garbage_collector(
    catalog: Catalog[LoadedVersion], kind: str, top_k: int
) -> None:
    async with serving(catalog) as parts:
        await parts.answered(Call(message(kind=kind)))  # something may be kept once
        gc.collect()
        gc.disable()
        try:
            call = Call(message(kind=kind, top_k=top_k))
            seen = weakref.ref(call)
            await parts.answered(call)
            del call
            await until(lambda: seen() is None)
        finally:
            gc.enable()


class Chaos:
    """A model's run that fails from time to time."""

    def __init__(self, run: Callable[..., ModelOutput], seed: int) -> None:
        self._run = run
        self._random = random.Random(seed)

    def __call__(self, inputs: NDArray[np.generic], **options: Any) -> ModelOutput:
        fate = self._random.random()
        if fate < 0.1:
            raise ArithmeticError("chance")
        output = self._run(inputs, **options)
        if fate < 0.2:
            return output._replace(probabilities=output.probabilities[:-1])
        if fate < 0.3:
            output.probabilities[0] = np.nan
        return output


@pytest.mark.usefixtures("captured")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("runners", [0, 1, 2])
async def test_every_call_is_answered_once_whatever_happens(
    catalog: Catalog[LoadedVersion], monkeypatch: pytest.MonkeyPatch, runners: int, seed: int
) -> None:
    rng = random.Random(seed)
    async with serving(catalog, runners=runners, max_queue=20) as parts:
        model = parts.version.model
        monkeypatch.setattr(model, "run", Chaos(model.run, seed))
        calls: list[Call] = []
        cancelled: set[Call] = set()
        for _ in range(80):
            group = [call_of(rng) for _ in range(rng.choice([1, 2, 8]))]
            calls += group
            parts.handle(group)
            if rng.random() < 0.3:
                gone = rng.choice(calls)
                if not gone.ended:
                    cancelled.add(gone)
                gone.cancel()
            if rng.random() < 0.5:
                await asyncio.sleep(rng.choice([0, 0, 0.001]))
        closing = asyncio.create_task(parts.engine.close()) if seed == 2 else None
        await until(lambda: all(call.ended for call in calls))
        if closing is not None:
            await closing
        await until(lambda: parts.engine.in_flight == 0)
        check_counts(parts, calls)
    assert {len(call.answers) for call in calls if call not in cancelled} == {1}
    assert {len(call.answers) for call in cancelled} <= {0}
    answered = [
        call for call in calls if call.answers and call.answers[0] not in list(grpc.StatusCode)
    ]
    assert len(answered) > 10


def call_of(rng: random.Random) -> Call:
    """Make a call of any kind."""
    now = asyncio.get_running_loop().time()
    deadline = rng.choice([None, None, now - 1, now + 0.002, now + 60])
    kind, inputs = rng.choice(["tensor", "pixels"]), rng.choice([1, 1, 2, 9])
    options: dict[str, Any] = {"priority": rng.choice([0, 1, 2])}
    if rng.random() < 0.1:
        options["feature_maps"] = [pb.FeatureMapSelection(name="conv", mean=True)]
    if rng.random() < 0.1:
        options["top_k"] = -1
    data = message(inputs, rng.randrange(256), kind, **options)
    return Call(data if rng.random() < 0.95 else b"\xff\xff", deadline)


def check_counts(parts: Parts, calls: Sequence[Call]) -> None:
    """Check that every call is counted once."""
    assert parts.value("grpc_server_started_total") == len(calls)
    assert parts.value("grpc_server_handled_total") == len(calls)
    assert parts.value("grpc_server_handling_seconds_count") == len(calls)
    succeeded = sum(not isinstance(a, grpc.StatusCode) for call in calls for a in call.answers)
    assert parts.value("grpc_server_handled_total", grpc_code="OK") == succeeded
    assert parts.value("convscope_requests_total", code="OK") == succeeded
    assert parts.value("convscope_queue_images") == 0
    stages = {
        parts.value("convscope_stage_seconds_count", stage=stage)
        for stage in ("decode", "queue", "infer", "encode")
    }
    assert len(stages) == 1
