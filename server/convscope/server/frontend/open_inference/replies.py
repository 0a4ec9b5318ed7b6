"""Assembles ModelInferResponses, whose outputs are raw."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope.open_inference import open_inference_pb2 as pb
from convscope.server.frontend.open_inference.contract import (
    BYTES,
    LOGITS,
    PROBABILITIES,
    TensorSpec,
)
from convscope.server.frontend.open_inference.outputs import RequestedOutput
from convscope.server.frontend.open_inference.tensors import encode_elements
from convscope.server.frontend.wire import field
from convscope.server.inference.ranking import rank
from convscope.server.inference.requests import InferenceResult
from convscope.server.runtime.graph import HEAT

__all__ = ["encode_response"]

Floats = NDArray[np.float32]
Array = NDArray[Any]


def encode_response(
    head: bytes,
    outputs: Sequence[RequestedOutput],
    results: Sequence[InferenceResult],
    labels: Sequence[str],
) -> bytes:
    """Serialize a ModelInferResponse; its outputs are raw, because some clients read only that.

    Args:
        head: The serialized fields of the response before its outputs.
        outputs: The outputs that the request selects.
        results: The result of each input of the batch.
        labels: The name of each class.
    """
    described, raw = [head], []
    for output in outputs:
        values = _values(results, output.spec)
        if output.classes is None:
            datatype, shape = output.spec.datatype.name, (len(results), *output.spec.shape)
            data = values.tobytes()
        else:
            texts = _classes(values, output.classes, labels)
            datatype, shape = BYTES, (len(results), len(texts) // len(results))
            data = encode_elements(texts)
        tensor = pb.ModelInferResponse.InferOutputTensor(
            name=output.spec.name, datatype=datatype, shape=shape
        )
        described.append(field(5, tensor.SerializeToString()))
        raw.append(field(6, data))
    return b"".join([*described, *raw])


def _values(results: Sequence[InferenceResult], spec: TensorSpec) -> Array:
    """Return an output of all inputs, [n, ...].

    Other requests of the batch may have more explained classes, which are left out.
    """
    first, last, size = results[0], results[-1], spec.shape[0]
    if first.output is last.output and last.row - first.row == len(results) - 1:
        return _output(first, spec.name)[first.row : last.row + 1, :size]
    return np.stack([_output(result, spec.name)[result.row, :size] for result in results])


def _output(result: InferenceResult, name: str) -> Array:
    """Return an output of the whole batch that a result is from."""
    output = result.output
    if name == PROBABILITIES:
        return output.probabilities
    if name == LOGITS and output.logits is not None:
        return output.logits
    if output.heat is not None:
        return output.heat.values if name == HEAT else output.heat.classes
    return output.feature_maps[name]


def _classes(values: Floats, count: int, labels: Sequence[str]) -> list[bytes]:
    """Format the best classes of each row, [n, classes], as the extension classification does."""
    ranked = zip(*rank(values, count), strict=True)
    return [
        f"{value:f}:{index}:{labels[index]}".encode()
        for indices, scores in ranked
        for index, value in zip(indices, scores, strict=True)
    ]
