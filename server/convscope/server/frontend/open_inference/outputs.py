"""The outputs of a request: which are wanted, and how they are written."""

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
    refuse_shared_memory,
)
from convscope.server.frontend.open_inference.tensors import pack
from convscope.server.inference.ranking import rank
from convscope.server.inference.requests import InferenceResult

__all__ = ["Wanted", "most_bytes", "plan_outputs", "write_output"]

Floats = NDArray[np.float32]

# At most, of one class without its name: its value, its index, and the length of its text.
# Values of more than eight digits before the point don't occur.
_CLASS_BYTES = 32


@dataclass(frozen=True, slots=True)
class Wanted:
    """An output that a request wants.

    Args:
        spec: Which one.
        classes: How many of the best classes it is wanted as; None as a tensor.
    """

    spec: TensorSpec
    classes: int | None = None


def plan_outputs(request: pb.ModelInferRequest, contract: Contract) -> list[Wanted]:
    """Find the outputs that a request wants, in its order; all if it names none.

    Raises:
        InvalidInputError: There is no such output, it is named twice, or it
            can't be had as classes.
        UnsupportedError: It is to go to shared memory.
    """
    if not request.outputs:
        return [Wanted(spec) for spec in contract.outputs.values()]
    wanted = [_want(output, contract) for output in request.outputs]
    names = [want.spec.name for want in wanted]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidInputError(f"the output {twice!r} is asked for twice")
    return wanted


def most_bytes(want: Wanted, inputs: int, label_bytes: Sequence[int]) -> int:
    """Give the most bytes that the classes of a batch can take as one output.

    Args:
        want: Which output.
        inputs: The size of the batch.
        label_bytes: The most that the names of so many classes can take.
    """
    if want.classes is None:
        return inputs * math.prod(want.spec.shape) * want.spec.datatype.numpy.itemsize
    count = min(want.classes, len(label_bytes) - 1)
    return inputs * (count * _CLASS_BYTES + label_bytes[count])


def write_output(
    response: pb.ModelInferResponse,
    want: Wanted,
    answers: Sequence[InferenceResult],
    labels: Sequence[str],
) -> None:
    """Add one output of a batch to a response; always raw, for some clients read nothing else.

    Args:
        response: Where it is added.
        want: Which output.
        answers: The answer to each input of the batch.
        labels: The name of each class.
    """
    rows = [_values(answer, want.spec.name) for answer in answers]
    if want.classes is None:
        datatype, shape = want.spec.datatype.name, (len(rows), *want.spec.shape)
        data = b"".join(row.data for row in rows)
    else:
        texts = _classes(np.stack(rows), want.classes, labels)
        datatype, shape = BYTES, (len(rows), len(texts) // len(rows))
        data = pack(texts)
    response.outputs.add(name=want.spec.name, datatype=datatype, shape=shape)
    response.raw_output_contents.append(data)


def _want(output: pb.ModelInferRequest.InferRequestedOutputTensor, contract: Contract) -> Wanted:
    spec = contract.outputs.get(output.name)
    if spec is None:
        name = ModelName.parse(contract.name)
        other = "" if name.features else f"; feature maps are outputs of {name.model}.features"
        raise InvalidInputError(
            f"{contract.name} has no output {output.name[:80]!r}; "
            f"it has: {', '.join(contract.outputs)}{other}"
        )
    if not output.parameters:
        return Wanted(spec)
    refuse_shared_memory(output.name, output.parameters)
    classes = read_classification(output.parameters)
    if classes is not None and contract.gives_features:
        raise InvalidInputError(
            f"the feature map {spec.name!r} has no classes; leave out 'classification'"
        )
    return Wanted(spec, classes)


def _values(answer: InferenceResult, name: str) -> Floats:
    if name == PROBABILITIES:
        return answer.probabilities
    if name == LOGITS and answer.logits is not None:
        return answer.logits
    return answer.feature_maps[name]


def _classes(values: Floats, count: int, labels: Sequence[str]) -> list[bytes]:
    """Write the best classes of each row, [n, classes], as the extension classification does."""
    ranked = zip(*rank(values, count), strict=True)
    return [
        f"{value:f}:{index}:{labels[index]}".encode()
        for indices, scores in ranked
        for index, value in zip(indices, scores, strict=True)
    ]
