"""How requests find their version, wait for it, and are counted by their end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from structlog.testing import capture_logs
from support.loading import load
from support.requests import NoReply
from support.tiny import SIDE

from convscope.server.errors import (
    BundleRejectedError,
    InvalidInputError,
    OverloadedError,
    UnavailableError,
)
from convscope.server.inference.engine import Engine
from convscope.server.inference.handler import InferenceHandler
from convscope.server.inference.pipeline import PipelineLimits
from convscope.server.inference.requests import InferenceRequest, ReadyTensor
from convscope.server.observability.calls import CallRecord
from convscope.server.observability.metrics import Metrics
from convscope.server.repository.catalog import Catalog, NotLoadedError, Target
from convscope.server.repository.manager import ModelManager
from convscope.server.runtime.versions import LoadedVersion

TIMEOUT_SECONDS = 20.0


class Prepared(NoReply):
    """An endpoint whose requests have one tensor, or an error."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    def prepare(self, request: InferenceRequest) -> None:
        if self._error is not None:
            raise self._error
        request.inputs = [ReadyTensor(np.zeros((SIDE, SIDE, 3), np.uint8))]


class Manager:
    """A manager of one version, which is loaded when the test allows it."""

    def __init__(self, catalog: Catalog[LoadedVersion]) -> None:
        self._ready = catalog
        self.catalog = self
        self.models = catalog.models
        self.is_loaded = False
        self.is_named = False
        self.may_end = asyncio.Event()
        self.error: Exception | None = None
        self.loads = 0

    def resolve(self, target: Target, *, canary: bool = False) -> LoadedVersion:
        if not self.is_loaded:
            raise NotLoadedError("good", 1, is_named=self.is_named)
        return self._ready.resolve(target)

    def shadow(self, target: Target, version: LoadedVersion) -> None:
        return None

    async def load_on_demand(self, model: str, version: int, *, evict: bool = True) -> None:
        self.loads += 1
        await self.may_end.wait()
        self.is_loaded = True
        if self.error is not None:
            raise self.error


class Parts:
    """A handler, and what it needs."""

    def __init__(self, catalog: Catalog[LoadedVersion], manager: Any = None) -> None:
        self.catalog = catalog
        self.version = catalog.resolve(Target("good"))
        self.metrics = Metrics()
        self.engine = Engine(PipelineLimits(64, 0.0, 1), self.metrics.of)
        self.engine.add(self.version)
        self.handler = InferenceHandler(
            cast("ModelManager[LoadedVersion]", manager or SimpleNamespace(catalog=catalog)),
            self.engine,
            self.metrics,
            max_inputs=2,
            cores=1,
        )
        self.finished: list[InferenceRequest] = []

    def request(self, error: Exception | None = None, **options: Any) -> InferenceRequest:
        return InferenceRequest(
            Prepared(error),
            CallRecord("test"),
            self.finished.extend,
            target=Target("good"),
            **options,
        )

    async def serve(self, *requests: InferenceRequest) -> None:
        self.handler.serve(requests)
        await until(lambda: all(request.done for request in requests))

    def counts(self) -> dict[str, float]:
        return {
            sample.labels["code"]: sample.value
            for family in self.metrics.registry.collect()
            for sample in family.samples
            if sample.name == "convscope_requests_total" and sample.value
        }


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not condition():
            await asyncio.sleep(0.001)


@asynccontextmanager
async def handling(
    root: Path, make_manager: Callable[[Catalog[LoadedVersion]], Any] = lambda catalog: None
) -> AsyncIterator[Parts]:
    catalog = await asyncio.to_thread(load, root)
    parts = Parts(catalog, make_manager(catalog))
    try:
        yield parts
    finally:
        await parts.handler.close()
        await parts.engine.close()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, "OK"),
        (OverloadedError("full"), "RESOURCE_EXHAUSTED"),
        (ValueError("unexpected"), "INTERNAL"),
    ],
)
async def test_request_is_counted_once_by_its_end(
    root: Path, error: Exception | None, code: str
) -> None:
    async with handling(root) as parts:
        request = parts.request(error)
        await parts.serve(request)
        parts.handler.cancel(request)  # too late
        assert parts.counts() == {code: 1}
        assert parts.finished == [request]
        assert request.error is error


@pytest.mark.parametrize(
    ("seconds_left", "code"),
    [
        (None, "CANCELLED"),
        (60, "CANCELLED"),
        (-1, "DEADLINE_EXCEEDED"),
        # The caller's clock is a little ahead of ours.
        (0.005, "DEADLINE_EXCEEDED"),
    ],
)
async def test_cancelled_request_is_counted_once(
    root: Path, seconds_left: float | None, code: str
) -> None:
    async with handling(root) as parts:
        now = asyncio.get_running_loop().time()
        deadline = None if seconds_left is None else now + seconds_left
        request = parts.request(deadline=deadline)
        request.version = parts.version
        parts.handler.cancel(request)
        parts.handler.cancel(request)
        assert parts.counts() == {code: 1}
        assert parts.finished == [request]


@pytest.mark.parametrize(("inputs", "message"), [(0, "has no inputs"), (3, "has 3 inputs")])
async def test_number_of_inputs_is_limited(root: Path, inputs: int, message: str) -> None:
    async with handling(root) as parts:
        request = parts.request()
        parts.handler.admit(request, 2)
        with pytest.raises(InvalidInputError, match=message):
            parts.handler.admit(request, inputs)
        assert request.record.inputs == 2 + inputs


