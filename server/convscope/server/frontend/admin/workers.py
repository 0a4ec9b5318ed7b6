"""AdminService of several workers: each call reaches all of them, and their replies become one."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from google.protobuf.message import Message

from convscope.server.errors import ServingError, UnavailableError
from convscope.server.frontend.access.calls import check_model, may_use
from convscope.v1 import admin_pb2 as pb
from convscope.v1 import admin_pb2_grpc

__all__ = ["WorkersAdminServicer"]

if TYPE_CHECKING:  # at run time, grpc's classes take no type arguments
    Context = grpc.aio.ServicerContext[Any, Any]

log = structlog.get_logger(__name__)

REPLAY_TIMEOUT_SECONDS = 300.0


class _NotRunningError(UnavailableError):
    """A worker has ended, and its replacement doesn't serve yet."""


class _WorkerError(ServingError):
    """The error of a worker, passed on."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]

    def message_for(self, may_use: Callable[[str], bool]) -> str:
        """Return the message for a caller that may not use every model.

        After a semicolon, a worker lists what exists, without knowing who calls.
        """
        is_unknown = self.code is grpc.StatusCode.NOT_FOUND
        return self.message.partition(";")[0] if is_unknown else self.message


class WorkersAdminServicer(admin_pb2_grpc.AdminServiceServicer):
    """Passes the calls of an operator on to all workers.

    A change is made by the first worker, and then by the others: what the first one rejects
    changes nothing. A worker that has ended is left out; its replacement makes the changes to
    what is loaded again, which a worker has in memory only. Changes and replacements take turns,
    so that all workers make the changes in the same order.

    Args:
        addresses: The Unix socket of each worker.
    """

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses
        self._turn = asyncio.Lock()
        # Loads and unloads by what they concern, in their order.
        self._changes: dict[tuple[str, int | None], tuple[str, Message]] = {}

    async def LoadModel(  # noqa: N802
        self, request: pb.LoadModelRequest, context: "Context"
    ) -> pb.LoadModelResponse:
        """Load what is new in every worker."""
        reply: pb.LoadModelResponse = await self._change(
            "LoadModel", request, context, partial(self._remember, "LoadModel", request)
        )
        return reply

    async def UnloadModel(  # noqa: N802
        self, request: pb.UnloadModelRequest, context: "Context"
    ) -> pb.UnloadModelResponse:
        """Stop serving a model, or one version of it, in every worker."""
        reply: pb.UnloadModelResponse = await self._change(
            "UnloadModel", request, context, partial(self._remember, "UnloadModel", request)
        )
        return reply

    async def SetAlias(  # noqa: N802
        self, request: pb.SetAliasRequest, context: "Context"
    ) -> pb.SetAliasResponse:
        """Set or remove an alias in the repository, which every worker then reads."""
        reply: pb.SetAliasResponse = await self._change("SetAlias", request, context)
        return reply

    async def SetTrial(  # noqa: N802
        self, request: pb.SetTrialRequest, context: "Context"
    ) -> pb.SetTrialResponse:
        """Set or end a traffic split in the repository, which every worker then reads."""
        reply: pb.SetTrialResponse = await self._change("SetTrial", request, context)
        return reply

    async def GetStatus(  # noqa: N802
        self, request: pb.GetStatusRequest, context: "Context"
    ) -> pb.GetStatusResponse:
        """Report what the first worker serves, and how the others differ."""
        check_model(request.model)
        replies = await self._ask_all("GetStatus", request, context.time_remaining)
        (_, first), *others = sorted(replies.items())
        statuses = {status.model: status for status in first.models}
        for index, reply in others:
            for status in reply.models:
                known = statuses.setdefault(status.model, pb.ModelStatus(model=status.model))
                known.problems.extend(_differences(known, status, index))
        allowed = filter(may_use, sorted(statuses))
        return pb.GetStatusResponse(models=(statuses[model] for model in allowed))

    async def replay(self, index: int) -> None:
        """Make a worker that replaces another one load and unload what operators changed."""
        async with self._turn:
            for method, request in self._changes.values():
                try:
                    await self._ask(index, method, request, REPLAY_TIMEOUT_SECONDS)
                except ServingError as error:
                    log.warning(
                        "a new worker can't repeat the change of an operator",
                        worker=index,
                        method=method,
                        reason=error.message,
                    )

    async def _change(
        self,
        method: str,
        request: Any,
        context: "Context",
        on_accepted: Callable[[], None] = lambda: None,
    ) -> Any:
        """Make a change in all workers; return the reply of the first one.

        Args:
            method: The method of AdminService.
            request: Its request.
            context: The call.
            on_accepted: Called when the first worker has made it.
        """
        if request.model:
            check_model(request.model)
        async with self._turn:
            replies = await self._ask_all(method, request, context.time_remaining, on_accepted)
        return replies[min(replies)]

    def _remember(self, method: str, request: Any) -> None:
        key = request.model, request.version if request.HasField("version") else None
        if key[1] is None:  # it undoes the changes of single versions
            for other in [other for other in self._changes if other[0] == key[0]]:
                del self._changes[other]
        self._changes.pop(key, None)
        self._changes[key] = method, request

    async def _ask_all(
        self,
        method: str,
        request: Message,
        time_left: Callable[[], float | None],
        on_accepted: Callable[[], None] = lambda: None,
    ) -> dict[int, Any]:
        """Return the reply of each worker that is running.

        Raises:
            ServingError: One of them rejects the call, or none is running.
        """
        replies: dict[int, Any] = {}
        indexes = list(range(len(self._addresses)))
        while indexes and not replies:  # before the others: it may reject a change
            if (reply := await self._try(indexes[0], method, request, time_left())) is not None:
                replies[indexes[0]] = reply
            del indexes[0]
        if not replies:
            raise UnavailableError("no worker is ready; try again")
        on_accepted()
        asked = (self._try(i, method, request, time_left()) for i in indexes)
        found = await asyncio.gather(*asked, return_exceptions=True)
        failed: dict[int, ServingError] = {}
        for index, reply in zip(indexes, found, strict=True):
            if isinstance(reply, ServingError):
                failed[index] = reply
            elif isinstance(reply, BaseException):
                raise reply
            elif reply is not None:
                replies[index] = reply
        if failed:
            raise _partial_failure(sorted(replies), failed)
        return replies

    async def _try(self, index: int, method: str, request: Message, timeout: float | None) -> Any:
        """Return the reply of a worker; None if it is not running."""
        try:
            return await self._ask(index, method, request, timeout)
        except _NotRunningError:
            return None

    async def _ask(self, index: int, method: str, request: Message, timeout: float | None) -> Any:
        address = self._addresses[index]
        await _check_running(address)
        async with grpc.aio.insecure_channel(address) as channel:
            stub = admin_pb2_grpc.AdminServiceStub(channel)
            try:
                return await getattr(stub, method)(request, timeout=timeout)
            except grpc.aio.AioRpcError as error:
                raise _WorkerError(error.code(), error.details() or "") from error


def _partial_failure(done: Sequence[int], failed: Mapping[int, ServingError]) -> _WorkerError:
    """Return the error of a call that only some workers have answered."""
    answered = ", ".join(map(str, done))
    reasons = "; ".join(f"worker {i}: {error.message}" for i, error in failed.items())
    first = next(iter(failed.values()))
    return _WorkerError(
        first.code, f"done by worker {answered} only; {reasons}; repeat the call, so that all do it"
    )


async def _check_running(address: str) -> None:
    """Check that a worker listens: gRPC's own error is the one that a worker may return too."""
    try:
        _, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
    except OSError as error:
        raise _NotRunningError("the worker is being replaced; try again") from error
    writer.close()


def _differences(known: pb.ModelStatus, other: pb.ModelStatus, index: int) -> list[str]:
    """Return how the versions of another worker differ."""
    states = ({v.version: v.state for v in status.versions} for status in (known, other))
    here, there = states
    return [
        f"v{number} is {_shown(there.get(number))} in worker {index}"
        for number in sorted(here.keys() | there.keys(), reverse=True)
        if here.get(number) != there.get(number)
    ]


def _shown(state: "pb.VersionState.ValueType | None") -> str:
    if state is None:
        return "not there"
    return pb.VersionState.Name(state).removeprefix("VERSION_STATE_").lower()
