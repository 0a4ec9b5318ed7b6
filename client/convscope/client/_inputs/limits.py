"""The largest images that a server accepts, and what exceeds them."""

import struct
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

from convscope.client._inputs.arguments import ImageLike, Tensor
from convscope.client._results.server_info import ServerLimits

__all__ = ["LARGE_BYTES", "Excess", "excess_of", "is_large", "too_many_bytes"]

# Smaller images are within the limits of every common server.
LARGE_BYTES = 2**20
_LARGE_PIXELS = 1_000_000
_LARGE = ServerLimits(
    max_request_bytes=LARGE_BYTES,
    max_image_pixels=_LARGE_PIXELS,
    max_progressive_jpeg_pixels=_LARGE_PIXELS,
    max_lossless_webp_pixels=_LARGE_PIXELS,
)

# The header of a smaller file isn't parsed by Pillow, which takes 50 microseconds. Photos beyond
# the limits are larger.
_PARSED_BYTES = 256 * 1024
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Excess:
    """What exceeds a limit, in words: "the image has 20,000,000 pixels; at most ..."."""

    message: str


def is_large(image: ImageLike) -> bool:
    """Report whether an image in memory may exceed the limits of a server."""
    if isinstance(image, Tensor):
        return isinstance(image.array, np.ndarray) and image.array.nbytes > LARGE_BYTES
    return excess_of(image, _LARGE) is not None


def excess_of(image: ImageLike, limits: ServerLimits) -> Excess | None:
    """Return what an image in memory exceeds; None if it is within the limits, or isn't an image.

    A tensor is never shrunk, so that no limits of images apply to it.
    """
    match image:
        case bytes() | bytearray() | memoryview():
            if len(image) > limits.max_request_bytes:
                return too_many_bytes(len(image), limits)
            return _excess_of_file(bytes(image), limits)
        case Image.Image():
            width, height = image.size
            channels = 1 if image.mode in ("1", "L") else len(image.getbands())
            return _excess_of_pixels(width, height, width * height * channels, limits)
        case np.ndarray() if image.dtype == np.uint8 and image.ndim in (2, 3):
            return _excess_of_pixels(image.shape[1], image.shape[0], image.nbytes, limits)
        case _:
            return None


def too_many_bytes(size_bytes: int, limits: ServerLimits) -> Excess:
    """Return that an image has too many bytes."""
    return Excess(
        f"the image has {size_bytes:,} bytes; the limit of a request is "
        f"{limits.max_request_bytes:,}"
    )


def _excess_of_pixels(
    width: int, height: int, size_bytes: int, limits: ServerLimits
) -> Excess | None:
    """Return what an image of so many pixels and bytes exceeds; None if it is within the limits."""
    if size_bytes > limits.max_request_bytes:
        return Excess(
            f"the image's {width:,} x {height:,} pixels have {size_bytes:,} bytes; the limit of a "
            f"request is {limits.max_request_bytes:,}"
        )
    return _excess(width, height, limits.max_image_pixels, limits)


def _excess_of_file(data: bytes, limits: ServerLimits) -> Excess | None:
    """Return what an encoded image exceeds; None if it is within the limits, or isn't an image."""
    if data.startswith(_PNG) and len(data) >= 24:
        width, height = struct.unpack_from(">II", data, 16)
        return _excess(width, height, limits.max_image_pixels, limits)
    if len(data) < _PARSED_BYTES:
        return None
    try:
        image = Image.open(BytesIO(data))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - Pillow's parsers raise anything; the server says what is wrong
        return None
    return _excess(*image.size, _max_pixels(image, data, limits), limits)


def _max_pixels(image: Image.Image, data: bytes, limits: ServerLimits) -> int:
    """Return how many pixels a file of this kind may have."""
    if image.format == "JPEG" and image.info.get("progressive"):
        return limits.max_progressive_jpeg_pixels
    if image.format == "WEBP" and data[12:16] != b"VP8 ":
        return limits.max_lossless_webp_pixels
    return limits.max_image_pixels


def _excess(width: int, height: int, max_pixels: int, limits: ServerLimits) -> Excess | None:
    if width * height <= max_pixels and max(width, height) <= limits.max_image_side:
        return None
    return Excess(
        f"the image has {width:,} x {height:,} pixels; at most {max_pixels:,} pixels and "
        f"{limits.max_image_side:,} a side are allowed"
    )
