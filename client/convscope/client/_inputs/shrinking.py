"""Images beyond the server's limits, at a size that gives the same results.

The server resizes every image to the input of the model. An image that is still several times
larger than that gives the same input, except for rounding: the detail that is lost is finer
than the pixels of the input.
"""

import io
import math
from dataclasses import dataclass, replace
from os import PathLike
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from convscope.client._inputs.arguments import ImageLike
from convscope.client._inputs.upright import upright
from convscope.client._results.model_info import ModelInfo
from convscope.client._results.model_parts import Resize
from convscope.client._results.server_info import ServerLimits
from convscope.client.errors import InvalidInputError

__all__ = ["Shrunk", "resize_of", "sent_size_of", "shrink"]

Size: TypeAlias = tuple[int, int]

# How many times finer than the model's input an image is sent, and at least must be. At 4 times,
# the pixels of the input differ by a fraction of a level.
_OVERSAMPLING, _MIN_OVERSAMPLING = 4.0, 2.0
# Pillow's limit, which a program may have turned off, as a server in this process does.
_MAX_PIXELS = 178_956_970
# Without a known input.
_DEFAULT_SIDE = 2048
_MIN_SIDE = 256
_JPEG_QUALITIES = (95, 85, 75)
# What a request has besides the pixels: so much, or this share of a small limit.
_SLACK_BYTES, _SLACK_SHARE = 65536, 8
_EXIF_ORIENTATION, _FIRST_TURNED = 0x0112, 5


@dataclass(frozen=True, slots=True)
class Shrunk:
    """A shrunk image.

    Args:
        image: uint8 pixels [H, W, 3], or a JPEG if these have too many bytes.
        size: The width and height of the upright original.
        sent_size: Those of the shrunk image.
    """

    image: NDArray[np.uint8] | bytes
    size: Size
    sent_size: Size


def resize_of(model: ModelInfo) -> Resize | None:
    """Return how the server resizes images for a model; with padding, the size of the input, too.

    The description of a model with padding has no size: an image fits into the whole input.
    """
    resize = model.resize
    if resize is None or not resize.padding:
        return resize
    height, width, _ = model.input.shape
    return replace(resize, height=height, width=width)


