"""AdminService of several workers: each call reaches all of them, and their replies become one."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import Message

from convscope.server.errors import ServingError, UnavailableError, UnknownModelError
from convscope.server.frontend.access.calls import check_model, may_use
from convscope.server.frontend.admin.changes import OperatorChanges
from convscope.server.repository.desired import Overrides
from convscope.v1 import admin_pb2 as pb
from convscope.v1 import admin_pb2_grpc

__all__ = ["WorkersAdminServicer"]

if TYPE_CHECKING:  # at run time, grpc's classes take no type arguments
    Context = grpc.aio.ServicerContext[Any, Any]

LIST_TIMEOUT_SECONDS = 10.0
# How long each worker may take for a change, whatever the caller's deadline: longer than a load
# that measures everything. Without a limit, a load that never ends would block further changes.
CHANGE_TIMEOUT_SECONDS = 1800.0

# What a change means for workers that start later, given the reply of the first worker; None if
# that has rejected the version.
_Record = Callable[[Overrides, Any], None]


class _NotRunningError(UnavailableError):
    """A worker has ended, and its replacement doesn't serve yet."""


class _WorkerError(ServingError):
    """The error of a worker, passed on."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]


class WorkersAdminServicer(admin_pb2_grpc.AdminServiceServicer):
    """Passes the calls of an operator on to all workers.

    A change is made by the first worker, and then by the others: what the first one rejects
    changes nothing, except for a load that can't load everything: then the others load the rest
    too. A worker that is starting is left out, because it gets the changes from `OperatorChanges`.
    A change that has begun is completed even if its caller leaves.

    Args:
        addresses: The Unix socket of each worker.
        changes: What operators changed, and which workers take changes.
    """

    def __init__(self, addresses: Sequence[str], changes: OperatorChanges) -> None:
        self._addresses = addresses
        self._changes = changes
        self._changing: asyncio.Task[Any] | None = None

    async def LoadModel(  # noqa: N802
        self, request: pb.LoadModelRequest, context: "Context"
    ) -> pb.LoadModelResponse:
        """Load what is new in every worker."""
        version = _version(request)

        def record(overrides: Overrides, reply: pb.LoadModelResponse | None) -> None:
            overrides.load(version)
            if reply is None and version is not None:
                overrides.unpin(version)

        reply: pb.LoadModelResponse = await self._change("LoadModel", request, record)
        return reply

    async def UnloadModel(  # noqa: N802
        self, request: pb.UnloadModelRequest, context: "Context"
    ) -> pb.UnloadModelResponse:
        """Stop serving a model, or one version of it, in every worker."""

        def record(overrides: Overrides, reply: object) -> None:
            overrides.exclude(_version(request))

        reply: pb.UnloadModelResponse = await self._change("UnloadModel", request, record)
        return reply

    async def SetAlias(  # noqa: N802
        self, request: pb.SetAliasRequest, context: "Context"
    ) -> pb.SetAliasResponse:
        """Set or remove an alias in the repository, which every worker then reads."""

        def record(overrides: Overrides, reply: object) -> None:
            if (version := _version(request)) is not None:
                overrides.include(version)

        reply: pb.SetAliasResponse = await self._change("SetAlias", request, record)
        return reply

    async def SetTrial(  # noqa: N802
        self, request: pb.SetTrialRequest, context: "Context"
    ) -> pb.SetTrialResponse:
        """Set or end a traffic split in the repository, which every worker then reads."""

        def record(overrides: Overrides, reply: pb.SetTrialResponse) -> None:
            if request.HasField("trial"):
                aliases, to = reply.status.aliases, request.trial
                is_alias = to.WhichOneof("to") == "alias"
                overrides.include(aliases[to.alias] if is_alias else to.version)

        reply: pb.SetTrialResponse = await self._change("SetTrial", request, record)
        return reply

    async def GetStatus(  # noqa: N802
        self, request: pb.GetStatusRequest, context: "Context"
    ) -> pb.GetStatusResponse:
        """Report what the first worker serves, and how the others differ.

        Before any worker serves, this is what those that load have loaded so far.
        """
        check_model(request.model)
        indexes = sorted(self._changes.joined) or range(len(self._addresses))
        replies = await self._ask_all(indexes, "GetStatus", request, context.time_remaining())
        (_, first), *others = sorted(_replies(replies).items())
        statuses = {status.model: status for status in first.models}
        for index, reply in others:
            for status in reply.models:
                known = statuses.setdefault(status.model, pb.ModelStatus(model=status.model))
                known.problems.extend(_differences(known, status, index))
        allowed = filter(may_use, sorted(statuses))
        return pb.GetStatusResponse(models=(statuses[model] for model in allowed))

    async def _change(self, method: str, request: Any, record: _Record) -> Any:
        """Make a change in all workers; return the reply of the first one.

        A caller that leaves before its turn changes nothing. One that leaves later must not leave
        the change to some of the workers.

        Args:
            method: The method of AdminService.
            request: Its request.
            record: Called when the first worker has made the change, or a part of it.
        """
        if request.model:
            check_model(request.model)
        await self._changes.turn.acquire()
        self._changing = asyncio.create_task(self._make(method, request, record))
        self._changing.add_done_callback(lambda _: self._changes.turn.release())
        return await asyncio.shield(self._changing)

    async def _make(self, method: str, request: Any, record: _Record) -> Any:
        """Make a change when it is its turn."""
        first = await self._ask_first(method, request)
        (outcome,) = first.values()
        rejection = outcome if isinstance(outcome, ServingError) else None
        if rejection is not None and not _is_made(method, rejection):
            raise rejection
        # Without a pause between the two: a worker that joins later gets the record.
        record(self._changes.change(request.model), outcome if rejection is None else None)
        others = sorted(self._changes.joined - first.keys())
        outcomes = first | await self._ask_all(others, method, request, CHANGE_TIMEOUT_SECONDS)
        replies = _replies(outcomes)
        return replies[min(replies)]

    async def _ask_first(self, method: str, request: Message) -> dict[int, Any]:
        """Return the outcome of the first worker that runs, by its index.

        Raises:
            UnavailableError: None does.
        """
        for index in sorted(self._changes.joined):
            outcome = await self._try(index, method, request, CHANGE_TIMEOUT_SECONDS)
            if outcome is not None:
                return {index: outcome}
        raise UnavailableError("no worker is ready; try again")

    async def _ask_all(
        self,
        indexes: Collection[int],
        method: str,
        request: Message,
        timeout: float | None,
    ) -> dict[int, Any]:
        """Return the outcome of each worker that runs, by its index."""
        asked = (self._try(index, method, request, timeout) for index in indexes)
        found = zip(indexes, await asyncio.gather(*asked), strict=True)
        return {index: outcome for index, outcome in found if outcome is not None}

    async def _try(self, index: int, method: str, request: Message, timeout: float | None) -> Any:
        """Return the reply of a worker, or its error; None if it is not running."""
        try:
            return await self._ask(index, method, request, timeout)
        except _NotRunningError:
            return None
        except ServingError as error:
            return error

    async def _ask(self, index: int, method: str, request: Any, timeout: float | None) -> Any:
        address = self._addresses[index]
        await _check_running(address)
        async with grpc.aio.insecure_channel(address) as channel:
            stub = admin_pb2_grpc.AdminServiceStub(channel)
            try:
                return await getattr(stub, method)(request, timeout=timeout)
            except grpc.aio.AioRpcError as error:
                raise await _passed_on(error, stub, request) from error


async def _passed_on(
    error: grpc.aio.AioRpcError, stub: "admin_pb2_grpc.AdminServiceAsyncStub", request: Any
) -> ServingError:
    """Return the error of a worker as that of the call.

    A worker doesn't know who calls. Where it lists the models, those that the caller may use are
    listed instead.
    """
    code, message = error.code(), error.details() or ""
    if code is not grpc.StatusCode.NOT_FOUND or not message.startswith(UnknownModelError.START):
        return _WorkerError(code, message)
    try:
        known = await stub.GetStatus(pb.GetStatusRequest(), timeout=LIST_TIMEOUT_SECONDS)
    except grpc.aio.AioRpcError as failure:
        return _WorkerError(failure.code(), failure.details() or "")
    names = [status.model for status in known.models]
    return UnknownModelError(request.model, names, place="the repository")


def _version(request: Any) -> int | None:
    return request.version if request.HasField("version") else None


def _is_made(method: str, error: ServingError) -> bool:
    """Report whether a change that ended with an error was made as far as possible.

    A load may reject one version of a model, and load another one.
    """
    return method == "LoadModel" and error.code is grpc.StatusCode.FAILED_PRECONDITION


def _replies(outcomes: Mapping[int, Any]) -> dict[int, Any]:
    """Return the reply of each worker.

    Raises:
        ServingError: One of them rejects the call, or none is running.
    """
    failed = {i: one for i, one in sorted(outcomes.items()) if isinstance(one, ServingError)}
    replies = {i: one for i, one in outcomes.items() if i not in failed}
    if failed and replies:
        raise _partial_failure(sorted(replies), failed)
    if failed:
        raise next(iter(failed.values()))
    if not replies:
        raise UnavailableError("no worker is ready; try again")
    return replies


def _partial_failure(done: Iterable[int], failed: Mapping[int, ServingError]) -> _WorkerError:
    """Return the error of a call that only some workers have answered."""
    answered = ", ".join(map(str, done))
    reasons = "; ".join(f"worker {i}: {error.message_for(may_use)}" for i, error in failed.items())
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
    here, there = (
        {version.version: _shown(version) for version in status.versions}
        for status in (known, other)
    )
    return [
        f"v{number} is {there.get(number, 'not there')} in worker {index}"
        for number in sorted(here.keys() | there.keys(), reverse=True)
        if here.get(number) != there.get(number)
    ]


def _shown(version: pb.VersionStatus) -> str:
    """Return what must be the same in all workers: the state, and where the version runs."""
    state = pb.VersionState.Name(version.state).removeprefix("VERSION_STATE_").lower()
    provider = f" on {version.provider}" if version.provider else ""
    fallback = f" instead of {version.fallback_from}" if version.fallback_from else ""
    return f"{state}{provider}{fallback}"