async def test_requests_of_a_group_end_on_their_own(root: Path) -> None:
    async with handling(root) as parts:
        good, bad, lost = parts.request(), parts.request(OverloadedError("full")), parts.request()
        lost.target = Target("")
        await parts.serve(good, bad, lost)
        assert (good.error, str(bad.error)) == (None, "full")
        assert "names no model; this server has: good" in str(lost.error)


# Versions that are loaded on demand


@asynccontextmanager
async def waiting(root: Path, count: int = 3) -> AsyncIterator[tuple[Parts, Manager, Any]]:
    managers: list[Manager] = []

    def make(catalog: Catalog[LoadedVersion]) -> Manager:
        managers.append(Manager(catalog))
        return managers[0]

    async with handling(root, make) as parts:
        requests = [parts.request() for _ in range(count)]
        parts.handler.serve(requests)
        await until(lambda: managers[0].loads > 0)
        yield parts, managers[0], requests


async def test_requests_wait_for_one_load_and_are_served_after_it(root: Path) -> None:
    async with waiting(root) as (parts, manager, requests):
        assert not parts.finished
        manager.may_end.set()
        await until(lambda: len(parts.finished) == 3)
        assert manager.loads == 1
        assert [request.error for request in requests] == [None] * 3
        assert parts.counts() == {"OK": 3}


async def test_request_that_is_cancelled_while_it_waits_leaves_the_load_to_the_others(
    root: Path,
) -> None:
    async with waiting(root) as (parts, manager, requests):
        parts.handler.cancel(requests[0])
        assert parts.finished == [requests[0]]
        manager.may_end.set()
        await until(lambda: len(parts.finished) == 3)
        assert [request.error for request in requests[1:]] == [None] * 2
        assert isinstance(requests[0].error, asyncio.CancelledError)


async def test_deadline_that_passes_during_the_load_is_not_run(root: Path) -> None:
    async with waiting(root, count=1) as (parts, manager, _):
        now = asyncio.get_running_loop().time()
        late = parts.request(deadline=now + 0.01)
        parts.handler.serve([late])
        await asyncio.sleep(0.02)
        manager.may_end.set()
        await until(lambda: late.done)
        assert "the deadline" in str(late.error)
        assert parts.counts().get("DEADLINE_EXCEEDED") == 1


@pytest.mark.parametrize("is_named", [False, True])
async def test_rejected_version_fails_only_requests_that_name_it(
    root: Path, is_named: bool
) -> None:
    async with waiting(root, count=1) as (parts, manager, _):
        manager.is_named = is_named
        manager.error = BundleRejectedError("hash", "wrong hash")
        request = parts.request()
        parts.handler.serve([request])
        await asyncio.sleep(0)
        manager.may_end.set()
        await until(lambda: request.done)
        assert isinstance(request.error, BundleRejectedError) is is_named


async def test_failed_load_fails_the_requests_that_wait(root: Path) -> None:
    async with waiting(root) as (parts, manager, requests):
        manager.error = OverloadedError("no memory left")
        manager.may_end.set()
        await until(lambda: len(parts.finished) == 3)
        assert [str(request.error) for request in requests] == ["no memory left"] * 3


async def test_requests_that_wait_at_the_end_are_unavailable(root: Path) -> None:
    async with waiting(root) as (parts, _, requests):
        await parts.handler.close()
        assert all(isinstance(request.error, UnavailableError) for request in requests)
        assert parts.finished == requests


# Whatever fails


@pytest.fixture
def captured() -> Iterator[None]:
    """Collect the log: to render tracebacks takes long."""
    with capture_logs():
        yield


class Fragile(NoReply):
    """An endpoint that fails in the way of the test."""

    def __init__(self, fail_in: str) -> None:
        self._fail_in = fail_in

    def prepare(self, request: InferenceRequest) -> None:
        if self._fail_in == "prepare":
            raise ArithmeticError
        request.inputs = [ReadyTensor(np.zeros((SIDE, SIDE, 3), np.uint8))] * 10
        if self._fail_in == "shape":
            request.inputs = [ReadyTensor(np.zeros((SIDE, SIDE), np.uint8))]
        if self._fail_in == "maps":
            request.feature_maps = ("no such map",)

    def encode(self, request: InferenceRequest) -> bytes:
        if self._fail_in == "encode":
            raise ArithmeticError
        if self._fail_in == "seconds":
            request.encode_seconds = ["not a number"]  # type: ignore[list-item]
            return b""
        return super().encode(request)


@pytest.mark.usefixtures("captured")
@pytest.mark.parametrize("is_large", [False, True])
@pytest.mark.parametrize("fail_in", ["", "prepare", "shape", "maps", "encode", "seconds"])
async def test_every_request_is_finished_once_whatever_fails(
    root: Path, fail_in: str, is_large: bool
) -> None:
    async with handling(root) as parts:
        requests: Sequence[InferenceRequest] = [
            InferenceRequest(
                Fragile(fail_in), CallRecord("test"), parts.finished.extend, target=Target("good")
            )
            for _ in range(4)
        ]
        other = parts.request()
        for request in requests:
            request.is_large = is_large
        await parts.serve(*requests, other)
        assert parts.engine.in_flight == 0
        assert sorted(map(id, parts.finished)) == sorted(map(id, [*requests, other]))
        failed = fail_in not in ("", "seconds")
        assert [request.error is not None for request in requests] == [failed] * 4
        later = parts.request()
        await parts.serve(later)
        assert later.error is None
