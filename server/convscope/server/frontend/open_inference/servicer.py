"""GRPCInferenceService: the methods of the Open Inference Protocol."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health, health_pb2

from convscope.server.errors import ServingError, UnsupportedError
from convscope.server.frontend.open_inference import open_inference_pb2 as pb
from convscope.server.frontend.open_inference.contract import Contract, Contracts, ModelName, target
from convscope.server.frontend.open_inference.index import READY, index, is_ready
from convscope.server.frontend.open_inference.inference import Inference
from convscope.server.frontend.open_inference.metadata import (
    describe_config,
    describe_model,
    describe_server,
)
from convscope.server.frontend.open_inference.statistics import describe_totals
from convscope.server.frontend.ordering import STREAM_WINDOW, in_order
from convscope.server.frontend.reply_limits import ReplyLimits
from convscope.server.inference.handler import InferenceHandler
from convscope.server.observability.calls import current_call, deadline_of, log_unforeseen
from convscope.server.observability.metrics import Metrics
from convscope.server.repository.catalog import NotLoadedError
from convscope.server.runtime.versions import LoadedVersion

__all__ = ["OpenInferenceServicer"]

if TYPE_CHECKING:  # at run time, grpc's classes take no type arguments
    Context = grpc.aio.ServicerContext[Any, Any]

# Triton's clients tell by it the last reply to a request; here each has one.
FINAL = "triton_final_response"


class OpenInferenceServicer:
    """Answers the calls of GRPCInferenceService.

    Args:
        dispatch: Finds the versions that answer, and runs the inputs.
        metrics: What was done so far, and who hears of more.
        health: Knows overall health.
        limits: How large a reply may become.
    """

    def __init__(
        self,
        handler: InferenceHandler,
        metrics: Metrics,
        health: health.aio.HealthServicer,
        limits: ReplyLimits,
    ) -> None:
        self._handler = handler
        self._catalog = handler.catalog
        self._metrics = metrics
        self._health = health
        self._contracts = Contracts()
        self._inference = Inference(handler, self._contracts, limits)

    async def ServerLive(  # noqa: N802
        self, request: pb.ServerLiveRequest, context: "Context"
    ) -> pb.ServerLiveResponse:
        """Answer at all."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(  # noqa: N802
        self, request: pb.ServerReadyRequest, context: "Context"
    ) -> pb.ServerReadyResponse:
        """Tell overall health."""
        overall = await self._health.Check(health_pb2.HealthCheckRequest(), context)
        return pb.ServerReadyResponse(ready=overall.status == overall.SERVING)

    async def ModelReady(  # noqa: N802
        self, request: pb.ModelReadyRequest, context: "Context"
    ) -> pb.ModelReadyResponse:
        """Tell whether a model answers."""
        ready = is_ready(self._catalog, self._contracts, request.name, request.version)
        return pb.ModelReadyResponse(ready=ready)

    async def ServerMetadata(  # noqa: N802
        self, request: pb.ServerMetadataRequest, context: "Context"
    ) -> pb.ServerMetadataResponse:
        """Name the server and its extensions."""
        return describe_server()

    async def ModelMetadata(  # noqa: N802
        self, request: pb.ModelMetadataRequest, context: "Context"
    ) -> pb.ModelMetadataResponse:
        """Describe a model's inputs and outputs."""
        version, contract = await self._find(request.name, request.version)
        known = self._catalog.get(version.key[0])
        return describe_model(contract, sorted(known.serving))

    async def ModelConfig(  # noqa: N802
        self, request: pb.ModelConfigRequest, context: "Context"
    ) -> pb.ModelConfigResponse:
        """Tell how a model is run."""
        version, contract = await self._find(request.name, request.version)
        return pb.ModelConfigResponse(
            config=describe_config(
                contract,
                version.execution,
                provider=version.model.provider,
                max_inputs=self._handler.max_inputs,
            )
        )

    async def ModelStatistics(  # noqa: N802
        self, request: pb.ModelStatisticsRequest, context: "Context"
    ) -> pb.ModelStatisticsResponse:
        """Tell what one version, those of a model, or all have done."""
        if request.version:
            one = self._describe_one(request.name, request.version)
            return pb.ModelStatisticsResponse(model_stats=[one])
        if request.name:
            name = ModelName.parse(request.name)
            known = self._catalog.check_known(name.model)
            chosen = [(request.name, version) for _, version in sorted(known.ready.items())]
        else:
            chosen = [(version.key[0], version) for version in self._catalog]
        return pb.ModelStatisticsResponse(
            model_stats=(
                describe_totals(name, version.key[1], self._metrics.of(version).totals())
                for name, version in chosen
            )
        )

    async def RepositoryIndex(  # noqa: N802
        self, request: pb.RepositoryIndexRequest, context: "Context"
    ) -> pb.RepositoryIndexResponse:
        """List the models."""
        if request.repository_name:
            raise UnsupportedError(
                "this server has one repository, without a name; leave out repository_name"
            )
        entries = index(self._catalog)
        return pb.RepositoryIndexResponse(
            models=(entry for entry in entries if not request.ready or entry.state == READY)
        )

    async def ModelInfer(  # noqa: N802
        self, request: pb.ModelInferRequest, context: "Context"
    ) -> pb.ModelInferResponse:
        """Answer a batch of inputs."""
        return await self._inference.answer(request, deadline_of(context))

    async def ModelStreamInfer(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.ModelInferRequest], context: "Context"
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        """Answer requests in their order, several at a time."""
        deadline = deadline_of(context)

        async def answer(request: pb.ModelInferRequest) -> pb.ModelStreamInferResponse:
            try:
                response = await self._inference.answer(request, deadline)
            except ServingError as error:
                return _failure(request, error.message)
            except Exception:  # noqa: BLE001 - the other requests of the stream go on
                return _failure(request, log_unforeseen("ModelStreamInfer"))
            response.parameters[FINAL].bool_param = True
            return pb.ModelStreamInferResponse(infer_response=response)

        async for response in in_order(answer, request_iterator, STREAM_WINDOW):
            yield response

    def _describe_one(self, name: str, version: str) -> pb.ModelStatistics:
        """Tell what one version has done since it was loaded; one that isn't loaded stays so."""
        asked = ModelName.parse(name)
        try:
            found = self._catalog.resolve(target(asked.model, version))
        except NotLoadedError as unloaded:
            return pb.ModelStatistics(name=name, version=str(unloaded.version))
        current_call.get().version = found.key
        contract = self._contracts.of(found, asked)
        return describe_totals(contract.name, found.key[1], self._metrics.of(found).totals())

    async def _find(self, name: str, version: str) -> tuple[LoadedVersion, Contract]:
        asked = ModelName.parse(name)
        found = await self._handler.find(target(asked.model, version))
        current_call.get().version = found.key
        return found, self._contracts.of(found, asked)


def _failure(request: pb.ModelInferRequest, message: str) -> pb.ModelStreamInferResponse:
    """Say why there is no answer; with the id, by which clients know which request it was."""
    response = pb.ModelStreamInferResponse(error_message=message)
    response.infer_response.id = request.id
    response.infer_response.parameters[FINAL].bool_param = True
    return response
