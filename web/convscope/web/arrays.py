"""Arrays in the body of a request: .npy files."""

import io
import math
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from convscope.client import ImageLike, Tensor
from convscope.web.errors import invalid

__all__ = ["NPY", "read_array"]

NPY = b"\x93NUMPY"
_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_array(data: bytes) -> ImageLike:
    """Return pixels if the array is uint8 and has their shape, otherwise the model's own input.

    Raises:
        HttpError: The file can't be read.
    """
    array = _read(data)
    is_pixels = array.dtype == np.uint8 and array.ndim in (2, 3)
    return array if is_pixels else Tensor(array)


def _read(data: bytes) -> NDArray[Any]:
    """Return an array in the memory of the file, whose size the header may misstate."""
    file = io.BytesIO(data)
    try:
        shape, is_fortran, dtype = _READERS[npy.read_magic(file)](file)
    except KeyError as error:
        raise invalid("the .npy file has another version than 1.0 or 2.0; save it again") from error
    except Exception as error:  # its parser is Python's, which raises anything
        raise invalid(f"the .npy file can't be read: {error}") from error
    if dtype.hasobject:
        raise invalid("the .npy file has Python objects; give numbers")
    elements = memoryview(data)[file.tell() :]
    if min(shape, default=1) < 0 or len(elements) != math.prod(shape) * dtype.itemsize:
        raise invalid(
            f"the .npy file has {len(elements):,} bytes of elements, which are not "
            f"{dtype} {list(shape)}; the upload may have been cut short"
        )
    try:
        array = np.frombuffer(elements, dtype)
        return array.reshape(shape, order="F" if is_fortran else "C")
    except (ValueError, OverflowError, TypeError) as error:  # such as 100 dimensions
        raise invalid(f"the .npy file has no usable shape or dtype: {error}") from error
