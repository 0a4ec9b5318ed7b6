"""Writes arrays into messages, in the type that a request selects."""

import numpy as np
from numpy.typing import NDArray

from convscope.server.frontend.tensors import DTYPES
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import manifest_pb2 as mpb

__all__ = ["write_tensor"]


def write_tensor(
    message: pb.Tensor, array: NDArray[np.float32], data_type: mpb.DataType.ValueType
) -> tuple[float, float]:
    """Write an array into an empty message.

    Args:
        message: The message.
        array: The array.
        data_type: The type of the elements; float32 if it is unspecified.

    Returns:
        The scale and the offset: a value is offset + scale * element.
    """
    message.dtype = data_type or mpb.DATA_TYPE_FLOAT32
    values, scale, offset = _quantize(array, DTYPES[message.dtype])
    message.shape.extend(values.shape)
    message.data = values.tobytes()
    return scale, offset


def _quantize(
    array: NDArray[np.float32], dtype: np.dtype[np.generic]
) -> tuple[NDArray[np.generic], float, float]:
    """Convert values to the type of the message, where a value is offset + scale * element.

    Returns:
        The elements, the scale and the offset.
    """
    if dtype != np.uint8:
        return array.astype(dtype, copy=False), 1.0, 0.0
    low, high = float(array.min()), float(array.max())
    scale = (high - low) / 255 or 1.0
    return np.rint((array - low) / scale).astype(np.uint8), scale, low
