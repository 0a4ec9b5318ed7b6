"""AdminService: what an operator asks for over gRPC."""

import asyncio
from collections.abc import Coroutine

import grpc

from convscope.bundle.traffic import TrafficSplit
from convscope.server.errors import InvalidInputError
from convscope.server.repository.operator import Operator
from convscope.v1 import admin_pb2 as pb
from convscope.v1 import admin_pb2_grpc

__all__ = ["AdminServicer"]

_KINDS = {pb.TRIAL_KIND_CANARY: "canary", pb.TRIAL_KIND_SHADOW: "shadow"}


class AdminServicer(admin_pb2_grpc.AdminServiceServicer):
    """Answers the calls of AdminService.

    Args:
        operator: Does what is asked.
    """

    def __init__(self, operator: Operator) -> None:
        self._operator = operator

    async def LoadModel(  # noqa: N802
        self,
        request: pb.LoadModelRequest,
        context: "grpc.aio.ServicerContext[pb.LoadModelRequest, pb.LoadModelResponse]",
    ) -> pb.LoadModelResponse:
        """Load what is new, and try again what was refused."""
        version = request.version if request.HasField("version") else None
        await _to_the_end(self._operator.load(_named(request.model), version))
        return pb.LoadModelResponse(status=self._status(request.model))

    async def UnloadModel(  # noqa: N802
        self,
        request: pb.UnloadModelRequest,
        context: "grpc.aio.ServicerContext[pb.UnloadModelRequest, pb.UnloadModelResponse]",
    ) -> pb.UnloadModelResponse:
        """Stop to serve a model, or one version of it."""
        version = request.version if request.HasField("version") else None
        await _to_the_end(self._operator.unload(_named(request.model), version))
        return pb.UnloadModelResponse(status=self._status(request.model))

    async def SetAlias(  # noqa: N802
        self,
        request: pb.SetAliasRequest,
        context: "grpc.aio.ServicerContext[pb.SetAliasRequest, pb.SetAliasResponse]",
    ) -> pb.SetAliasResponse:
        """Make an alias name a version, or drop it."""
        version = request.version if request.HasField("version") else None
        await _to_the_end(self._operator.set_alias(_named(request.model), request.alias, version))
        return pb.SetAliasResponse(status=self._status(request.model))

    async def SetTrial(  # noqa: N802
        self,
        request: pb.SetTrialRequest,
        context: "grpc.aio.ServicerContext[pb.SetTrialRequest, pb.SetTrialResponse]",
    ) -> pb.SetTrialResponse:
        """Send a share of a model's requests to another version, or end that."""
        kind = _KINDS.get(request.kind)
        if kind is None:
            raise InvalidInputError("the trial's kind is not set; it is CANARY or SHADOW")
        trial = _trial(request.trial) if request.HasField("trial") else None
        await _to_the_end(self._operator.set_trial(_named(request.model), kind, trial))
        return pb.SetTrialResponse(status=self._status(request.model))

    async def GetStatus(  # noqa: N802
        self,
        request: pb.GetStatusRequest,
        context: "grpc.aio.ServicerContext[pb.GetStatusRequest, pb.GetStatusResponse]",
    ) -> pb.GetStatusResponse:
        """Tell what answers, and why the rest doesn't."""
        catalog = self._operator.catalog
        if request.model:
            catalog.check_known(request.model)
        models = [request.model] if request.model else catalog.names
        return pb.GetStatusResponse(models=map(self._status, sorted(models)))

    def _status(self, model: str) -> pb.ModelStatus:
        known = self._operator.catalog[model]
        numbers = sorted({*known.ready, *known.unloaded, *known.refused}, reverse=True)
        return pb.ModelStatus(
            model=model,
            versions=(self._version(model, number, number == known.default) for number in numbers),
            aliases=known.aliases,
            problems=known.problems,
            **{kind: _trial_message(trial) for kind, trial in known.traffic},
        )

    def _version(self, model: str, number: int, is_default: bool) -> pb.VersionStatus:
        known = self._operator.catalog[model]
        status = pb.VersionStatus(version=number, is_default=is_default)
        if rejection := known.refused.get(number):
            status.reason, status.message = rejection.reason, rejection.message
        if number in known.ready:  # although its files may have been replaced by worse ones
            status.state = pb.VERSION_STATE_READY
            status.provider = known.ready[number].model.provider
            status.fallback_from = known.ready[number].model.fallback_from
        elif number in known.unloaded:
            status.state = pb.VERSION_STATE_DORMANT
        else:
            status.state = pb.VERSION_STATE_REFUSED
        return status


def _trial(message: pb.Trial) -> TrafficSplit:
    to = message.WhichOneof("to")
    if to is None:
        raise InvalidInputError("the trial names no version; give its number or an alias")
    return TrafficSplit(
        message.version if to == "version" else message.alias,
        message.share,
        message.of_alias or None,
    )


def _trial_message(trial: TrafficSplit) -> pb.Trial:
    message = pb.Trial(share=trial.share, of_alias=trial.of or "")
    if isinstance(trial.to, int):
        message.version = trial.to
    else:
        message.alias = trial.to
    return message


async def _to_the_end(change: Coroutine[None, None, None]) -> None:
    """Make a change whole, although its caller may leave."""
    await asyncio.shield(change)


def _named(model: str) -> str:
    if not model:
        raise InvalidInputError("the request names no model")
    return model
