"""Requests without a frontend: a test waits for their results."""

from typing import Any

from convscope.server.inference.requests import InferenceRequest, InferenceResult, Input
from convscope.server.observability.calls import CallRecord


class NoReply:
    """An endpoint whose replies are empty."""

    def prepare(self, request: InferenceRequest) -> None:
        """Do nothing: the inputs are set."""

    def encode(self, request: InferenceRequest) -> bytes:
        """Return an empty reply, which took no time."""
        answered = [r for r in request.results if isinstance(r, InferenceResult)]
        request.encode_seconds = [0.0] * len(answered)
        return b""


def make_request(
    *inputs: Input,
    top_k: int = 0,
    feature_maps: tuple[str, ...] = (),
    logits: bool = False,
    **options: Any,
) -> InferenceRequest:
    """Make a prepared request for these inputs."""
    request = InferenceRequest(NoReply(), CallRecord("test"), lambda requests: None, **options)
    request.inputs = inputs
    request.top_k = top_k
    request.feature_maps = feature_maps
    request.logits = logits
    return request
