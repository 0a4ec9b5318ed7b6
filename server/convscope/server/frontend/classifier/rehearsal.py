"""Batches of made-up Classify calls, with which a version is tuned before it serves."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from convscope.server.frontend.classifier.endpoint import ClassifyEndpoint
from convscope.server.frontend.reply_limits import ReplyLimits
from convscope.server.inference.batch import Part, run_batch
from convscope.server.inference.encoding import encode
from convscope.server.inference.requests import InferenceRequest, ReadyTensor
from convscope.server.observability.calls import CallRecord
from convscope.server.observability.stages import StageSeconds
from convscope.server.runtime.versions import LoadedVersion
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import manifest_pb2 as mpb

__all__ = ["rehearse"]


def rehearse(version: LoadedVersion, size: int) -> Callable[[], None]:
    """Return a function that does all the work of a batch of calls, except the transport's.

    Args:
        version: The version that runs them.
        size: The number of calls, each with one input. Its content doesn't affect the time.
    """
    example = _example(version.manifest.input)
    if version.manifest.task == mpb.TASK_FEATURE_EXTRACTION:
        names = [spec.name for spec in version.manifest.feature_maps]
        inputs = np.repeat(example[np.newaxis], size, axis=0)
        return lambda: _run_feature_maps(version, inputs, names)
    tensor = pb.Tensor(
        dtype=version.manifest.input.dtype, shape=example.shape, data=example.tobytes()
    )
    request = pb.ClassifyRequest(model=version.key[0], inputs=[pb.Input(tensor=tensor)])
    message = request.SerializeToString()
    endpoint = ClassifyEndpoint(_admit, ReplyLimits(2**31, 2**31))
    return lambda: _run_calls(version, endpoint, [message] * size)


def _run_calls(version: LoadedVersion, endpoint: ClassifyEndpoint, messages: list[bytes]) -> None:
    """Parse, run, rank and encode; the replies are dropped."""
    parts = [_part(version, endpoint, message) for message in messages]
    for part, results in zip(parts, run_batch(version.model, parts), strict=True):
        if isinstance(results, Exception):
            raise results
        part.request.results = results
        encode(part.request)


def _part(version: LoadedVersion, endpoint: ClassifyEndpoint, message: bytes) -> Part:
    call = CallRecord("rehearsal")
    parsed = pb.ClassifyRequest.FromString(message)
    request = endpoint.request(parsed, call, _finish, None, None)
    request.version = version
    endpoint.prepare(request)
    request.prepared = [item.array for item in request.inputs if isinstance(item, ReadyTensor)]
    request.seconds = [StageSeconds()]
    return Part(request, [0])


def _run_feature_maps(
    version: LoadedVersion, inputs: NDArray[np.generic], names: list[str]
) -> None:
    version.model.run(inputs, feature_maps=names)


def _example(spec: mpb.InputSpec) -> NDArray[np.generic]:
    random = np.random.default_rng(0)
    if spec.dtype == mpb.DATA_TYPE_UINT8:
        return random.integers(0, 256, tuple(spec.shape), dtype=np.uint8)
    return random.standard_normal(tuple(spec.shape), dtype=np.float32)


def _admit(request: InferenceRequest, inputs: int) -> None:
    """Admit every request."""


def _finish(requests: object) -> None:
    """Never called: the requests are not completed."""
