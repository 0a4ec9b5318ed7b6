"""ClassifyRequests to inputs, and results to ClassifyResponses."""

from collections.abc import Callable
from typing import Any

from convscope.server.errors import NonFiniteError, ServingError
from convscope.server.frontend.classifier.explanation_plans import plan_explanations
from convscope.server.frontend.classifier.large_inputs import LargeRequest, unpacked
from convscope.server.frontend.classifier.requests import decode_inputs, plan_reply, whole_crops
from convscope.server.frontend.classifier.templates import ReplyTemplate
from convscope.server.frontend.explained_requests import ExplainedRequests
from convscope.server.frontend.reply_limits import MANY_CLASSES, ReplyLimits
from convscope.server.frontend.wire import field
from convscope.server.inference.requests import Finish, InferenceRequest
from convscope.server.observability.calls import CallRecord
from convscope.server.repository.catalog import Target
from convscope.server.runtime.versions import LoadedVersion
from convscope.v1 import inference_pb2 as pb

__all__ = ["ClassifyEndpoint", "StreamedClassifyEndpoint", "target"]


class ClassifyEndpoint:
    """Makes, prepares and answers the requests of Classify; an `Endpoint` and a `RequestMaker`.

    Args:
        admit: Limits the number of inputs of a request.
        limits: The largest size of a reply.
        explained: Counts the requests for explanations; None counts none.
    """

    def __init__(
        self,
        admit: Callable[[InferenceRequest, int], None],
        limits: ReplyLimits,
        explained: ExplainedRequests | None = None,
    ) -> None:
        self._admit = admit
        self._limits = limits
        self._explained = explained

    def request(
        self,
        message: Any,
        record: CallRecord,
        finish: Finish,
        deadline: float | None,
        place: Any,
    ) -> InferenceRequest:
        """Return the request of a ClassifyRequest, or of a LargeRequest."""
        fields = message.message if type(message) is LargeRequest else message
        return InferenceRequest(
            self,
            record,
            finish,
            message,
            target(fields, fields.routing_key),
            deadline=deadline,
            bulk=fields.priority == pb.PRIORITY_BULK,
            place=place,
        )

    def prepare(self, request: InferenceRequest) -> None:
        """Check what a request selects, and convert its inputs; those that are invalid are errors.

        Raises:
            InvalidInputError: The number of its inputs or a selection is invalid, or its
                reply could be too large.
            BundleRejectedError: The version's provider can't run its explanations.
        """
        message, contents = unpacked(request.message)
        version, inputs = request.loaded, message.inputs
        self._admit(request, len(inputs))
        explanations = None
        if message.explanations:
            if self._explained is not None:
                self._explained.follow(request)
            explanations = plan_explanations(message, version, self._limits.explanations)
        request.plan = plan = plan_reply(
            message,
            version.manifest,
            version.labels,
            version.label_bytes,
            self._limits,
            explanations,
        )
        request.top_k = plan.top_k
        if plan.selections:
            request.feature_maps = plan.feature_maps
        # Feature maps and many classes take megabytes.
        request.is_large = bool(plan.selections) or plan.top_k * len(inputs) > MANY_CLASSES
        if explanations is not None:
            explanations.request(request)
            if request.record.caller is not None:
                occluded = explanations.computed.occluded_per_input
                request.record.caller.add_images(len(inputs) * occluded)
        request.inputs = decode_inputs(inputs, version.input_dtype, version.input_shape, contents)
        if plan.selections or explanations is not None:
            request.crops = whole_crops(request.inputs, version)
        request.message = None  # the inputs have its bytes, or copies of them

    def encode(self, request: InferenceRequest) -> bytes:
        """Serialize the reply.

        Raises:
            ServingError: The only input failed.
        """
        outcomes = request.results
        for index, outcome in enumerate(outcomes):
            if isinstance(outcome, NonFiniteError):
                outcome.name_input(index, len(outcomes))
        if len(outcomes) == 1 and isinstance(outcomes[0], ServingError):
            raise outcomes[0]
        template = self._template(request.loaded)
        reply, request.encode_seconds = template.encode(outcomes, request.plan, request.crops)
        return reply

    def _template(self, version: LoadedVersion) -> ReplyTemplate:
        template: ReplyTemplate | None = version.derived.get(ReplyTemplate)
        if template is None:  # two threads may make it at the same time, and one is kept
            template = version.derived[ReplyTemplate] = ReplyTemplate(version)
        return template


class StreamedClassifyEndpoint(ClassifyEndpoint):
    """The endpoint of ClassifyStream, whose messages contain those of Classify."""

    def request(
        self,
        message: Any,
        record: CallRecord,
        finish: Finish,
        deadline: float | None,
        place: Any,
    ) -> InferenceRequest:
        """Return the request in a ClassifyStreamRequest."""
        return super().request(message.request, record, finish, deadline, place)

    def encode(self, request: InferenceRequest) -> bytes:
        """Serialize the reply."""
        return field(1, super().encode(request))


def target(request: pb.ClassifyRequest | pb.GetModelRequest, key: str = "") -> Target:
    """Return what a request names."""
    kind = request.WhichOneof("selector")
    return Target(
        request.model,
        request.version if kind == "version" else None,
        request.alias if kind == "alias" else None,
        key,
    )
