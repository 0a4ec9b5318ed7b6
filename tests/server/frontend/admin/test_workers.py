"""Operators' changes reach all workers in one order, also next to failures and replacements."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest

from convscope.server.errors import ServingError
from convscope.server.frontend.admin.changes import OperatorChanges
from convscope.server.frontend.admin.workers import WorkersAdminServicer
from convscope.server.observability.calls import CallRecord, current_call
from convscope.v1 import admin_pb2 as pb
from convscope.v1 import admin_pb2_grpc

MODELS = ["cat", "tiny"]


class Worker(admin_pb2_grpc.AdminServiceServicer):
    """A worker that keeps what operators changed, slowly."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.seconds = 0.0
        self.failure: tuple[grpc.StatusCode, str] | None = None
        self.versions: list[pb.VersionStatus] = []

    async def _change(self, name: str, context: Any) -> None:
        await asyncio.sleep(self.seconds)
        self.calls.append(name)
        if self.failure is not None:
            await context.abort(*self.failure)

    async def LoadModel(  # noqa: N802
        self, request: pb.LoadModelRequest, context: Any
    ) -> pb.LoadModelResponse:
        await self._change(f"load {request.model}", context)
        return pb.LoadModelResponse(status=pb.ModelStatus(model=request.model))

    async def UnloadModel(  # noqa: N802
        self, request: pb.UnloadModelRequest, context: Any
    ) -> pb.UnloadModelResponse:
        await self._change(f"unload {request.model}", context)
        return pb.UnloadModelResponse(status=pb.ModelStatus(model=request.model))

    async def SetAlias(  # noqa: N802
        self, request: pb.SetAliasRequest, context: Any
    ) -> pb.SetAliasResponse:
        await self._change(f"alias {request.alias}", context)
        return pb.SetAliasResponse()

    async def SetTrial(  # noqa: N802
        self, request: pb.SetTrialRequest, context: Any
    ) -> pb.SetTrialResponse:
        await self._change(f"split {request.model}", context)
        return pb.SetTrialResponse(status=pb.ModelStatus(aliases={"champion": 3}))

    async def GetStatus(  # noqa: N802
        self, request: pb.GetStatusRequest, context: Any
    ) -> pb.GetStatusResponse:
        models = [pb.ModelStatus(model=name, versions=self.versions) for name in MODELS]
        return pb.GetStatusResponse(models=models)


class Context:
    """A call with a deadline."""

    def time_remaining(self) -> float:
        return 10.0


class Team:
    """A caller that may use one model."""

    name = "team"

    def may_use(self, model: str) -> bool:
        return model == "tiny"

    def check_model(self, model: str) -> None:
        pass


CONTEXT: Any = Context()
LOAD, UNLOAD = pb.LoadModelRequest(model="tiny"), pb.UnloadModelRequest(model="tiny")


class Workers(NamedTuple):
    """Two workers, and what passes operators' calls on to them."""

    admin: WorkersAdminServicer
    changes: OperatorChanges
    first: Worker
    second: Worker


@asynccontextmanager
async def serving(worker: Worker, address: str) -> AsyncIterator[None]:
    server = grpc.aio.server()
    admin_pb2_grpc.add_AdminServiceServicer_to_server(worker, server)
    server.add_insecure_port(address)
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)


@pytest.fixture
async def workers(tmp_path: Path) -> AsyncIterator[Workers]:
    addresses = [f"unix:{tmp_path}/{index}" for index in range(2)]
    both, changes = (Worker(), Worker()), OperatorChanges()
    async with AsyncExitStack() as stack:
        for index, (worker, address) in enumerate(zip(both, addresses, strict=True)):
            await stack.enter_async_context(serving(worker, address))
            assert changes.join(index, since=0) is None
        yield Workers(WorkersAdminServicer(addresses, changes), changes, *both)


@pytest.fixture(autouse=True)
def operator() -> None:
    current_call.set(CallRecord("1"))


def unloaded(changes: OperatorChanges) -> dict[str, Any]:
    """Return which versions of "tiny" a worker that starts now doesn't load."""
    values: dict[str, Any] = changes.to_json()["tiny"]
    return values


