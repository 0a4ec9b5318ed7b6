"""ClassifierService: validate, submit, encode."""

import asyncio
from collections.abc import Sequence
from time import perf_counter

import grpc

from convscope.server.calls import current_call
from convscope.server.codec import ReplyPlan, decode_input, plan_reply, write_prediction
from convscope.server.engine import Answer, Engine, Input
from convscope.server.errors import InvalidInputError, ServingError
from convscope.server.metrics import Metrics
from convscope.server.repository import LoadedVersion
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import inference_pb2_grpc

__all__ = ["ClassifierServicer"]


class ClassifierServicer(inference_pb2_grpc.ClassifierServiceServicer):
    """Answers the calls of ClassifierService.

    Args:
        engine: Runs the inputs.
        metrics: Hears how long encoding takes.
        max_inputs: Inputs of one request.
        max_feature_map_bytes: Bytes of one reply's feature maps.
    """

    def __init__(
        self, engine: Engine, metrics: Metrics, *, max_inputs: int, max_feature_map_bytes: int
    ) -> None:
        self._engine = engine
        self._repository = engine.repository
        self._metrics = metrics
        self._max_inputs = max_inputs
        self._max_feature_map_bytes = max_feature_map_bytes

    async def Classify(  # noqa: N802
        self,
        request: pb.ClassifyRequest,
        context: "grpc.aio.ServicerContext[pb.ClassifyRequest, pb.ClassifyResponse]",
    ) -> pb.ClassifyResponse:
        """Answer one or more inputs with classes and feature maps."""
        current_call.get().inputs = len(request.inputs)
        version = self._resolve(request)
        self._check_count(request)
        plan = plan_reply(request, version.manifest, self._max_feature_map_bytes)
        inputs, refused = _decode_inputs(request, version)
        outcomes: dict[int, Answer | ServingError] = dict(refused)
        if inputs:
            answers = await self._engine.run(
                version, list(inputs.values()), plan.feature_maps, _deadline(context)
            )
            outcomes.update(zip(inputs, answers, strict=True))
        return await self._reply(
            version, [outcomes[index] for index in range(len(request.inputs))], plan
        )

    async def ListModels(  # noqa: N802
        self,
        request: pb.ListModelsRequest,
        context: "grpc.aio.ServicerContext[pb.ListModelsRequest, pb.ListModelsResponse]",
    ) -> pb.ListModelsResponse:
        """Name the versions that are ready."""
        return pb.ListModelsResponse(models=map(self._summarise, self._repository))

    async def GetModel(  # noqa: N802
        self,
        request: pb.GetModelRequest,
        context: "grpc.aio.ServicerContext[pb.GetModelRequest, pb.GetModelResponse]",
    ) -> pb.GetModelResponse:
        """Describe one version in full."""
        version = self._resolve(request)
        return pb.GetModelResponse(summary=self._summarise(version), manifest=version.manifest)

    def _resolve(self, request: pb.ClassifyRequest | pb.GetModelRequest) -> LoadedVersion:
        if not request.model:
            known = ", ".join(self._repository.models)
            raise InvalidInputError(f"the request names no model; this server has: {known}")
        kind = request.WhichOneof("selector")
        version = self._repository.resolve(
            request.model,
            request.version if kind == "version" else None,
            request.alias if kind == "alias" else None,
        )
        current_call.get().version = version
        return version

    def _check_count(self, request: pb.ClassifyRequest) -> None:
        count = len(request.inputs)
        if count == 0:
            raise InvalidInputError("the request has no inputs; send at least one")
        if count > self._max_inputs:
            raise InvalidInputError(
                f"the request has {count} inputs; at most {self._max_inputs} are taken; split it"
            )

    async def _reply(
        self, version: LoadedVersion, outcomes: Sequence[Answer | ServingError], plan: ReplyPlan
    ) -> pb.ClassifyResponse:
        failed = [outcome for outcome in outcomes if isinstance(outcome, ServingError)]
        current_call.get().failed_inputs = len(failed)
        if len(outcomes) == 1 and failed:
            raise failed[0]
        response = pb.ClassifyResponse(
            model=version.manifest.model,
            version=version.manifest.version,
            provider=version.model.provider,
        )
        if plan.selections:  # megabytes are cut and copied: not on the event loop
            await asyncio.to_thread(_encode_results, response, outcomes, plan)
        else:
            _encode_results(response, outcomes, plan)
        version_metrics = self._metrics.of(version)
        for result in response.results:
            if result.HasField("prediction"):
                version_metrics.encode(result.stage_times.encode_seconds)
        return response

    def _summarise(self, version: LoadedVersion) -> pb.ModelSummary:
        manifest = version.manifest
        aliases = self._repository.aliases.get(manifest.model, {})
        return pb.ModelSummary(
            model=manifest.model,
            version=manifest.version,
            aliases=sorted(a for a, number in aliases.items() if number == manifest.version),
            is_default=self._repository.resolve(manifest.model) is version,
            task=manifest.task,
            input=manifest.input,
            num_classes=len(manifest.labels),
            feature_maps=[spec.name for spec in manifest.feature_maps],
            provider=version.model.provider,
            precision=manifest.precision,
        )


def _decode_inputs(
    request: pb.ClassifyRequest, version: LoadedVersion
) -> tuple[dict[int, Input], dict[int, ServingError]]:
    """The inputs by their index, and the reasons of those that can't be."""
    inputs: dict[int, Input] = {}
    refused: dict[int, ServingError] = {}
    for index, message in enumerate(request.inputs):
        try:
            inputs[index] = decode_input(message, version.manifest.input)
        except InvalidInputError as error:
            refused[index] = error
    return inputs, refused


def _deadline(
    context: "grpc.aio.ServicerContext[pb.ClassifyRequest, pb.ClassifyResponse]",
) -> float | None:
    remaining = context.time_remaining()
    return None if remaining is None else asyncio.get_running_loop().time() + remaining


def _encode_results(
    response: pb.ClassifyResponse, outcomes: Sequence[Answer | ServingError], plan: ReplyPlan
) -> None:
    for outcome in outcomes:
        result = response.results.add()
        if isinstance(outcome, ServingError):
            result.error.code = outcome.code.value[0]
            result.error.message = outcome.message
            continue
        started_at = perf_counter()
        write_prediction(result.prediction, outcome, plan)
        times = result.stage_times
        times.decode_seconds = outcome.seconds.decode
        times.queue_seconds = outcome.seconds.queue
        times.infer_seconds = outcome.seconds.infer
        times.encode_seconds = perf_counter() - started_at
