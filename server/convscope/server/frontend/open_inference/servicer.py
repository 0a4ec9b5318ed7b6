"""GRPCInferenceService: the methods of the Open Inference Protocol."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health, health_pb2

from convscope.open_inference import open_inference_pb2 as pb
from convscope.server.errors import ServingError, UnsupportedError
from convscope.server.frontend.access.calls import check_model, may_use, permitted
from convscope.server.frontend.explained_requests import ExplainedRequests
from convscope.server.frontend.open_inference.contract import Contract, Contracts, ModelName, target
from convscope.server.frontend.open_inference.index import READY, index, is_ready
from convscope.server.frontend.open_inference.infer import (
    FINAL,
    InferEndpoint,
    StreamedInferEndpoint,
)
from convscope.server.frontend.open_inference.metadata import (
    describe_config,
    describe_model,
    describe_server,
)
from convscope.server.frontend.open_inference.statistics import describe_totals
from convscope.server.frontend.reply_limits import ReplyLimits
from convscope.server.frontend.streams import RequestStream
from convscope.server.inference.handler import InferenceHandler
from convscope.server.observability.calls import current_call
from convscope.server.observability.metrics import Metrics
from convscope.server.repository.catalog import NotLoadedError
from convscope.server.runtime.versions import LoadedVersion

__all__ = ["OpenInferenceServicer"]

if TYPE_CHECKING:  # at run time, grpc's classes take no type arguments
    Context = grpc.aio.ServicerContext[Any, Any]


class OpenInferenceServicer:
    """Handles the calls of GRPCInferenceService, except those of ModelInfer.

    The calls of ModelInfer come in groups, to `infer_endpoint`.

    Args:
        handler: Finds the version of a request, and runs the inputs.
        metrics: The totals of each version.
        health: Knows the overall health.
        limits: The largest size of a reply.
        explained: Counts the requests for explanations.
    """

    def __init__(
        self,
        handler: InferenceHandler,
        metrics: Metrics,
        health: health.aio.HealthServicer,
        limits: ReplyLimits,
        explained: ExplainedRequests,
    ) -> None:
        self._handler = handler
        self._catalog = handler.catalog
        self._metrics = metrics
        self._health = health
        self._contracts = Contracts()
        self.infer_endpoint = InferEndpoint(handler, self._contracts, limits, explained)
        self._streamed = StreamedInferEndpoint(handler, self._contracts, limits, explained)

    async def ServerLive(  # noqa: N802
        self, request: pb.ServerLiveRequest, context: "Context"
    ) -> pb.ServerLiveResponse:
        """Report that the server is alive."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(  # noqa: N802
        self, request: pb.ServerReadyRequest, context: "Context"
    ) -> pb.ServerReadyResponse:
        """Report the overall health."""
        overall = await self._health.Check(health_pb2.HealthCheckRequest(), context)
        return pb.ServerReadyResponse(ready=overall.status == overall.SERVING)

    async def ModelReady(  # noqa: N802
        self, request: pb.ModelReadyRequest, context: "Context"
    ) -> pb.ModelReadyResponse:
        """Report whether a model is ready."""
        check_model(ModelName.parse(request.name).model)
        ready = is_ready(self._catalog, self._contracts, request.name, request.version)
        return pb.ModelReadyResponse(ready=ready)

    async def ServerMetadata(  # noqa: N802
        self, request: pb.ServerMetadataRequest, context: "Context"
    ) -> pb.ServerMetadataResponse:
        """Describe the server and its extensions."""
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
        """Describe how a model is run."""
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
        """Report the totals of one version, of all versions of a model, or of all models."""
        if request.version:
            one = self._describe_one(request.name, request.version)
            return pb.ModelStatisticsResponse(model_stats=[one])
        if request.name:
            name = ModelName.parse(request.name)
            check_model(name.model)
            known = self._catalog.check_known(name.model)
            chosen = [(request.name, version) for _, version in sorted(known.ready.items())]
        else:
            chosen = [(version.key[0], version) for version in permitted(self._catalog)]
        return pb.ModelStatisticsResponse(
            model_stats=(
                describe_totals(name, version.key[1], self._metrics.totals(version.key))
                for name, version in chosen
            )
        )

    async def RepositoryIndex(  # noqa: N802
        self, request: pb.RepositoryIndexRequest, context: "Context"
    ) -> pb.RepositoryIndexResponse:
        """List the models that the caller may use."""
        if request.repository_name:
            raise UnsupportedError(
                "this server has one repository, and it has no name; leave out repository_name"
            )
        entries = index(self._catalog, may_use)
        return pb.RepositoryIndexResponse(
            models=(entry for entry in entries if not request.ready or entry.state == READY)
        )

    def ModelStreamInfer(  # noqa: N802
        self,
        request_iterator: AsyncIterator[pb.ModelInferRequest | ServingError],
        context: "Context",
    ) -> AsyncIterator[bytes]:
        """Handle several requests at once, and reply in their order."""
        stream = RequestStream("ModelStreamInfer", self._handler, self._streamed, _failure, context)
        return stream.replies(request_iterator)

    def _describe_one(self, name: str, version: str) -> pb.ModelStatistics:
        """Report the totals of one version since its load; an unloaded version stays unloaded."""
        parsed = ModelName.parse(name)
        check_model(parsed.model)
        try:
            found = self._catalog.resolve(target(parsed.model, version))
        except NotLoadedError as unloaded:
            return pb.ModelStatistics(name=name, version=str(unloaded.version))
        current_call.get().version = found.key
        contract = self._contracts.of(found, parsed)
        return describe_totals(contract.name, found.key[1], self._metrics.totals(found.key))

    async def _find(self, name: str, version: str) -> tuple[LoadedVersion, Contract]:
        parsed = ModelName.parse(name)
        check_model(parsed.model)
        found = await self._handler.find(target(parsed.model, version))
        current_call.get().version = found.key
        return found, self._contracts.of(found, parsed)


def _failure(request: pb.ModelInferRequest | None, code: grpc.StatusCode, reason: str) -> bytes:
    """Serialize an error with the request's id, by which clients assign it to the request."""
    response = pb.ModelStreamInferResponse(error_message=reason)
    response.infer_response.id = "" if request is None else request.id
    response.infer_response.parameters[FINAL].bool_param = True
    return response.SerializeToString()
