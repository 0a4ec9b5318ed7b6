"""AdminService: an operator's calls over gRPC."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine

import grpc

from convscope.bundle.traffic import Kind, TrafficSplit
from convscope.server.errors import InvalidInputError
from convscope.server.frontend.access.calls import check_model, may_use
from convscope.server.repository.operator import Operator
from convscope.server.runtime.versions import LoadedVersion
from convscope.v1 import admin_pb2 as pb
from convscope.v1 import admin_pb2_grpc

__all__ = ["AdminServicer"]

_KINDS: dict[int, Kind] = {pb.TRIAL_KIND_CANARY: "canary", pb.TRIAL_KIND_SHADOW: "shadow"}


class AdminServicer(admin_pb2_grpc.AdminServiceServicer):
    """Answers the calls of AdminService.

    Args:
        operator: Executes the calls.
        may_change: Returns when changes are accepted, or raises an error. The status is reported
            before that too, so that an operator sees what a server that loads is doing.
    """

    def __init__(
        self, operator: Operator[LoadedVersion], may_change: Callable[[], Awaitable[object]]
    ) -> None:
        self._operator = operator
        self._may_change = may_change

    async def LoadModel(  # noqa: N802
        self,
        request: pb.LoadModelRequest,
        context: "grpc.aio.ServicerContext[pb.LoadModelRequest, pb.LoadModelResponse]",
    ) -> pb.LoadModelResponse:
        """Load what is new, and try rejected versions again."""
        version = request.version if request.HasField("version") else None
        await self._make(self._operator.load, _named(request.model), version)
        return pb.LoadModelResponse(status=self._status(request.model))

    async def UnloadModel(  # noqa: N802
        self,
        request: pb.UnloadModelRequest,
        context: "grpc.aio.ServicerContext[pb.UnloadModelRequest, pb.UnloadModelResponse]",
    ) -> pb.UnloadModelResponse:
        """Stop serving a model, or one version of it."""
        version = request.version if request.HasField("version") else None
        await self._make(self._operator.unload, _named(request.model), version)
        return pb.UnloadModelResponse(status=self._status(request.model))

    async def SetAlias(  # noqa: N802
        self,
        request: pb.SetAliasRequest,
        context: "grpc.aio.ServicerContext[pb.SetAliasRequest, pb.SetAliasResponse]",
    ) -> pb.SetAliasResponse:
        """Make an alias name a version, or remove it."""
        version = request.version if request.HasField("version") else None
        model = _named(request.model)
        await self._make(self._operator.set_alias, model, request.alias, version)
        return pb.SetAliasResponse(status=self._status(request.model))

    async def SetTrial(  # noqa: N802
        self,
        request: pb.SetTrialRequest,
        context: "grpc.aio.ServicerContext[pb.SetTrialRequest, pb.SetTrialResponse]",
    ) -> pb.SetTrialResponse:
        """Set or end a traffic split of a model."""
        kind = _KINDS.get(request.kind)
        if kind is None:
            raise InvalidInputError(
                "the kind of the traffic split is not set; it is CANARY or SHADOW"
            )
        split = _split(request.trial) if request.HasField("trial") else None
        await self._make(self._operator.set_split, _named(request.model), kind, split)
        return pb.SetTrialResponse(status=self._status(request.model))

    async def GetStatus(  # noqa: N802
        self,
        request: pb.GetStatusRequest,
        context: "grpc.aio.ServicerContext[pb.GetStatusRequest, pb.GetStatusResponse]",
    ) -> pb.GetStatusResponse:
        """Report which versions serve, and why others don't."""
        catalog = self._operator.catalog
        check_model(request.model)
        if request.model and request.model not in catalog.names:  # it may be unloaded
            catalog.check_known(request.model)
        models = [request.model] if request.model else filter(may_use, catalog.names)
        return pb.GetStatusResponse(models=map(self._status, sorted(models)))

    async def _make(
        self, change: Callable[..., Coroutine[None, None, None]], *arguments: object
    ) -> None:
        """Make a change, and complete it even if its caller leaves."""
        await self._may_change()
        await asyncio.shield(change(*arguments))

    def _status(self, model: str) -> pb.ModelStatus:
        known = self._operator.catalog.get(model)
        numbers = sorted({*known.serving, *known.rejected}, reverse=True)
        return pb.ModelStatus(
            model=model,
            versions=(self._version(model, number, number == known.default) for number in numbers),
            aliases=known.routing.aliases,
            problems=self._operator.problems(model),
            **{kind: _split_message(split) for kind, split in known.routing.traffic},
        )

    def _version(self, model: str, number: int, is_default: bool) -> pb.VersionStatus:
        known = self._operator.catalog.get(model)
        status = pb.VersionStatus(version=number, is_default=is_default)
        if rejection := known.rejected.get(number):
            status.reason, status.message = rejection.reason, rejection.message
        if number in known.ready:  # even if bad files have replaced its own
            status.state = pb.VERSION_STATE_READY
            status.provider = known.ready[number].model.provider
            status.fallback_from = known.ready[number].model.fallback_from
            status.explained = known.ready[number].is_explained
        elif number in known.routing.unloaded:
            status.state = pb.VERSION_STATE_DORMANT
        else:
            status.state = pb.VERSION_STATE_REFUSED
        return status


def _split(message: pb.Trial) -> TrafficSplit:
    to = message.WhichOneof("to")
    if to is None:
        raise InvalidInputError("the traffic split names no version; give its number or an alias")
    return TrafficSplit(
        message.version if to == "version" else message.alias,
        message.share,
        message.of_alias or None,
    )


def _split_message(split: TrafficSplit) -> pb.Trial:
    message = pb.Trial(share=split.share, of_alias=split.of or "")
    if isinstance(split.to, int):
        message.version = split.to
    else:
        message.alias = split.to
    return message


def _named(model: str) -> str:
    if not model:
        raise InvalidInputError("the request names no model")
    check_model(model)
    return model