async def test_two_operators_at_once_leave_the_workers_alike(workers: Workers) -> None:
    admin, _, first, second = workers
    second.seconds = 0.05
    await asyncio.gather(admin.UnloadModel(UNLOAD, CONTEXT), admin.LoadModel(LOAD, CONTEXT))
    assert first.calls == second.calls == ["unload tiny", "load tiny"]


async def test_a_worker_that_starts_gets_all_changes_once(workers: Workers) -> None:
    admin, changes, first, second = workers
    await admin.UnloadModel(pb.UnloadModelRequest(model="tiny", version=3), CONTEXT)
    changes.leave(1)  # it has ended, and its replacement begins
    before_its_load, since = changes.to_json(), changes.count
    assert before_its_load["tiny"]["excluded"] == [3]
    await admin.UnloadModel(UNLOAD, CONTEXT)
    assert second.calls == ["unload tiny"]
    before_it_serves = changes.join(1, since)
    assert before_it_serves is not None
    assert before_it_serves["tiny"]["excludes_model"]
    await admin.LoadModel(LOAD, CONTEXT)
    assert first.calls == ["unload tiny", "unload tiny", "load tiny"]
    assert second.calls == ["unload tiny", "load tiny"]
    assert unloaded(changes) == {"pinned": [], "excluded": [], "excludes_model": False}


async def test_a_worker_that_begins_to_serve_during_a_change_makes_it_too(
    workers: Workers,
) -> None:
    admin, changes, first, second = workers
    changes.leave(1)
    first.seconds = 0.05
    changing = asyncio.create_task(admin.UnloadModel(UNLOAD, CONTEXT))
    while not changes.turn.locked():
        await asyncio.sleep(0)
    assert changes.join(1, since=0) is None
    await changing
    assert second.calls == ["unload tiny"]


async def test_a_worker_that_starts_is_told_of_changes_that_leave_the_versions_alike(
    workers: Workers,
) -> None:
    admin, changes, _, _ = workers
    await admin.LoadModel(LOAD, CONTEXT)
    changes.leave(1)
    before, since = changes.to_json(), changes.count
    await admin.LoadModel(LOAD, CONTEXT)  # it tries rejected versions again
    assert changes.join(1, since) == before
    changes.leave(1)
    assert changes.join(1, changes.count) is None


async def test_a_change_that_has_begun_is_completed_although_its_caller_leaves(
    workers: Workers,
) -> None:
    admin, changes, first, second = workers
    first.seconds = 0.05
    changing = asyncio.create_task(admin.UnloadModel(UNLOAD, CONTEXT))
    waiting = asyncio.create_task(admin.LoadModel(LOAD, CONTEXT))
    while not changes.turn.locked():
        await asyncio.sleep(0)
    for leaving in (changing, waiting):
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
    async with changes.turn:
        assert first.calls == second.calls == ["unload tiny"]
        assert unloaded(changes)["excludes_model"]


async def test_a_version_that_gets_a_name_is_loaded_again(workers: Workers) -> None:
    admin, changes, _, _ = workers
    for version in (2, 3, 4):
        await admin.UnloadModel(pb.UnloadModelRequest(model="tiny", version=version), CONTEXT)
    alias = pb.SetAliasRequest(model="tiny", alias="champion", version=4)
    await admin.SetAlias(alias, CONTEXT)
    assert unloaded(changes)["excluded"] == [2, 3]
    for to in (pb.Trial(alias="champion"), pb.Trial(version=2)):  # the alias names version 3
        split = pb.SetTrialRequest(model="tiny", kind=pb.TRIAL_KIND_CANARY, trial=to)
        await admin.SetTrial(split, CONTEXT)
    assert unloaded(changes)["excluded"] == []


async def test_a_failure_in_one_worker_is_explained_and_its_replacement_gets_the_change(
    workers: Workers,
) -> None:
    admin, changes, first, second = workers
    second.failure = grpc.StatusCode.UNAVAILABLE, "draining"
    with pytest.raises(ServingError) as caught:
        await admin.UnloadModel(UNLOAD, CONTEXT)
    assert caught.value.message == (
        "done by worker 0 only; worker 1: draining; repeat the call, so that all do it"
    )
    assert (caught.value.code, first.calls) == (grpc.StatusCode.UNAVAILABLE, ["unload tiny"])
    assert unloaded(changes)["excludes_model"]


