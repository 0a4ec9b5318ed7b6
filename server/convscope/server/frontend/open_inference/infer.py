"""ModelInferRequests to inputs, and results to ModelInferResponses."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

from convscope.open_inference import open_inference_pb2 as pb
from convscope.server.errors import NonFiniteError, ServingError
from convscope.server.frontend.explained_requests import ExplainedRequests
from convscope.server.frontend.feature_maps import check_selections
from convscope.server.frontend.open_inference.contract import (
    LOGITS,
    Contract,
    Contracts,
    ModelName,
    target,
)
from convscope.server.frontend.open_inference.explain import (
    crop_parameter,
    plan_classes,
    split_classes,
)
from convscope.server.frontend.open_inference.outputs import (
    RequestedOutput,
    max_output_bytes,
    plan_outputs,
)
from convscope.server.frontend.open_inference.parameters import RequestOptions, read_options
from convscope.server.frontend.open_inference.replies import encode_response
from convscope.server.frontend.open_inference.tensors import check_input, read_inputs
from convscope.server.frontend.reply_limits import MANY_CLASSES, ReplyLimits
from convscope.server.frontend.wire import field
from convscope.server.inference.handler import InferenceHandler
from convscope.server.inference.requests import Finish, InferenceRequest, InferenceResult
from convscope.server.observability.calls import CallRecord
from convscope.server.runtime.versions import LoadedVersion
from convscope.v1 import inference_pb2

__all__ = ["FINAL", "InferEndpoint", "StreamedInferEndpoint"]

# Marks the last reply to a request for Triton's clients; here every request has one reply.
FINAL = "triton_final_response"


class InferEndpoint:
    """Makes, prepares and answers the requests of ModelInfer; an `Endpoint` and a `RequestMaker`.

    Args:
        handler: Limits the size of a batch.
        contracts: The inputs and outputs of each version.
        limits: The largest size of a reply.
        explained: Counts the requests for explanations.
    """

    def __init__(
        self,
        handler: InferenceHandler,
        contracts: Contracts,
        limits: ReplyLimits,
        explained: ExplainedRequests,
    ) -> None:
        self._handler = handler
        self._contracts = contracts
        self._limits = limits
        self._explained = explained

    def request(
        self,
        message: pb.ModelInferRequest,
        record: CallRecord,
        finish: Finish,
        deadline: float | None,
        place: Any,
    ) -> InferenceRequest:
        """Return the request of a message.

        Raises:
            InvalidInputError: A parameter is invalid.
            UnsupportedError: It is part of a sequence.
        """
        name = ModelName.parse(message.model_name)
        options = read_options(message.parameters) if message.parameters else RequestOptions()
        return InferenceRequest(
            self,
            record,
            finish,
            message,
            target(name.model, message.model_version, options.routing_key),
            deadline=_earlier(deadline, options.timeout_seconds),
            bulk=options.bulk,
            place=place,
        )

    def prepare(self, request: InferenceRequest) -> None:
        """Check what a request selects, and split its batch.

        Raises:
            ServingError: The request is invalid, or its reply could be too large.
        """
        message, version = request.message, request.loaded
        contract = self._contracts.of(version, ModelName.parse(message.model_name))
        classes = None
        if contract.classes is not None:
            self._explained.follow(request)
            message, classes = split_classes(message, contract)
        size = check_input(message, contract)
        self._handler.admit(request, size)
        outputs = plan_outputs(message, contract)
        if contract.classes is not None:
            limit = self._limits.explanations.max_explanations
            request.explanation = plan_classes(classes, size, version, limit)
            request.crops = {}
            targets = request.explanation.classes.shape[1]
            outputs = [replace(o, spec=o.spec.for_targets(targets)) for o in outputs]
        self._check_reply(version, outputs, contract, size)
        names = tuple(output.spec.name for output in outputs)
        if contract.returns_features:
            request.feature_maps = names
        else:
            request.logits = LOGITS in names
        texts = size * sum(min(output.classes or 0, len(version.labels)) for output in outputs)
        # Feature maps, heat and many classes take megabytes.
        returns_maps = contract.returns_features or contract.classes is not None
        request.is_large = returns_maps or texts > MANY_CLASSES
        request.plan = contract, outputs
        request.inputs = read_inputs(message, contract)
        request.message = pb.ModelInferRequest(id=message.id)  # the inputs have copies of the rest

    def encode(self, request: InferenceRequest) -> bytes:
        """Serialize the reply.

        Raises:
            ServingError: An input failed. The protocol has no errors of single inputs,
                so the first one is the error of the request.
        """
        results = _all_results(request.results)
        started_at = perf_counter()
        contract, outputs = request.plan
        head = contract.head + self._fields(request.message)
        if request.crops is not None:
            head += crop_parameter(request.crops, contract, len(results))
        reply = encode_response(head, outputs, results, request.loaded.labels)
        seconds = perf_counter() - started_at
        # The stages are counted per input.
        request.encode_seconds = [seconds / len(results)] * len(results)
        return reply

    def _fields(self, message: pb.ModelInferRequest) -> bytes:
        """Serialize the fields of a reply that depend on the request alone."""
        return field(3, message.id.encode()) if message.id else b""

    def _check_reply(
        self,
        version: LoadedVersion,
        outputs: Sequence[RequestedOutput],
        contract: Contract,
        size: int,
    ) -> None:
        if contract.returns_features:
            selections = [
                inference_pb2.FeatureMapSelection(name=output.spec.name) for output in outputs
            ]
            check_selections(selections, size, version.manifest, self._limits.max_feature_map_bytes)
        else:
            self._limits.check(
                sum(max_output_bytes(output, size, version.label_bytes) for output in outputs)
            )


class StreamedInferEndpoint(InferEndpoint):
    """The endpoint of ModelStreamInfer, whose replies contain those of ModelInfer."""

    def encode(self, request: InferenceRequest) -> bytes:
        """Serialize the reply."""
        return field(2, super().encode(request))

    def _fields(self, message: pb.ModelInferRequest) -> bytes:
        return super()._fields(message) + _FINAL_PARAMETER


def _final_parameter() -> bytes:
    response = pb.ModelInferResponse()
    response.parameters[FINAL].bool_param = True
    return response.SerializeToString()


_FINAL_PARAMETER = _final_parameter()


def _earlier(deadline: float | None, timeout_seconds: float | None) -> float | None:
    """Return the earlier of a call's deadline and the end of a request's own timeout."""
    if timeout_seconds is None:
        return deadline
    own = asyncio.get_running_loop().time() + timeout_seconds
    return own if deadline is None else min(own, deadline)


def _all_results(outcomes: Sequence[InferenceResult | ServingError]) -> list[InferenceResult]:
    """Return the results if every input has one.

    Raises:
        ServingError: The first error, with the index of its input.
    """
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, ServingError):
            if len(outcomes) > 1 or isinstance(outcome, NonFiniteError):
                outcome.name_input(index, len(outcomes))
            raise outcome
    return [outcome for outcome in outcomes if isinstance(outcome, InferenceResult)]
