"""ClassifierService: validate, submit, encode."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict

import grpc

from convscope.server.errors import NonFiniteError, ServingError
from convscope.server.frontend.classifier.replies import (
    error_message,
    merge_errors,
    write_results,
)
from convscope.server.frontend.classifier.requests import ReplyPlan, decode_inputs, plan_reply
from convscope.server.frontend.encoding import ReplyEncoder
from convscope.server.frontend.ordering import STREAM_WINDOW, in_order
from convscope.server.frontend.reply_limits import MANY_CLASSES, ReplyLimits
from convscope.server.inference.handler import InferenceHandler
from convscope.server.inference.requests import InferenceRequest, InferenceResult
from convscope.server.observability.calls import current_call, deadline_of, log_unexpected_error
from convscope.server.repository.catalog import Target
from convscope.server.runtime.versions import LoadedVersion
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import inference_pb2_grpc

__all__ = ["ClassifierServicer"]


class ClassifierServicer(inference_pb2_grpc.ClassifierServiceServicer):
    """Handles the calls of ClassifierService.

    Args:
        handler: Finds the version of a request, and runs the inputs.
        limits: The largest size of a reply.
        encoder: Encodes large replies.
    """

    def __init__(
        self, handler: InferenceHandler, limits: ReplyLimits, encoder: ReplyEncoder
    ) -> None:
        self._handler = handler
        self._catalog = handler.catalog
        self._limits = limits
        self._encoder = encoder

    async def Classify(  # noqa: N802
        self,
        request: pb.ClassifyRequest,
        context: "grpc.aio.ServicerContext[pb.ClassifyRequest, pb.ClassifyResponse]",
    ) -> pb.ClassifyResponse:
        """Return the classes and feature maps of one or more inputs."""
        return await self._classify(request, deadline_of(context))

    async def ClassifyStream(  # noqa: N802
        self,
        request_iterator: AsyncIterator[pb.ClassifyStreamRequest | ServingError],
        context: ("grpc.aio.ServicerContext[pb.ClassifyStreamRequest, pb.ClassifyStreamResponse]"),
    ) -> AsyncIterator[pb.ClassifyStreamResponse]:
        """Handle several requests at once, and reply in their order.

        A message that could not be parsed arrives as its error.
        """
        deadline = deadline_of(context)

        async def reply(
            message: pb.ClassifyStreamRequest | ServingError,
        ) -> pb.ClassifyStreamResponse:
            if isinstance(message, ServingError):
                return pb.ClassifyStreamResponse(error=error_message(message))
            try:
                response = await self._classify(message.request, deadline)
            except ServingError as error:
                return pb.ClassifyStreamResponse(error=error_message(error))
            except Exception:  # noqa: BLE001 - the other requests of the stream are not affected
                return pb.ClassifyStreamResponse(
                    error=pb.ClassifyError(
                        code=grpc.StatusCode.INTERNAL.value[0],
                        message=log_unexpected_error("ClassifyStream"),
                    )
                )
            return pb.ClassifyStreamResponse(response=response)

        async for response in in_order(reply, request_iterator, STREAM_WINDOW):
            yield response

    async def ListModels(  # noqa: N802
        self,
        request: pb.ListModelsRequest,
        context: "grpc.aio.ServicerContext[pb.ListModelsRequest, pb.ListModelsResponse]",
    ) -> pb.ListModelsResponse:
        """List the versions that are ready."""
        return pb.ListModelsResponse(models=map(self._summarize, self._catalog))

    async def GetModel(  # noqa: N802
        self,
        request: pb.GetModelRequest,
        context: "grpc.aio.ServicerContext[pb.GetModelRequest, pb.GetModelResponse]",
    ) -> pb.GetModelResponse:
        """Describe one version in full."""
        version = await self._handler.find(_target(request))
        current_call.get().version = version.key
        return pb.GetModelResponse(
            summary=self._summarize(version),
            manifest=version.manifest,
            execution=pb.Execution(**asdict(version.execution)),
        )

    async def _classify(
        self, request: pb.ClassifyRequest, deadline: float | None
    ) -> pb.ClassifyResponse:
        """Handle one request, and count it."""
        target = _target(request, request.routing_key)
        version = await self._handler.route(target)
        bulk = request.priority == pb.PRIORITY_BULK
        with self._handler.counted(version, deadline, bulk=bulk):
            return await self._respond(target, version, request, deadline, bulk)

    async def _respond(
        self,
        target: Target,
        version: LoadedVersion,
        request: pb.ClassifyRequest,
        deadline: float | None,
        bulk: bool,
    ) -> pb.ClassifyResponse:
        self._handler.admit(len(request.inputs))
        plan = plan_reply(
            request, version.manifest, version.labels, version.label_bytes, self._limits
        )
        inference = InferenceRequest(plan.top_k, plan.feature_maps, deadline, bulk)
        inputs, errors = decode_inputs(
            request.inputs, version.manifest.input.dtype, version.input_shape
        )
        outcomes = await self._handler.run(target, version, inputs, inference) if inputs else []
        if errors:
            outcomes = merge_errors(outcomes, errors)
        for index, outcome in enumerate(outcomes):
            if isinstance(outcome, NonFiniteError):
                outcome.name_input(index, len(outcomes))
        failed = [outcome for outcome in outcomes if isinstance(outcome, ServingError)]
        current_call.get().failed_inputs += len(failed)
        if len(outcomes) == 1 and failed:
            raise failed[0]
        return await self._encode(version, outcomes, plan)

    async def _encode(
        self,
        version: LoadedVersion,
        outcomes: Sequence[InferenceResult | ServingError],
        plan: ReplyPlan,
    ) -> pb.ClassifyResponse:
        model, number = version.key
        response = pb.ClassifyResponse(model=model, version=number, provider=version.model.provider)
        # Feature maps and many classes take megabytes, so they are not encoded on the event loop.
        if plan.selections or plan.top_k * len(outcomes) > MANY_CLASSES:
            seconds = await self._encoder.run(write_results, response, outcomes, plan)
        else:
            seconds = write_results(response, outcomes, plan)
        self._handler.encoded(version, outcomes, seconds)
        return response

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
        )


def _target(request: pb.ClassifyRequest | pb.GetModelRequest, key: str = "") -> Target:
    kind = request.WhichOneof("selector")
    return Target(
        request.model,
        request.version if kind == "version" else None,
        request.alias if kind == "alias" else None,
        key,
    )
