"""Images of every accepted kind to the input of a request."""

import math
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from convscope.client._channel import MAX_REQUEST_BYTES
from convscope.client.errors import InvalidInputError
from convscope.client.types import ImageLike, Tensor
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import manifest_pb2 as mpb

__all__ = ["encode_input", "takes_long", "to_pixel_mode"]

_TENSOR_DTYPES = {
    np.dtype(order + code): (number, np.dtype("<" + code))
    for code, number in (
        ("u1", mpb.DATA_TYPE_UINT8),
        ("f2", mpb.DATA_TYPE_FLOAT16),
        ("f4", mpb.DATA_TYPE_FLOAT32),
    )
    for order in "<>"
}
_PIXEL_CHANNELS = (1, 3, 4)
_PIXEL_MODES = ("L", "RGB", "RGBA")
_ACCEPTED = "a path, bytes, a PIL image, a uint8 array [H, W, C] or [H, W], or Tensor(array)"


def encode_input(image: ImageLike) -> pb.Input:
    """Turn an image into what the wire takes.

    Raises:
        InvalidInputError: It can't be read, is of no accepted kind, or is too large.
    """
    match image:
        case Tensor():
            return _encode_tensor(image.array)
        case str() | PathLike():
            return pb.Input(encoded_image=_read(Path(image)))
        case bytes() | bytearray() | memoryview():
            data = bytes(image)
            _check_size(len(data), f"the image has {len(data):,} bytes")
            return pb.Input(encoded_image=data)
        case Image.Image():
            return _encode_pil(image)
        case np.ndarray():
            return _encode_pixels(image)
        case _:
            raise InvalidInputError(f"an image can't be a {type(image).__name__}; give {_ACCEPTED}")


def takes_long(image: ImageLike) -> bool:
    """Whether encoding an image would hold up an event loop: to read or to convert it."""
    return isinstance(image, str | PathLike | Image.Image)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_REQUEST_BYTES + 1)
    except FileNotFoundError as error:
        raise InvalidInputError(f"there is no image {str(path)!r}; check the path") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidInputError(f"the image {str(path)!r} can't be read: {reason}") from error
    _check_size(len(data), f"the image {str(path)!r} is too large")
    return data


def _check_size(size_bytes: int, what: str) -> None:
    if size_bytes > MAX_REQUEST_BYTES:
        raise InvalidInputError(
            f"{what}; a request takes {MAX_REQUEST_BYTES:,} bytes; scale the image down, or save "
            "it as JPEG"
        )


def _encode_tensor(array: NDArray[np.generic]) -> pb.Input:
    if not isinstance(array, np.ndarray) or array.dtype not in _TENSOR_DTYPES:
        given = array.dtype.name if isinstance(array, np.ndarray) else type(array).__name__
        raise InvalidInputError(
            f"a Tensor can't hold {given}; give a numpy array of uint8, float16 or float32, "
            "as the model's input states"
        )
    if array.nbytes > MAX_REQUEST_BYTES:
        raise InvalidInputError(
            f"the tensor {list(array.shape)} has {array.nbytes:,} bytes; a request takes "
            f"{MAX_REQUEST_BYTES:,}; check its shape against the model's input"
        )
    dtype, little_endian = _TENSOR_DTYPES[array.dtype]
    message = pb.Input()
    _fill(message.tensor, dtype, array.astype(little_endian, copy=False))
    return message


def _fill(tensor: pb.Tensor, dtype: mpb.DataType.ValueType, array: NDArray[np.generic]) -> None:
    """Write an array into a message where it is, which saves copies of the data."""
    tensor.dtype = dtype
    tensor.shape.extend(array.shape)
    tensor.data = array.tobytes()


def _encode_pixels(array: NDArray[np.generic]) -> pb.Input:
    if array.dtype != np.uint8:
        raise InvalidInputError(
            f"the array is {array.dtype.name} {list(array.shape)}; give pixels as uint8 [H, W, C], "
            "or the model's own input as Tensor(array)"
        )
    if array.ndim == 2:
        array = array[:, :, np.newaxis]  # uint8 [H, W, 1]
    if array.ndim != 3 or array.shape[2] not in _PIXEL_CHANNELS or 0 in array.shape:
        raise InvalidInputError(
            f"the array is uint8 {list(array.shape)}; pixels are [H, W] or [H, W, C] with 1, 3 or "
            "4 channels; for the model's own input give Tensor(array)"
        )
    _check_pixels(array.shape)
    message = pb.Input()
    _fill(message.pixels, mpb.DATA_TYPE_UINT8, array)
    return message


def _check_pixels(shape: tuple[int, ...]) -> None:
    size_bytes = math.prod(shape)
    if size_bytes > MAX_REQUEST_BYTES:
        raise InvalidInputError(
            f"the image's {shape[1]:,} x {shape[0]:,} pixels take {size_bytes:,} bytes; a request "
            f"takes {MAX_REQUEST_BYTES:,}; give the encoded file instead, by its path or bytes, "
            "or scale the image down"
        )


def _encode_pil(image: Image.Image) -> pb.Input:
    try:
        upright = ImageOps.exif_transpose(image)
        plain = to_pixel_mode(upright)
    except (OSError, SyntaxError, EOFError) as error:  # PIL decodes only when asked to
        raise InvalidInputError(f"the PIL image can't be decoded: {error}") from error
    return _encode_pixels(np.asarray(plain))


def to_pixel_mode(image: Image.Image) -> Image.Image:
    """Bring any colour mode to one that the server takes, and keep what is transparent."""
    if image.mode in _PIXEL_MODES and not image.has_transparency_data:
        return image
    if image.mode == "F":
        raise InvalidInputError(
            "the PIL image has mode F, whose range isn't known; scale it to 0 to 255 and give it "
            "as mode L, or give the model's own input as Tensor(array)"
        )
    if image.mode.startswith("I"):  # 16 bits of grey
        wide = np.asarray(image, dtype=np.float32)
        return Image.fromarray(np.clip(wide / 257 + 0.5, 0, 255).astype(np.uint8))
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("L" if image.mode == "1" else "RGB")
