"""Handles one ModelInferRequest: parse, submit, encode."""

import asyncio
from collections.abc import Sequence
from time import perf_counter

from convscope.server.errors import NonFiniteError, ServingError
from convscope.server.frontend.encoding import ReplyEncoder
from convscope.server.frontend.feature_maps import check_selections
from convscope.server.frontend.open_inference import open_inference_pb2 as pb
from convscope.server.frontend.open_inference.contract import (
    LOGITS,
    Contract,
    Contracts,
    ModelName,
    target,
)
from convscope.server.frontend.open_inference.outputs import (
    RequestedOutput,
    max_output_bytes,
    plan_outputs,
    write_output,
)
from convscope.server.frontend.open_inference.parameters import RequestOptions, read_options
from convscope.server.frontend.open_inference.tensors import check_input, read_inputs
from convscope.server.frontend.reply_limits import MANY_CLASSES, ReplyLimits
from convscope.server.inference.handler import InferenceHandler
from convscope.server.inference.requests import InferenceRequest, InferenceResult
from convscope.server.observability.calls import current_call
from convscope.server.runtime.versions import LoadedVersion
from convscope.v1 import inference_pb2

__all__ = ["InferEndpoint"]


class InferEndpoint:
    """Handles ModelInferRequests of every method.

    Args:
        handler: Finds the version of a request, and runs the inputs.
        contracts: The inputs and outputs of each version.
        limits: The largest size of a reply.
        encoder: Encodes large replies.
    """

    def __init__(
        self,
        handler: InferenceHandler,
        contracts: Contracts,
        limits: ReplyLimits,
        encoder: ReplyEncoder,
    ) -> None:
        self._handler = handler
        self._contracts = contracts
        self._limits = limits
        self._encoder = encoder

    async def infer(
        self, request: pb.ModelInferRequest, deadline: float | None
    ) -> pb.ModelInferResponse:
        """Handle one request, and count it.

        Args:
            request: The request.
            deadline: The `loop.time()` after which the caller no longer waits.

        Raises:
            ServingError: The request failed. The protocol has no errors of single
                inputs, so the first one is the error of the request.
        """
        name = ModelName.parse(request.model_name)
        options = read_options(request.parameters) if request.parameters else RequestOptions()
        selector = target(name.model, request.model_version, options.routing_key)
        version = await self._handler.route(selector)
        with self._handler.counted(version, deadline, bulk=options.bulk):
            contract = self._contracts.of(version, name)
            size = check_input(request, contract)
            self._handler.admit(size)
            outputs = plan_outputs(request, contract)
            inference = _inference_request(options, outputs, contract, deadline)
            self._check_reply(version, outputs, contract, size)
            inputs = read_inputs(request, contract)
            outcomes = await self._handler.run(selector, version, inputs, inference)
            return await self._encode(request, version, _all_results(outcomes), outputs, contract)

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

    async def _encode(
        self,
        request: pb.ModelInferRequest,
        version: LoadedVersion,
        results: Sequence[InferenceResult],
        outputs: Sequence[RequestedOutput],
        contract: Contract,
    ) -> pb.ModelInferResponse:
        response = pb.ModelInferResponse(
            model_name=contract.name, model_version=str(version.key[1]), id=request.id
        )
        labels = version.labels
        texts = len(results) * sum(min(output.classes or 0, len(labels)) for output in outputs)
        # Feature maps and many classes take megabytes, so they are not encoded on the event loop.
        if contract.returns_features or texts > MANY_CLASSES:
            seconds = await self._encoder.run(_write, response, outputs, results, labels)
        else:
            seconds = _write(response, outputs, results, labels)
        # The stages are counted per input.
        self._handler.encoded(version, results, [seconds / len(results)] * len(results))
        return response


def _inference_request(
    options: RequestOptions,
    outputs: Sequence[RequestedOutput],
    contract: Contract,
    deadline: float | None,
) -> InferenceRequest:
    names = tuple(output.spec.name for output in outputs)
    deadline = _earlier(deadline, options.timeout_seconds)
    if contract.returns_features:
        return InferenceRequest(feature_maps=names, deadline=deadline, bulk=options.bulk)
    return InferenceRequest(deadline=deadline, bulk=options.bulk, logits=LOGITS in names)


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
    results = [outcome for outcome in outcomes if isinstance(outcome, InferenceResult)]
    if len(results) == len(outcomes):
        return results
    current_call.get().failed_inputs += len(outcomes) - len(results)
    index, error = next((i, o) for i, o in enumerate(outcomes) if isinstance(o, ServingError))
    if len(outcomes) > 1 or isinstance(error, NonFiniteError):
        error.name_input(index, len(outcomes))
    raise error


def _write(
    response: pb.ModelInferResponse,
    outputs: Sequence[RequestedOutput],
    results: Sequence[InferenceResult],
    labels: Sequence[str],
) -> float:
    """Write all outputs into a response; return the seconds that it took."""
    started_at = perf_counter()
    for output in outputs:
        write_output(response, output, results, labels)
    return perf_counter() - started_at