async def test_what_the_first_worker_rejects_changes_nothing(workers: Workers) -> None:
    admin, changes, first, second = workers
    first.failure = grpc.StatusCode.NOT_FOUND, "tiny has no version 9"
    with pytest.raises(ServingError):
        await admin.LoadModel(LOAD, CONTEXT)
    assert (changes.to_json(), second.calls) == ({}, [])


async def test_a_load_that_rejects_one_version_loads_the_rest_in_all_workers(
    workers: Workers,
) -> None:
    admin, changes, first, second = workers
    await admin.UnloadModel(UNLOAD, CONTEXT)
    first.failure = second.failure = grpc.StatusCode.FAILED_PRECONDITION, "v2 was rejected"
    with pytest.raises(ServingError, match=r"^v2 was rejected$"):
        await admin.LoadModel(LOAD, CONTEXT)
    assert first.calls == second.calls == ["unload tiny", "load tiny"]
    assert not unloaded(changes)["excludes_model"]
    with pytest.raises(ServingError):
        await admin.LoadModel(pb.LoadModelRequest(model="tiny", version=2), CONTEXT)
    assert unloaded(changes)["pinned"] == []


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (
            "no model 'dog'; the repository has: cat, tiny",
            "no model 'dog'; the repository has: tiny",
        ),
        ("tiny has no version 9; the repository has: 1, 2", None),
        ("tiny has no alias 'x'; it has: champion", None),
    ],
)
async def test_an_error_keeps_its_hints_except_models_of_others(
    workers: Workers, message: str, shown: str | None
) -> None:
    workers.first.failure = grpc.StatusCode.NOT_FOUND, message
    with pytest.raises(ServingError) as caught:
        await workers.admin.UnloadModel(pb.UnloadModelRequest(model="dog"), CONTEXT)
    assert caught.value.message == message
    assert caught.value.message_for(Team().may_use) == (shown or message)


async def test_a_failure_in_one_worker_lists_no_models_of_others(workers: Workers) -> None:
    current_call.get().caller = Team()  # type: ignore[assignment] # it has no rates
    workers.second.failure = grpc.StatusCode.NOT_FOUND, "no model 'tiny'; the repository has: cat"
    with pytest.raises(ServingError, match="worker 1: no model 'tiny'; the repository has: tiny;"):
        await workers.admin.UnloadModel(UNLOAD, CONTEXT)


async def test_the_status_names_a_worker_that_differs(workers: Workers) -> None:
    ready = pb.VERSION_STATE_READY

    def on(provider: str, fallback_from: str = "") -> list[pb.VersionStatus]:
        version = pb.VersionStatus(version=2, state=ready, provider=provider)
        version.fallback_from = fallback_from
        return [version]

    async def problems() -> list[str]:
        status = await workers.admin.GetStatus(pb.GetStatusRequest(), CONTEXT)
        return list(status.models[0].problems)

    workers.first.versions = on("cuda")
    workers.second.versions = on("cuda")
    assert await problems() == []
    workers.second.versions = on("cpu", "cuda")
    assert await problems() == ["v2 is ready on cpu instead of cuda in worker 1"]
    workers.second.versions = [pb.VersionStatus(version=2, state=pb.VERSION_STATE_REFUSED)]
    assert await problems() == ["v2 is refused in worker 1"]
    workers.second.versions = []
    assert await problems() == ["v2 is not there in worker 1"]


async def test_without_a_worker_that_serves_the_status_is_that_of_those_that_load(
    workers: Workers,
) -> None:
    for index in range(2):
        workers.changes.leave(index)
    status = await workers.admin.GetStatus(pb.GetStatusRequest(), CONTEXT)
    assert [one.model for one in status.models] == MODELS
    with pytest.raises(ServingError, match="no worker is ready"):
        await workers.admin.LoadModel(LOAD, CONTEXT)
