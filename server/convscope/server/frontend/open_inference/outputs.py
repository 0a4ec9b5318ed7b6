"""The outputs that a request selects, and how they are encoded."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convscope.server.errors import InvalidInputError
from convscope.server.frontend.open_inference import open_inference_pb2 as pb
from convscope.server.frontend.open_inference.contract import (
    BYTES,
    LOGITS,
    PROBABILITIES,
    Contract,
    ModelName,
    TensorSpec,
)
from convscope.server.frontend.open_inference.parameters import (
    read_classification,
    reject_shared_memory,
)
from convscope.server.frontend.open_inference.tensors import encode_elements
from convscope.server.inference.ranking import rank
from convscope.server.inference.requests import InferenceResult

__all__ = ["RequestedOutput", "max_output_bytes", "plan_outputs", "write_output"]

Floats = NDArray[np.float32]

# The largest size of one class without its name: its value, its index, and the length of
# its text. Values with more than eight digits before the point don't occur.
_CLASS_BYTES = 32


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """An output that a request selects.

    Args:
        spec: The output.
        classes: The number of best classes to return instead of the tensor, or None.
    """

    spec: TensorSpec
    classes: int | None = None


def plan_outputs(request: pb.ModelInferRequest, contract: Contract) -> list[RequestedOutput]:
    """Return the outputs that a request selects, in its order; all if it names none.

    Raises:
        InvalidInputError: An output is unknown, named twice, or can't be returned
            as classes.
        UnsupportedError: An output is requested in shared memory.
    """
    if not request.outputs:
        return [RequestedOutput(spec) for spec in contract.outputs.values()]
    outputs = [_plan_output(output, contract) for output in request.outputs]
    names = [output.spec.name for output in outputs]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidInputError(f"the output {twice!r} is requested twice")
    return outputs


def max_output_bytes(output: RequestedOutput, inputs: int, label_bytes: Sequence[int]) -> int:
    """Return the largest size that one output of a batch can have.

    Args:
        output: The output.
        inputs: The size of the batch.
        label_bytes: The largest size that the names of so many classes can have.
    """
    if output.classes is None:
        return inputs * math.prod(output.spec.shape) * output.spec.datatype.numpy.itemsize
    count = min(output.classes, len(label_bytes) - 1)
    return inputs * (count * _CLASS_BYTES + label_bytes[count])


def write_output(
    response: pb.ModelInferResponse,
    output: RequestedOutput,
    results: Sequence[InferenceResult],
    labels: Sequence[str],
) -> None:
    """Add one output of a batch to a response; always raw, because some clients read only that.

    Args:
        response: The response.
        output: The output.
        results: The result of each input of the batch.
        labels: The name of each class.
    """
    rows = [_values(result, output.spec.name) for result in results]
    if output.classes is None:
        datatype, shape = output.spec.datatype.name, (len(rows), *output.spec.shape)
        data = b"".join(row.data for row in rows)
    else:
        texts = _classes(np.stack(rows), output.classes, labels)
        datatype, shape = BYTES, (len(rows), len(texts) // len(rows))
        data = encode_elements(texts)
    response.outputs.add(name=output.spec.name, datatype=datatype, shape=shape)
    response.raw_output_contents.append(data)


def _plan_output(
    output: pb.ModelInferRequest.InferRequestedOutputTensor, contract: Contract
) -> RequestedOutput:
    spec = contract.outputs.get(output.name)
    if spec is None:
        name = ModelName.parse(contract.name)
        other = "" if name.features else f"; feature maps are outputs of {name.model}.features"
        raise InvalidInputError(
            f"{contract.name} has no output {output.name[:80]!r}; "
            f"it has: {', '.join(contract.outputs)}{other}"
        )
    if not output.parameters:
        return RequestedOutput(spec)
    reject_shared_memory(output.name, output.parameters)
    classes = read_classification(output.parameters)
    if classes is not None and contract.returns_features:
        raise InvalidInputError(
            f"the feature map {spec.name!r} has no classes; leave out 'classification'"
        )
    return RequestedOutput(spec, classes)


def _values(result: InferenceResult, name: str) -> Floats:
    if name == PROBABILITIES:
        return result.probabilities
    if name == LOGITS and result.logits is not None:
        return result.logits
    return result.feature_maps[name]


def _classes(values: Floats, count: int, labels: Sequence[str]) -> list[bytes]:
    """Format the best classes of each row, [n, classes], as the extension classification does."""
    ranked = zip(*rank(values, count), strict=True)
    return [
        f"{value:f}:{index}:{labels[index]}".encode()
        for indices, scores in ranked
        for index, value in zip(indices, scores, strict=True)
    ]
