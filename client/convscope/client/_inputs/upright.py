"""Images of any kind as upright RGB images, to be drawn."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from convscope.client._inputs.arguments import ImageLike
from convscope.client._inputs.array_problems import array_problem
from convscope.client._inputs.pixel_modes import to_pixel_mode
from convscope.client._inputs.sources import resolve_source
from convscope.client.errors import InvalidInputError

__all__ = ["open_upright", "upright"]


def open_upright(image: ImageLike) -> Image.Image:
    """Return an image as the server sees it, before resizing and cropping.

    Raises:
        InvalidInputError: It can't be read, or is of no accepted kind.
    """
    match resolve_source(image):
        case Image.Image() as picture:
            return upright(picture)
        case np.ndarray() as array if _are_pixels(array):
            shape = array.shape[:2] if array.shape[2:] == (1,) else array.shape
            return upright(Image.fromarray(array.reshape(shape)))
        case Path() as path:
            return _open(path, f"the image {str(image)!r}")
        case bytes() as data:
            return _open(io.BytesIO(data), "the image")
        case np.ndarray() as array:
            raise InvalidInputError(f"it can't be drawn over this image: {array_problem(array)}")
        case _:
            raise InvalidInputError(
                f"it can't be drawn over a value of type {type(image).__name__}; give a path, "
                "bytes, a PIL image, or uint8 pixels [H, W, C] or [H, W]"
            )


def upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation, and put transparent pixels on white."""
    plain = to_pixel_mode(_turned(image))
    if plain.mode != "RGBA":
        return plain.convert("RGB")
    page = Image.new("RGBA", plain.size, "white")
    page.alpha_composite(plain)
    return page.convert("RGB")


def _turned(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; without effect if the metadata is damaged, as in the server."""
    image.load()  # an error in the pixels is no error in the metadata
    try:
        return ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - Pillow's parsers raise anything
        return image


def _are_pixels(array: NDArray[np.uint8]) -> bool:
    return array.dtype == np.uint8 and array.shape[2:] in ((), (1,), (3,), (4,)) and array.ndim > 1


def _open(file: Path | io.BytesIO, name: str) -> Image.Image:
    try:
        with Image.open(file) as image:
            return upright(image)
    except (InvalidInputError, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise anything
        known = error.strerror if isinstance(error, OSError) else None
        reason = known or "it is damaged, or of an unknown format"
        raise InvalidInputError(f"{name} can't be read: {reason}") from error
