"""The second input and the parameters of models named MODEL.explain."""

import json
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from convscope.open_inference import open_inference_pb2 as pb
from convscope.server.errors import InvalidInputError
from convscope.server.frontend.explanations import METHOD_NAMES
from convscope.server.frontend.open_inference.contract import INT64, Contract
from convscope.server.frontend.open_inference.parameters import reject_shared_memory
from convscope.server.inference.explanations import ExplanationPlan
from convscope.server.runtime.explained import BEST
from convscope.server.runtime.graph import CLASSES
from convscope.server.runtime.versions import Crop, LoadedVersion
from convscope.v1 import inference_pb2

__all__ = ["CROPS", "crop_parameter", "plan_classes", "split_classes"]

# The parameter of a reply: JSON, for each input [left, top, right, bottom, width, height].
CROPS = "crops"
_METHOD = (METHOD_NAMES[inference_pb2.EXPLANATION_METHOD_GRAD_CAM],)
Classes = NDArray[np.int64]
Input = pb.ModelInferRequest.InferInputTensor


def split_classes(
    message: pb.ModelInferRequest, contract: Contract
) -> tuple[pb.ModelInferRequest, Classes | None]:
    """Take the input with the classes out of a request.

    Returns:
        The request without it, and the classes, int64 [N, T]; None if the input is left out,
        which means the best class of each input.

    Raises:
        InvalidInputError: The input occurs twice, or its type, shape and data disagree.
        UnsupportedError: It is in shared memory.
    """
    positions = [i for i, tensor in enumerate(message.inputs) if tensor.name == CLASSES]
    if not positions:
        return message, None
    if len(positions) > 1:
        raise InvalidInputError(f"the request has the input {CLASSES!r} twice")
    position, raw = positions[0], list(message.raw_input_contents)
    if raw and len(raw) != len(message.inputs):
        raise InvalidInputError(
            f"there are {len(raw)} raw_input_contents for {len(message.inputs)} inputs; send one "
            "for each"
        )
    classes = _classes(message.inputs[position], raw.pop(position) if raw else None)
    rest = pb.ModelInferRequest(
        model_name=message.model_name,
        id=message.id,
        inputs=[tensor for i, tensor in enumerate(message.inputs) if i != position],
        outputs=message.outputs,
        raw_input_contents=raw,
    )
    return rest, classes


def plan_classes(
    classes: Classes | None, size: int, version: LoadedVersion, max_classes: int
) -> ExplanationPlan:
    """Check the classes of a request.

    Args:
        classes: The classes of each input; None for the best one.
        size: The size of the batch.
        version: The version.
        max_classes: The largest number of classes of an input.

    Raises:
        InvalidInputError: They don't fit the batch, are too many, or the version has no such
            class.
    """
    if classes is None:
        return ExplanationPlan(np.full((1, 1), BEST, np.int64), methods=_METHOD)
    count = classes.shape[1]
    if len(classes) != size:
        raise InvalidInputError(
            f"{CLASSES!r} has {len(classes)} rows for a batch of {size}; send one for each input"
        )
    if not 1 <= count <= max_classes:
        raise InvalidInputError(
            f"{CLASSES!r} has {count} classes for each input; send 1 to {max_classes}"
        )
    labels = len(version.labels)
    wrong = classes[(classes < -labels) | (classes >= labels)]
    if wrong.size:
        raise InvalidInputError(
            f"{CLASSES!r} has {wrong[0]}; a class is 0 to {labels - 1}, or -1 for the most "
            f"probable one, -2 for the second etc., down to -{labels}"
        )
    return ExplanationPlan(classes, methods=_METHOD * count)


def crop_parameter(found: Mapping[int, Crop], contract: Contract, inputs: int) -> bytes:
    """Serialize the parameter of a reply that states which part of each image was used."""
    if not contract.accepts_images:
        return b""
    height, width, _ = contract.input.shape
    whole = Crop(0, 0, width, height, width, height)
    crops = [found.get(index, whole) for index in range(inputs)]
    response = pb.ModelInferResponse()
    response.parameters[CROPS].string_param = json.dumps(crops)
    return response.SerializeToString()


def _classes(tensor: Input, raw: bytes | None) -> Classes:
    reject_shared_memory(tensor.name, tensor.parameters)
    shape = tuple(tensor.shape)
    if tensor.datatype != INT64.name or len(shape) != 2 or min(shape) < 0:
        raise InvalidInputError(
            f"the input {CLASSES!r} is {tensor.datatype[:80]} {list(shape[:8])}; "
            "it takes INT64 [N, T]"
        )
    if raw is None:
        values: Classes = np.array(tensor.contents.int64_contents, np.int64)
    elif len(raw) % INT64.numpy.itemsize:
        raise InvalidInputError(f"the raw contents of {CLASSES!r} have {len(raw):,} bytes")
    else:
        values = np.frombuffer(raw, np.dtype("<i8")).astype(np.int64, copy=False)
    if values.size != shape[0] * shape[1]:
        raise InvalidInputError(
            f"the input {CLASSES!r} has the shape {list(shape)}, and {values.size:,} values were "
            "sent; shape and data must agree"
        )
    return values.reshape(shape)
