"""What is wrong with an array that should be pixels, and how to fix it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PIXEL_CHANNELS", "array_problem", "other_problem"]

PIXEL_CHANNELS = (1, 3, 4)
_PIXELS = "pixels are uint8 [H, W, C] with 1, 3 or 4 channels, or uint8 [H, W]"
_TENSOR = "for the model's own input, give Tensor(array)"


def array_problem(array: NDArray[Any]) -> str:
    """Return what is wrong with an array, and the fix; empty if it can be sent as pixels."""
    problem = _shape_problem(array) or _type_problem(array)
    if not problem:
        return ""
    return f"the array is {array.dtype.name} {list(array.shape)}: {problem}; {_TENSOR}"


def other_problem(value: object) -> str:
    """Return what to give instead of a value that is of no accepted kind; empty without an idea."""
    if value is None:
        return "is it the result of a function that returns nothing?"
    if isinstance(value, list | tuple):
        return "for several images, call classify_many; for pixels, give np.array(image, np.uint8)"
    if isinstance(value, dict):
        return "give the image that it contains"
    # Frameworks whose tensors are no arrays, such as torch; none of them is imported here.
    if hasattr(value, "__array__") or hasattr(value, "numpy"):
        return "convert it to a numpy array, such as with numpy.asarray or its method numpy()"
    return ""


def _shape_problem(array: NDArray[Any]) -> str:
    shape = array.shape
    if 0 in shape:
        return "it has no pixels; check how it was read or cropped"
    if array.ndim == 4 and shape[0] == 1:
        return "it is a batch of one image; give array[0]"
    if array.ndim == 4:
        return f"it is a batch of {shape[0]} images; call classify_many(array)"
    if array.ndim == 2 or (array.ndim == 3 and shape[2] in PIXEL_CHANNELS):
        return ""
    if array.ndim == 3 and shape[0] in PIXEL_CHANNELS:
        return "its channels come first; give array.transpose(1, 2, 0)"
    if array.ndim == 3:
        return f"it has {shape[2]} channels; {_PIXELS}"
    return f"its shape is not that of an image; {_PIXELS}"


def _type_problem(array: NDArray[Any]) -> str:
    if array.dtype == np.uint8:
        return ""
    if array.dtype == np.bool_:
        return "give its pixels as array.astype(np.uint8) * 255"
    if array.dtype == np.uint16:
        return "give its 16 bits as 8, with (array // 257).astype(np.uint8)"
    if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
        return _PIXELS
    low, high = array.min(), array.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        return f"it contains NaN or infinity; {_PIXELS}"
    values = f"its values are from {low:g} to {high:g}"
    if np.issubdtype(array.dtype, np.floating) and low >= 0 and high <= 1:
        return f"{values}, and pixels are uint8; give convscope.client.from_float(array)"
    if low >= 0 and high <= 255:
        return f"{values}; give array.astype(np.uint8)"
    return f"{values}, and pixels are from 0 to 255; undo its normalization"
