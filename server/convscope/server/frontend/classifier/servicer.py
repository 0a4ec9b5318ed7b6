"""ClassifierService: its streams, and the methods that describe models."""

from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

import grpc

from convscope.server.errors import ServingError
from convscope.server.frontend.access.calls import check_model, permitted
from convscope.server.frontend.classifier.endpoint import StreamedClassifyEndpoint, target
from convscope.server.frontend.explained_requests import ExplainedRequests
from convscope.server.frontend.explanations import offer
from convscope.server.frontend.reply_limits import ReplyLimits
from convscope.server.frontend.streams import RequestStream
from convscope.server.inference.handler import InferenceHandler
from convscope.server.observability.calls import current_call
from convscope.server.runtime.versions import LoadedVersion
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import inference_pb2_grpc

__all__ = ["ClassifierServicer"]


class ClassifierServicer(inference_pb2_grpc.ClassifierServiceServicer):
    """Handles the calls of ClassifierService, except those of Classify, which come in groups.

    Args:
        handler: Finds the version of a request, and runs the inputs.
        limits: The largest size of a reply, and the limits of explanations.
        explained: Counts the requests for explanations.
        server_info: Describes the server.
    """

    def __init__(
        self,
        handler: InferenceHandler,
        limits: ReplyLimits,
        explained: ExplainedRequests,
        server_info: pb.GetServerInfoResponse,
    ) -> None:
        self._handler = handler
        self._catalog = handler.catalog
        self._limits = limits.explanations
        self._server_info = server_info
        self._streamed = StreamedClassifyEndpoint(handler.admit, limits, explained)

    def ClassifyStream(  # type: ignore[override] # noqa: N802
        self,
        request_iterator: AsyncIterator[pb.ClassifyStreamRequest | ServingError],
        context: "grpc.aio.ServicerContext[Any, Any]",
    ) -> AsyncIterator[bytes]:
        """Handle several requests at once, and reply in their order."""
        stream = RequestStream("ClassifyStream", self._handler, self._streamed, _failure, context)
        return stream.replies(request_iterator)

    async def ListModels(  # noqa: N802
        self,
        request: pb.ListModelsRequest,
        context: "grpc.aio.ServicerContext[pb.ListModelsRequest, pb.ListModelsResponse]",
    ) -> pb.ListModelsResponse:
        """List the versions that are ready and that the caller may use."""
        return pb.ListModelsResponse(models=map(self._summarize, permitted(self._catalog)))

    async def GetModel(  # noqa: N802
        self,
        request: pb.GetModelRequest,
        context: "grpc.aio.ServicerContext[pb.GetModelRequest, pb.GetModelResponse]",
    ) -> pb.GetModelResponse:
        """Describe one version in full."""
        check_model(request.model)
        version = await self._handler.find(target(request))
        current_call.get().version = version.key
        return pb.GetModelResponse(
            summary=self._summarize(version),
            manifest=version.manifest,
            execution=pb.Execution(**asdict(version.execution)),
            explanations=self._explanations(version),
            candidates=[
                pb.ProviderCandidate(
                    provider=one.provider,
                    compute_precision=one.precision,
                    images_per_second=one.images_per_second,
                    relative_speed=one.relative_speed,
                    problem=one.problem,
                )
                for one in version.candidates
            ],
        )

    async def GetServerInfo(  # noqa: N802
        self,
        request: pb.GetServerInfoRequest,
        context: "grpc.aio.ServicerContext[pb.GetServerInfoRequest, pb.GetServerInfoResponse]",
    ) -> pb.GetServerInfoResponse:
        """Return the server's version and limits."""
        return self._server_info

    def _explanations(self, version: LoadedVersion) -> pb.ExplanationSupport | None:
        found = offer(version, self._limits)
        if not found.methods:
            return None
        return pb.ExplanationSupport(
            methods=found.methods,
            tensor=found.tensor,
            positions=found.positions,
            max_explanations=self._limits.max_explanations,
            max_rank=found.max_rank,
            max_occluded_images=self._limits.max_occluded_images,
        )

    def _summarize(self, version: LoadedVersion) -> pb.ModelSummary:
        manifest = version.manifest
        aliases = self._catalog.aliases(manifest.model)
        return pb.ModelSummary(
            model=manifest.model,
            version=manifest.version,
            aliases=sorted(a for a, number in aliases.items() if number == manifest.version),
            is_default=self._catalog.is_default(version),
            task=manifest.task,
            input=manifest.input,
            num_classes=len(manifest.labels),
            feature_maps=[spec.name for spec in manifest.feature_maps],
            provider=version.model.provider,
            fallback_from=version.model.fallback_from,
            precision=manifest.precision,
            compute_precision=version.model.compute_precision,
            explanation_methods=offer(version, self._limits).methods,
        )


def _failure(message: object, code: grpc.StatusCode, reason: str) -> bytes:
    """Serialize the reply to a request of a stream that failed."""
    error = pb.ClassifyError(code=code.value[0], message=reason)
    return pb.ClassifyStreamResponse(error=error).SerializeToString()
