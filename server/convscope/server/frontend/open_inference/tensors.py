"""Converts the input of a request from the protocol's contents to the engine's inputs."""

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope.open_inference import open_inference_pb2 as pb
from convscope.server.errors import InvalidInputError
from convscope.server.frontend.open_inference.contract import BYTES, Contract, TensorSpec
from convscope.server.frontend.open_inference.parameters import reject_shared_memory
from convscope.server.frontend.tensors import MAX_DIMENSIONS, check_finite
from convscope.server.inference.requests import EncodedImage, Input, ReadyTensor

__all__ = ["check_input", "encode_elements", "read_inputs"]

# Before each element of a BYTES tensor.
_LENGTH = struct.Struct("<I")


def check_input(request: pb.ModelInferRequest, contract: Contract) -> int:
    """Check the name, type and shape of a request's input, before its data is read.

    Returns:
        The size of its batch.

    Raises:
        InvalidInputError: It isn't the model's only input, or its type or shape differs.
        UnsupportedError: It is in shared memory.
    """
    spec = contract.input
    if len(request.inputs) != 1:
        raise InvalidInputError(
            f"the request has {len(request.inputs)} inputs; "
            f"{contract.name} takes one, {spec.name!r}"
        )
    tensor = request.inputs[0]
    if tensor.name != spec.name:
        raise InvalidInputError(
            f"{contract.name} has no input {tensor.name[:80]!r}; its input is {spec.name!r}"
        )
    if tensor.parameters:
        reject_shared_memory(tensor.name, tensor.parameters)
    return _check_shape(tensor, contract)


def read_inputs(request: pb.ModelInferRequest, contract: Contract) -> Sequence[Input]:
    """Split a batch into its inputs, without copying raw tensors.

    Args:
        request: A request whose input was checked.
        contract: The contract that it was checked against.

    Raises:
        InvalidInputError: The data doesn't fit the shape, is in the wrong
            field, or is missing.
    """
    tensor = request.inputs[0]
    raw = _raw(request, tensor)
    if tensor.datatype == BYTES:
        return [EncodedImage(data) for data in _elements(tensor, raw)]
    return [ReadyTensor(row) for row in _array(tensor, contract.input, raw)]


def encode_elements(elements: Sequence[bytes]) -> bytes:
    """Encode the raw contents of a BYTES tensor."""
    return b"".join(part for data in elements for part in (_LENGTH.pack(len(data)), data))


def _check_shape(tensor: pb.ModelInferRequest.InferInputTensor, contract: Contract) -> int:
    """Check datatype and shape; return the size of the batch."""
    spec = contract.input
    if len(tensor.shape) > MAX_DIMENSIONS:
        raise InvalidInputError(
            f"the input {spec.name!r} has {len(tensor.shape):,} dimensions; "
            f"at most {MAX_DIMENSIONS} are accepted"
        )
    shape = tuple(tensor.shape)
    if tensor.datatype == BYTES and contract.accepts_images:
        fits = len(shape) == 1 or shape[1:] == (1,)
    elif tensor.datatype == spec.datatype.name:
        fits = shape[1:] == spec.shape
    else:
        raise InvalidInputError(
            f"the input {spec.name!r} has the datatype {tensor.datatype[:80]!r}; "
            f"{contract.name} takes {_takes(contract)}"
        )
    if not fits or shape[0] < 0:
        raise InvalidInputError(
            f"the input {spec.name!r} has the shape {list(shape)}; "
            f"{contract.name} takes {_takes(contract)}"
        )
    return shape[0]


def _raw(
    request: pb.ModelInferRequest, tensor: pb.ModelInferRequest.InferInputTensor
) -> bytes | None:
    """Return the raw contents, or None if they are typed."""
    count, typed = len(request.raw_input_contents), tensor.HasField("contents")
    if count and typed:
        raise InvalidInputError(
            f"the input {tensor.name!r} has contents, and there are raw_input_contents; "
            "send one of the two"
        )
    if count > 1:
        raise InvalidInputError(f"there are {count} raw_input_contents for one input; send one")
    if count:
        return request.raw_input_contents[0]
    if typed:
        return None
    raise InvalidInputError(
        f"the input {tensor.name!r} has no data; send it in raw_input_contents or in contents"
    )


