"""Writes arrays into messages, in the type that a request selects."""

import numpy as np
from numpy.typing import NDArray

from convscope.server.errors import InvalidInputError
from convscope.server.frontend.tensors import DTYPES
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import manifest_pb2 as mpb

__all__ = ["write_tensor"]


def write_tensor(
    message: pb.Tensor,
    array: NDArray[np.float32],
    data_type: mpb.DataType.ValueType,
    name: str,
) -> tuple[float, float]:
    """Write an array into an empty message.

    Args:
        message: The message.
        array: The array.
        data_type: The type of the elements; float32 if it is unspecified.
        name: What the array is, for errors.

    Returns:
        The scale and the offset: a value is offset + scale * element.

    Raises:
        InvalidInputError: A value is too large for the type.
    """
    message.dtype = data_type or mpb.DATA_TYPE_FLOAT32
    values, scale, offset = _quantize(array, DTYPES[message.dtype], name)
    message.shape.extend(values.shape)
    message.data = values.tobytes()
    return scale, offset


def _quantize(
    array: NDArray[np.float32], dtype: np.dtype[np.generic], name: str
) -> tuple[NDArray[np.generic], float, float]:
    """Convert values to the type of the message, where a value is offset + scale * element.

    Args:
        array: The values, all finite.
        dtype: The type of the elements.
        name: What the array is.

    Returns:
        The elements, the scale and the offset.

    Raises:
        InvalidInputError: A value is too large for the type.
    """
    if dtype == np.float32:
        return array, 1.0, 0.0
    if dtype == np.float16:
        with np.errstate(over="ignore"):
            halves = array.astype(dtype)
        if not np.isfinite(halves).all():
            raise InvalidInputError(
                f"{name} has the value {array.flat[np.abs(array).argmax()]:g}, and float16 ends at "
                "65504; select it as float32 or uint8"
            )
        return halves, 1.0, 0.0
    low, high = float(array.min()), float(array.max())
    scale = (high - low) / 255 or 1.0
    return np.rint((array - low) / scale).astype(np.uint8), scale, low
