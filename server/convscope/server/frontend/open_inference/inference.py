"""The way of one ModelInferRequest: to inputs and a question, and from answers to a response."""

import asyncio
from collections.abc import Sequence
from time import perf_counter

from convscope.server.errors import ServingError
from convscope.server.frontend.classifier.codec import check_selections
from convscope.server.frontend.open_inference import open_inference_pb2 as pb
from convscope.server.frontend.open_inference.contract import (
    LOGITS,
    Contract,
    Contracts,
    ModelName,
    target,
)
from convscope.server.frontend.open_inference.outputs import (
    Wanted,
    most_bytes,
    plan_outputs,
    write_output,
)
from convscope.server.frontend.open_inference.parameters import Schedule, read_schedule
from convscope.server.frontend.open_inference.tensors import check_input, read_inputs
from convscope.server.frontend.reply_limits import MANY_CLASSES, ReplyLimits
from convscope.server.inference.handler import InferenceHandler
from convscope.server.inference.requests import InferenceRequest, InferenceResult
from convscope.server.observability.calls import current_call
from convscope.server.runtime.versions import LoadedVersion
from convscope.v1 import inference_pb2

__all__ = ["Inference"]


class Inference:
    """Answers ModelInferRequests, whichever method they come by.

    Args:
        dispatch: Finds the version that answers, and runs the inputs.
        contracts: Tell what it takes and gives.
        limits: How large a reply may become.
    """

    def __init__(
        self, handler: InferenceHandler, contracts: Contracts, limits: ReplyLimits
    ) -> None:
        self._handler = handler
        self._contracts = contracts
        self._limits = limits

    async def answer(
        self, request: pb.ModelInferRequest, deadline: float | None
    ) -> pb.ModelInferResponse:
        """Answer one request, and count it.

        Args:
            request: What is asked.
            deadline: The `loop.time()` after which nobody waits for the answer.

        Raises:
            ServingError: Why it can't be answered. The protocol knows no error
                of a single input: the first one is that of the request.
        """
        name = ModelName.parse(request.model_name)
        schedule = read_schedule(request.parameters) if request.parameters else Schedule()
        asked = target(name.model, request.model_version, schedule.routing_key)
        version = await self._handler.route(asked)
        with self._handler.counted(version, deadline, bulk=schedule.bulk):
            contract = self._contracts.of(version, name)
            size = check_input(request, contract)
            self._handler.admit(size)
            wanted = plan_outputs(request, contract)
            question = _question(schedule, wanted, contract, deadline)
            self._check_reply(version, wanted, contract, size)
            inputs = read_inputs(request, contract)
            answers = _whole(await self._handler.run(asked, version, inputs, question))
            return await self._reply(request, version, answers, wanted, contract)

    def _check_reply(
        self, version: LoadedVersion, wanted: Sequence[Wanted], contract: Contract, size: int
    ) -> None:
        if contract.gives_features:
            selections = [inference_pb2.FeatureMapSelection(name=want.spec.name) for want in wanted]
            check_selections(selections, size, version.manifest, self._limits.max_feature_map_bytes)
        else:
            self._limits.check(sum(most_bytes(want, size, version.label_bytes) for want in wanted))

    async def _reply(
        self,
        request: pb.ModelInferRequest,
        version: LoadedVersion,
        answers: Sequence[InferenceResult],
        wanted: Sequence[Wanted],
        contract: Contract,
    ) -> pb.ModelInferResponse:
        response = pb.ModelInferResponse(
            model_name=contract.name, model_version=str(version.key[1]), id=request.id
        )
        arguments = (response, wanted, answers, version.labels)
        classes = len(version.labels)
        texts = len(answers) * sum(min(want.classes or 0, classes) for want in wanted)
        # Megabytes are copied or written: not on the event loop.
        if contract.gives_features or texts > MANY_CLASSES:
            seconds = await asyncio.to_thread(_write, *arguments)
        else:
            seconds = _write(*arguments)
        # The stages are counted by input.
        self._handler.encoded(version, [seconds / len(answers)] * len(answers))
        return response


def _question(
    schedule: Schedule, wanted: Sequence[Wanted], contract: Contract, deadline: float | None
) -> InferenceRequest:
    names = tuple(want.spec.name for want in wanted)
    deadline = _sooner(deadline, schedule.timeout_seconds)
    if contract.gives_features:
        return InferenceRequest(feature_maps=names, deadline=deadline, bulk=schedule.bulk)
    return InferenceRequest(deadline=deadline, bulk=schedule.bulk, logits=LOGITS in names)


def _sooner(deadline: float | None, timeout_seconds: float | None) -> float | None:
    """Bring a request's own timeout together with the deadline of its call."""
    if timeout_seconds is None:
        return deadline
    own = asyncio.get_running_loop().time() + timeout_seconds
    return own if deadline is None else min(own, deadline)


def _whole(outcomes: Sequence[InferenceResult | ServingError]) -> list[InferenceResult]:
    """Give the answers if all inputs have one.

    Raises:
        ServingError: The first that has none, and which input it is.
    """
    answers = [outcome for outcome in outcomes if isinstance(outcome, InferenceResult)]
    if len(answers) == len(outcomes):
        return answers
    current_call.get().failed_inputs += len(outcomes) - len(answers)
    index, error = next((i, o) for i, o in enumerate(outcomes) if isinstance(o, ServingError))
    if len(outcomes) > 1:
        error.message = f"input {index} of {len(outcomes)}: {error.message}"
    raise error


def _write(
    response: pb.ModelInferResponse,
    wanted: Sequence[Wanted],
    answers: Sequence[InferenceResult],
    labels: Sequence[str],
) -> float:
    """Fill a response; returns how long that took, in seconds."""
    started_at = perf_counter()
    for want in wanted:
        write_output(response, want, answers, labels)
    return perf_counter() - started_at
