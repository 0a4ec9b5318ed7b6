"""The outputs that a request selects."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from convscope.open_inference import open_inference_pb2 as pb
from convscope.server.errors import InvalidInputError
from convscope.server.frontend.open_inference.contract import (
    PROBABILITIES,
    Contract,
    ModelName,
    TensorSpec,
)
from convscope.server.frontend.open_inference.parameters import (
    read_classification,
    reject_shared_memory,
)

__all__ = ["RequestedOutput", "max_output_bytes", "plan_outputs"]

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


def _plan_output(
    output: pb.ModelInferRequest.InferRequestedOutputTensor, contract: Contract
) -> RequestedOutput:
    spec = contract.outputs.get(output.name)
    if spec is None:
        name = ModelName.parse(contract.name)
        other = "" if name.suffix else f"; feature maps are outputs of {name.model}.features"
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
    if classes is not None and contract.classes is not None and spec.name != PROBABILITIES:
        raise InvalidInputError(
            f"the output {spec.name!r} has no classes; leave out 'classification'"
        )
    return RequestedOutput(spec, classes)
