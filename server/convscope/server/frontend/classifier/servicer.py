"""ClassifierService: validate, submit, encode."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from time import perf_counter

import grpc

from convscope.server.errors import InvalidInputError, ServingError
from convscope.server.frontend.classifier.codec import (
    ReplyPlan,
    decode_input,
    plan_reply,
    write_prediction,
)
from convscope.server.frontend.ordering import STREAM_WINDOW, in_order
from convscope.server.frontend.reply_limits import MANY_CLASSES, ReplyLimits
from convscope.server.inference.handler import InferenceHandler
from convscope.server.inference.requests import InferenceRequest, InferenceResult, Input
from convscope.server.observability.calls import current_call, deadline_of, log_unforeseen
from convscope.server.repository.catalog import Target
from convscope.server.runtime.versions import LoadedVersion
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import inference_pb2_grpc

__all__ = ["ClassifierServicer"]


class ClassifierServicer(inference_pb2_grpc.ClassifierServiceServicer):
    """Answers the calls of ClassifierService.

    Args:
        dispatch: Finds the version that answers, and runs the inputs.
        limits: How large a reply may become.
    """

    def __init__(self, handler: InferenceHandler, limits: ReplyLimits) -> None:
        self._handler = handler
        self._catalog = handler.catalog
        self._limits = limits

    async def Classify(  # noqa: N802
        self,
        request: pb.ClassifyRequest,
        context: "grpc.aio.ServicerContext[pb.ClassifyRequest, pb.ClassifyResponse]",
    ) -> pb.ClassifyResponse:
        """Answer one or more inputs with classes and feature maps."""
        return await self._classify(request, deadline_of(context))

    async def ClassifyStream(  # noqa: N802
        self,
        request_iterator: AsyncIterator[pb.ClassifyStreamRequest],
        context: ("grpc.aio.ServicerContext[pb.ClassifyStreamRequest, pb.ClassifyStreamResponse]"),
    ) -> AsyncIterator[pb.ClassifyStreamResponse]:
        """Answer requests in their order, several at a time."""
        deadline = deadline_of(context)

        async def answer(message: pb.ClassifyStreamRequest) -> pb.ClassifyStreamResponse:
            try:
                response = await self._classify(message.request, deadline)
            except ServingError as error:
                return pb.ClassifyStreamResponse(error=_error(error))
            except Exception:  # noqa: BLE001 - the other requests of the stream go on
                return pb.ClassifyStreamResponse(
                    error=pb.ClassifyError(
                        code=grpc.StatusCode.INTERNAL.value[0],
                        message=log_unforeseen("ClassifyStream"),
                    )
                )
            return pb.ClassifyStreamResponse(response=response)

        async for response in in_order(answer, request_iterator, STREAM_WINDOW):
            yield response

    async def ListModels(  # noqa: N802
        self,
        request: pb.ListModelsRequest,
        context: "grpc.aio.ServicerContext[pb.ListModelsRequest, pb.ListModelsResponse]",
    ) -> pb.ListModelsResponse:
        """Name the versions that are ready."""
        return pb.ListModelsResponse(models=map(self._summarise, self._catalog))

    async def GetModel(  # noqa: N802
        self,
        request: pb.GetModelRequest,
        context: "grpc.aio.ServicerContext[pb.GetModelRequest, pb.GetModelResponse]",
    ) -> pb.GetModelResponse:
        """Describe one version in full."""
        version = await self._handler.find(_target(request))
        current_call.get().version = version.key
        return pb.GetModelResponse(
            summary=self._summarise(version),
            manifest=version.manifest,
            execution=pb.Execution(**asdict(version.execution)),
        )

    async def _classify(
        self, request: pb.ClassifyRequest, deadline: float | None
    ) -> pb.ClassifyResponse:
        """Answer one request, and count it."""
        target = _target(request, request.routing_key)
        version = await self._handler.route(target)
        bulk = request.priority == pb.PRIORITY_BULK
        with self._handler.counted(version, deadline, bulk=bulk):
            return await self._answer(target, version, request, deadline, bulk)

    async def _answer(
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
        question = InferenceRequest(plan.top_k, plan.feature_maps, deadline, bulk)
        inputs, refused = _decode_inputs(request, version)
        outcomes = await self._handler.run(target, version, inputs, question) if inputs else []
        if refused:
            outcomes = _merge(outcomes, refused)
        failed = [outcome for outcome in outcomes if isinstance(outcome, ServingError)]
        current_call.get().failed_inputs += len(failed)
        if len(outcomes) == 1 and failed:
            raise failed[0]
        return await self._reply(version, outcomes, plan)

    async def _reply(
        self,
        version: LoadedVersion,
        outcomes: Sequence[InferenceResult | ServingError],
        plan: ReplyPlan,
    ) -> pb.ClassifyResponse:
        model, number = version.key
        response = pb.ClassifyResponse(model=model, version=number, provider=version.model.provider)
        # Megabytes are cut, copied and written: not on the event loop.
        if plan.selections or plan.top_k * len(outcomes) > MANY_CLASSES:
            seconds = await asyncio.to_thread(_encode_results, response, outcomes, plan)
        else:
            seconds = _encode_results(response, outcomes, plan)
        self._handler.encoded(version, seconds)
        return response

    def _summarise(self, version: LoadedVersion) -> pb.ModelSummary:
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


def _decode_inputs(
    request: pb.ClassifyRequest, version: LoadedVersion
) -> tuple[list[Input], dict[int, ServingError]]:
    """The inputs that can be, and by their index the reasons of those that can't."""
    dtype, shape = version.manifest.input.dtype, version.input_shape
    inputs: list[Input] = []
    refused: dict[int, ServingError] = {}
    for index, message in enumerate(request.inputs):
        try:
            inputs.append(decode_input(message, dtype, shape))
        except InvalidInputError as error:
            refused[index] = error
    return inputs, refused


def _merge(
    outcomes: list[InferenceResult | ServingError], refused: dict[int, ServingError]
) -> list[InferenceResult | ServingError]:
    """Put the refusals into their places."""
    rest = iter(outcomes)
    count = len(outcomes) + len(refused)
    return [refused[index] if index in refused else next(rest) for index in range(count)]


def _error(error: ServingError) -> pb.ClassifyError:
    return pb.ClassifyError(code=error.code.value[0], message=error.message)


def _encode_results(
    response: pb.ClassifyResponse,
    outcomes: Sequence[InferenceResult | ServingError],
    plan: ReplyPlan,
) -> list[float]:
    """Fill the response; returns how long each prediction took, in seconds."""
    all_seconds = []
    for outcome in outcomes:
        result = response.results.add()
        if isinstance(outcome, ServingError):
            result.error.CopyFrom(_error(outcome))
            continue
        started_at = perf_counter()
        write_prediction(result.prediction, outcome, plan)
        seconds, times = outcome.seconds, result.stage_times
        times.decode_seconds = seconds.decode
        times.queue_seconds = seconds.queue
        times.infer_seconds = seconds.infer
        times.encode_seconds = encode_seconds = perf_counter() - started_at
        all_seconds.append(encode_seconds)
    return all_seconds
