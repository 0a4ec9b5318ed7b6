"""Rules for tensors that all endpoints share."""

import numpy as np
from numpy.typing import NDArray

from convscope.server.errors import InvalidInputError
from convscope.v1 import manifest_pb2 as pb

__all__ = ["DTYPES", "MAX_DIMENSIONS", "check_finite"]

# A shape of a million dimensions would take long to process.
MAX_DIMENSIONS = 8
# The types of tensors in messages, and their byte order.
DTYPES: dict[int, np.dtype[np.generic]] = {
    pb.DATA_TYPE_UINT8: np.dtype(np.uint8),
    pb.DATA_TYPE_FLOAT16: np.dtype("<f2"),
    pb.DATA_TYPE_FLOAT32: np.dtype("<f4"),
}


def check_finite(array: NDArray[np.generic]) -> None:
    """Check the values of a floating-point tensor.

    Raises:
        InvalidInputError: A value is NaN or infinite.
    """
    if not np.isfinite(array).all():
        raise InvalidInputError("the tensor holds NaN or infinite values; send finite ones")
