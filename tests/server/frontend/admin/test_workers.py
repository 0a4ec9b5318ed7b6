"""Operators' changes reach all workers in one order, also next to failures and replacements."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from convscope.server.errors import ServingError
from convscope.server.frontend.admin.workers import WorkersAdminServicer
from convscope.server.observability.calls import CallRecord, current_call
from convscope.v1 import admin_pb2 as pb
from convscope.v1 import admin_pb2_grpc


class Worker(admin_pb2_grpc.AdminServiceServicer):
    """A worker that keeps what operators changed, slowly."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.seconds = 0.0
        self.failure: grpc.StatusCode | None = None

    async def _change(self, name: str, context: Any) -> None:
        await asyncio.sleep(self.seconds)
        if self.failure is not None:
            await context.abort(self.failure, "draining")
        self.calls.append(name)

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


class Context:
    """A call with a deadline."""

    def time_remaining(self) -> float:
        return 10.0


CONTEXT: Any = Context()
LOAD, UNLOAD = pb.LoadModelRequest(model="tiny"), pb.UnloadModelRequest(model="tiny")


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


@asynccontextmanager
async def workers(folder: Path) -> AsyncIterator[tuple[WorkersAdminServicer, Worker, Worker]]:
    addresses = [f"unix:{folder}/{index}" for index in range(2)]
    both = Worker(), Worker()  # type: ignore[abstract]  # the others are not called
    current_call.set(CallRecord("1"))
    async with AsyncExitStack() as stack:
        for worker, address in zip(both, addresses, strict=True):
            await stack.enter_async_context(serving(worker, address))
        yield WorkersAdminServicer(addresses), *both


async def test_two_operators_at_once_leave_the_workers_alike(tmp_path: Path) -> None:
    async with workers(tmp_path) as (admin, first, second):
        second.seconds = 0.05
        await asyncio.gather(admin.UnloadModel(UNLOAD, CONTEXT), admin.LoadModel(LOAD, CONTEXT))
        assert first.calls == second.calls == ["unload tiny", "load tiny"]


async def test_a_change_next_to_a_replacement_comes_after_what_it_repeats(tmp_path: Path) -> None:
    async with workers(tmp_path) as (admin, first, second):
        await admin.UnloadModel(UNLOAD, CONTEXT)
        second.calls.clear()  # it was replaced
        second.seconds = 0.05
        replaying = asyncio.create_task(admin.replay(1))
        await asyncio.sleep(0.01)
        await admin.LoadModel(LOAD, CONTEXT)
        await replaying
        assert first.calls == second.calls == ["unload tiny", "load tiny"]


async def test_a_worker_that_is_replaced_during_a_change_makes_it_too(tmp_path: Path) -> None:
    async with workers(tmp_path) as (admin, first, second):
        first.seconds = 0.05
        changing = asyncio.create_task(admin.UnloadModel(UNLOAD, CONTEXT))
        await asyncio.sleep(0.01)
        await asyncio.gather(changing, admin.replay(1))
        assert second.calls[-1] == "unload tiny"


async def test_a_failure_in_one_worker_is_explained_and_the_change_is_repeated_later(
    tmp_path: Path,
) -> None:
    async with workers(tmp_path) as (admin, first, second):
        second.failure = grpc.StatusCode.UNAVAILABLE
        with pytest.raises(ServingError) as caught:
            await admin.UnloadModel(UNLOAD, CONTEXT)
        assert caught.value.message == (
            "done by worker 0 only; worker 1: draining; repeat the call, so that all do it"
        )
        assert (caught.value.code, first.calls) == (grpc.StatusCode.UNAVAILABLE, ["unload tiny"])
        second.failure = None
        await admin.replay(1)
        assert second.calls == ["unload tiny"]


async def test_what_the_first_worker_rejects_changes_nothing(tmp_path: Path) -> None:
    async with workers(tmp_path) as (admin, first, second):
        first.failure = grpc.StatusCode.NOT_FOUND
        with pytest.raises(ServingError):
            await admin.LoadModel(LOAD, CONTEXT)
        first.failure = None
        await admin.replay(0)
        assert first.calls == second.calls == []
