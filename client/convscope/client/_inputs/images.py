"""Images of every accepted kind as inputs of a request.

An input is serialized here, and not as a tree of messages: that takes several times as long for
a small image, and copies a large one more often.
"""

import math
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from convscope.client._connection.wire import field_header
from convscope.client._inputs.array_problems import PIXEL_CHANNELS, array_problem, other_problem
from convscope.client._inputs.folders import files_of, files_of_pattern
from convscope.client._inputs.pixel_modes import to_pixel_mode
from convscope.client._inputs.sources import resolve_source
from convscope.client._results.server_info import ServerLimits
from convscope.client.errors import InvalidInputError
from convscope.client.types import ImageLike, Tensor
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import manifest_pb2 as mpb

__all__ = ["encode_input", "read_image"]

_TENSOR_DTYPES = {
    np.dtype(order + code): (number, np.dtype("<" + code))
    for code, number in (
        ("u1", mpb.DATA_TYPE_UINT8),
        ("f2", mpb.DATA_TYPE_FLOAT16),
        ("f4", mpb.DATA_TYPE_FLOAT32),
    )
    for order in "<>"
}
_MAX_BYTES = ServerLimits().max_request_bytes
_INPUTS = pb.ClassifyRequest.INPUTS_FIELD_NUMBER
_ENCODED_IMAGE = pb.Input.ENCODED_IMAGE_FIELD_NUMBER
_PIXELS = pb.Input.PIXELS_FIELD_NUMBER
_TENSOR = pb.Input.TENSOR_FIELD_NUMBER
_HEADERS_CACHED = 64
_ACCEPTED = (
    "a path, an open file, bytes, a PIL image, a uint8 array [H, W, C] or [H, W], or Tensor(array)"
)


def encode_input(image: ImageLike, max_bytes: int = _MAX_BYTES) -> bytes:
    """Return an image as an input of a request: the serialized field of a `ClassifyRequest`.

    Args:
        image: The image.
        max_bytes: The server's limit of a request.

    Raises:
        InvalidInputError: It can't be read, is of no accepted kind, or is too large.
    """
    match resolve_source(image):
        case Tensor() as tensor:
            return _encode_tensor(tensor.array, max_bytes)
        case Path() as path:
            return _encode_file(read_image(path, max_bytes))
        case bytes() as data:
            _check_size(len(data), f"the image has {len(data):,} bytes", max_bytes)
            return _encode_file(data)
        case Image.Image() as picture:
            return _encode_pil(picture, max_bytes)
        case np.ndarray() as array:
            return _encode_pixels(array, max_bytes)
        case _:
            hint = other_problem(image)
            raise InvalidInputError(
                f"an image can't be {_kind(image)}; give {_ACCEPTED}{f' ({hint})' if hint else ''}"
            )


def _kind(value: object) -> str:
    """Return what a value is, for a message: its type with the module of its library."""
    kind = type(value)
    if value is None or kind.__module__ == "builtins":
        return "None" if value is None else f"a value of type {kind.__name__}"
    return f"a {kind.__module__.partition('.')[0]}.{kind.__name__}"


def read_image(path: Path, max_bytes: int) -> bytes:
    """Return the content of an image's file.

    Raises:
        InvalidInputError: It can't be read, or is too large.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except FileNotFoundError:
        # Without the error of the system, which would double the traceback and adds nothing.
        raise InvalidInputError(_missing(path)) from None
    except IsADirectoryError:
        raise InvalidInputError(
            f"{str(path)!r} is a directory, not an image; to classify its files, call "
            f"classify_many({files_of(path)})"
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidInputError(f"the image {str(path)!r} can't be read: {reason}") from error
    _check_size(len(data), f"the image {str(path)!r} is too large", max_bytes)
    return data


def _missing(path: Path) -> str:
    if (files := files_of_pattern(path)) is None:
        return f"there is no image {str(path)!r}; check the path"
    return (
        f"there is no image {str(path)!r}; patterns are for the command line; in Python call "
        f"classify_many({files})"
    )


def _check_size(size_bytes: int, what: str, max_bytes: int) -> None:
    if size_bytes > max_bytes:
        raise InvalidInputError(
            f"{what}; the limit of a request is {max_bytes:,} bytes; scale the image down, "
            "or save it as JPEG"
        )


def _encode_file(data: bytes) -> bytes:
    content = field_header(_ENCODED_IMAGE, len(data))
    return b"".join((field_header(_INPUTS, len(content) + len(data)), content, data))


def _encode_tensor(array: NDArray[np.generic], max_bytes: int) -> bytes:
    if not isinstance(array, np.ndarray) or array.dtype not in _TENSOR_DTYPES:
        given = array.dtype.name if isinstance(array, np.ndarray) else type(array).__name__
        raise InvalidInputError(
            f"a Tensor can't hold {given}; give a numpy array of uint8, float16 or float32, "
            "as the model's input states"
        )
    if array.nbytes > max_bytes:
        raise InvalidInputError(
            f"the tensor {list(array.shape)} has {array.nbytes:,} bytes; the limit of a request is "
            f"{max_bytes:,}; check its shape against the model's input"
        )
    dtype, little_endian = _TENSOR_DTYPES[array.dtype]
    return _encode_array(_TENSOR, dtype, np.asarray(array, little_endian, order="C"))


def _encode_array(kind: int, dtype: mpb.DataType.ValueType, array: NDArray[np.generic]) -> bytes:
    header = _array_header(kind, dtype, array.shape, array.nbytes)
    return b"".join((header, array.data))


@lru_cache(_HEADERS_CACHED)
def _array_header(
    kind: int, dtype: mpb.DataType.ValueType, shape: tuple[int, ...], size_bytes: int
) -> bytes:
    """Return what precedes the elements of an array: all of the input but these."""
    tensor = pb.Tensor(dtype=dtype, shape=shape).SerializeToString()
    tensor += field_header(pb.Tensor.DATA_FIELD_NUMBER, size_bytes)
    content = field_header(kind, len(tensor) + size_bytes) + tensor
    return field_header(_INPUTS, len(content) + size_bytes) + content


def _encode_pixels(array: NDArray[np.generic], max_bytes: int) -> bytes:
    is_color = array.ndim == 3 and array.shape[2] in PIXEL_CHANNELS
    if array.dtype != np.uint8 or not (is_color or array.ndim == 2) or 0 in array.shape:
        raise InvalidInputError(array_problem(array))
    if array.ndim == 2:
        array = array[:, :, np.newaxis]  # uint8 [H, W, 1]
    _check_pixels(array.shape, max_bytes)
    return _encode_array(_PIXELS, mpb.DATA_TYPE_UINT8, np.ascontiguousarray(array))


def _check_pixels(shape: tuple[int, ...], max_bytes: int) -> None:
    size_bytes = math.prod(shape)
    if size_bytes > max_bytes:
        raise InvalidInputError(
            f"the image's {shape[1]:,} x {shape[0]:,} pixels have {size_bytes:,} bytes; the limit "
            f"of a request is {max_bytes:,}; give the encoded file instead, by its path or "
            "bytes, or scale the image down"
        )


def _encode_pil(image: Image.Image, max_bytes: int) -> bytes:
    try:
        upright = ImageOps.exif_transpose(image)
        plain = to_pixel_mode(upright)
    except (InvalidInputError, MemoryError):
        raise
    except Exception as error:  # PIL decodes lazily, and its decoders raise anything
        # PIL keeps the pixels before the damage, and would present them as the image next time.
        image.close()
        raise InvalidInputError(f"the PIL image can't be decoded: {error}") from error
    return _encode_pixels(np.asarray(plain), max_bytes)