def _elements(tensor: pb.ModelInferRequest.InferInputTensor, raw: bytes | None) -> Sequence[bytes]:
    """Split a BYTES tensor into its elements."""
    count = tensor.shape[0]
    if raw is not None:
        return _split(raw, count)
    elements = _typed(tensor, "bytes_contents")
    if len(elements) != count:
        raise InvalidInputError(
            f"the shape {list(tensor.shape)} has {count} elements, and {len(elements)} were sent"
        )
    return elements


def _split(raw: bytes, count: int) -> list[bytes]:
    elements, start = [], 0
    for index in range(count):
        data_start = start + _LENGTH.size
        if data_start > len(raw):
            raise InvalidInputError(
                f"the raw contents end before element {index} of {count}; "
                "each is a length of 4 bytes, little-endian, and so many bytes"
            )
        (length,) = _LENGTH.unpack_from(raw, start)
        start = data_start + length
        if start > len(raw):
            raise InvalidInputError(
                f"element {index} of {count} states {length:,} bytes, and "
                f"{len(raw) - data_start:,} are left of the raw contents"
            )
        elements.append(raw[data_start:start])
    if start != len(raw):
        raise InvalidInputError(
            f"the raw contents have {len(raw) - start:,} bytes more than {count} elements"
        )
    return elements


def _array(
    tensor: pb.ModelInferRequest.InferInputTensor, spec: TensorSpec, raw: bytes | None
) -> NDArray[np.generic]:
    """View the data as an array of the tensor's shape, [n, ...]."""
    shape, dtype = tuple(tensor.shape), spec.datatype.numpy
    if raw is None:
        flat = _flat(tensor, spec, math.prod(shape))
    else:
        needed = math.prod(shape) * dtype.itemsize
        if len(raw) != needed:
            raise InvalidInputError(
                f"{spec.datatype.name} {list(shape)} has {needed:,} bytes, and {len(raw):,} were "
                "sent; shape and raw contents must agree"
            )
        flat = np.frombuffer(raw, dtype)
    array = flat.reshape(shape)
    if dtype.kind == "f":
        check_finite(array)
    return array


def _flat(
    tensor: pb.ModelInferRequest.InferInputTensor, spec: TensorSpec, count: int
) -> NDArray[np.generic]:
    """Convert typed contents to an array."""
    values = _typed(tensor, spec.datatype.contents)
    if len(values) != count:
        raise InvalidInputError(
            f"the shape {list(tensor.shape)} has {count:,} elements, and {len(values):,} were sent"
        )
    if spec.datatype.numpy != np.uint8:
        return np.array(values, spec.datatype.numpy)
    wide = np.array(values, np.uint32)
    if wide.max() > np.iinfo(np.uint8).max:
        raise InvalidInputError(f"the contents hold {wide.max()}; UINT8 ends at 255")
    return wide.astype(np.uint8)


def _typed(tensor: pb.ModelInferRequest.InferInputTensor, expected: str) -> Sequence[Any]:
    """Return the typed contents, which must be in the field of their datatype and in no other."""
    fields = [field.name for field, _ in tensor.contents.ListFields()]
    if fields != [expected]:
        found = " and ".join(fields) or "nothing"
        raise InvalidInputError(
            f"the contents of {tensor.name!r} are in {found}; "
            f"{tensor.datatype} belongs in {expected}"
        )
    values: Sequence[Any] = getattr(tensor.contents, expected)
    return values


def _takes(contract: Contract) -> str:
    """Describe the input of a model."""
    spec = contract.input
    shape = ", ".join(map(str, ("N", *spec.shape)))
    images = " or BYTES [N], each element an encoded image" if contract.accepts_images else ""
    return f"{spec.datatype.name} [{shape}]{images}"