def shrink(image: ImageLike, resize: Resize | None, limits: ServerLimits) -> Shrunk:
    """Shrink an image to the limits, and turn it upright.

    Args:
        image: The image.
        resize: How the server resizes images for the model, from `resize_of`; None if it isn't
            known.
        limits: The limits.

    Raises:
        InvalidInputError: The image can't be read, or is so long and narrow that its results
            would change.
    """
    try:
        return _shrink(image, resize, limits)
    except (InvalidInputError, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise anything
        if isinstance(image, Image.Image):
            # It keeps the pixels before the damage, and would present them as the image next time.
            image.close()
        raise InvalidInputError(f"{_named(image)} can't be read: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    match error:
        case Image.DecompressionBombError():
            return f"it has more than {_MAX_PIXELS:,} pixels, the limit of Pillow"
        case UnidentifiedImageError():
            return "it is damaged, or of an unknown format"
        case OSError(strerror=str(known)):
            return known
        case _:
            return f"it is damaged, or of an unknown format ({error})"


def _shrink(image: ImageLike, resize: Resize | None, limits: ServerLimits) -> Shrunk:
    opened, is_own = _open(image)
    try:
        size = _upright_size(opened)
        if is_own and size[0] * size[1] > _MAX_PIXELS:
            raise Image.DecompressionBombError()
        sent_size = sent_size_of(size, resize, limits, _named(image))
        if is_own and isinstance(opened, JpegImageFile):
            # It is decoded at a scale, still twice as fine, which saves most of the time.
            opened.draft(None, _along(opened, 2 * max(sent_size)))
        pixels = upright(opened)
    finally:
        if is_own:
            opened.close()
    if pixels.size != sent_size:
        pixels = pixels.resize(sent_size, Image.Resampling.LANCZOS)
    array = np.asarray(pixels)  # uint8 [H, W, 3]
    limit = limits.max_request_bytes
    allowed = limit - min(_SLACK_BYTES, limit // _SLACK_SHARE)
    return Shrunk(array if array.nbytes <= allowed else _jpeg(pixels, allowed), size, sent_size)


def _open(image: ImageLike) -> tuple[Image.Image, bool]:
    """Return an image as Pillow has it, and whether it was opened here."""
    match image:
        case Image.Image():
            return image, False
        case np.ndarray():
            return Image.fromarray(image[:, :, 0] if image.shape[2:] == (1,) else image), True
        case str() | PathLike():
            return Image.open(image), True
        case _:
            return Image.open(io.BytesIO(image)), True  # type: ignore[arg-type]


def _named(image: ImageLike) -> str:
    return f"the image {str(image)!r}" if isinstance(image, str | PathLike) else "the image"


def _upright_size(image: Image.Image) -> Size:
    try:
        is_turned = image.getexif().get(_EXIF_ORIENTATION, 1) >= _FIRST_TURNED
    except Exception:  # noqa: BLE001 - damaged metadata has no effect, as in the server
        is_turned = False
    width, height = image.size
    return (height, width) if is_turned else (width, height)


def _along(image: Image.Image, edge: int) -> Size:
    """Return the size of an image with a longer edge."""
    factor = edge / max(image.size)
    return math.ceil(image.width * factor), math.ceil(image.height * factor)


def sent_size_of(size: Size, resize: Resize | None, limits: ServerLimits, name: str) -> Size:
    """Return the size at which an image is sent.

    Args:
        size: The width and height of the upright image.
        resize: How the server resizes images for the model; None if it isn't known.
        limits: The limits.
        name: The image, for the error.

    Raises:
        InvalidInputError: It would be smaller than twice the model's input.
    """
    width, height = size
    finest = _finest(size, resize)
    pixels = min(
        limits.max_image_pixels,
        limits.max_progressive_jpeg_pixels,
        limits.max_lossless_webp_pixels,
    )
    within = min(math.sqrt(pixels / (width * height)), limits.max_image_side / max(size), 1.0)
    if within < min(_MIN_OVERSAMPLING * finest, 1.0):
        raise InvalidInputError(
            f"{name} has {width:,} x {height:,} pixels, too many along one edge to be shrunk "
            "without an effect on the result; crop it"
        )
    wanted = max(_OVERSAMPLING * finest, _MIN_SIDE / min(size))
    factor = min(wanted, within)
    return _rounded(size, factor, resize)


def _finest(size: Size, resize: Resize | None) -> float:
    """Return the size of the resized image, relative to the image."""
    if resize is None:
        return _DEFAULT_SIDE / min(size) / _OVERSAMPLING
    if resize.shortest_edge:
        return resize.shortest_edge / min(size)
    factors = resize.width / size[0], resize.height / size[1]
    return min(factors) if resize.padding else max(factors)


def _rounded(size: Size, factor: float, resize: Resize | None) -> Size:
    """Return a scaled size, rounded so that the server crops the same part.

    The server rounds the longer edge down after it has scaled the shorter one; with padding, it
    rounds both. The same numbers must result from the rounded size.
    """
    short, long = sorted(size)
    new_short = max(round(short * factor), 1)
    new_long = max(long * new_short // short, 1)
    if resize is not None and (edge := resize.shortest_edge):
        while edge * new_long // new_short < edge * long // short:
            new_long += 1
    if resize is not None and resize.padding:
        expected = _fitted((short, long), size, resize)
        new_long += _fitted((new_short, new_long), size, resize) != expected
    return _turned(new_short, new_long, size)


def _turned(short: int, long: int, size: Size) -> Size:
    return (short, long) if size[0] <= size[1] else (long, short)


def _fitted(edges: Size, size: Size, resize: Resize) -> Size:
    """Return the size at which the server fits an image into the input."""
    width, height = _turned(*edges, size)
    scale = min(resize.width / width, resize.height / height)
    return round(width * scale), round(height * scale)


def _jpeg(pixels: Image.Image, allowed: int) -> bytes:
    """Encode an image as JPEG, of a lower quality if it must be."""
    for quality in _JPEG_QUALITIES:
        out = io.BytesIO()
        pixels.save(out, "JPEG", quality=quality, subsampling="4:4:4")
        if out.tell() <= allowed:
            return out.getvalue()
    raise InvalidInputError(
        f"the image of {pixels.width:,} x {pixels.height:,} pixels has too much detail for a "
        f"request of {allowed:,} bytes; scale it down"
    )
