"""The largest images that a server accepts, and what exceeds them."""

import struct
from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from convscope.client._connection.channel import MAX_REQUEST_BYTES

__all__ = ["Excess", "ImageLimits", "default_limits", "excess_of_file", "excess_of_pixels"]

# The header of a smaller file isn't parsed by Pillow, which takes 50 microseconds. Photos beyond
# the limits are larger.
_PARSED_BYTES = 256 * 1024
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """The limits of one image.

    Args:
        max_request_bytes: The bytes of a request.
        max_pixels: The pixels of an image.
        max_side: The pixels of its longer edge.
        max_progressive_jpeg_pixels: The pixels of a JPEG with several scans.
        max_lossless_webp_pixels: The pixels of a WebP that is lossless or has transparency.
    """

    max_request_bytes: int
    max_pixels: int
    max_side: int
    max_progressive_jpeg_pixels: int
    max_lossless_webp_pixels: int


def default_limits() -> ImageLimits:
    """Return the limits of a server with default settings."""
    return ImageLimits(MAX_REQUEST_BYTES, 16_000_000, 8192, 13_333_333, 7_200_000)


@dataclass(frozen=True, slots=True)
class Excess:
    """What exceeds a limit, in words: "the image has 20,000,000 pixels; at most ..."."""

    message: str


def excess_of_pixels(
    width: int, height: int, size_bytes: int, limits: ImageLimits
) -> Excess | None:
    """Return what an image of so many pixels and bytes exceeds; None if it is within the limits."""
    if size_bytes > limits.max_request_bytes:
        return Excess(
            f"the image's {width:,} x {height:,} pixels have {size_bytes:,} bytes; the limit of a "
            f"request is {limits.max_request_bytes:,}"
        )
    return _excess(width, height, limits.max_pixels, limits)


def excess_of_file(data: bytes, limits: ImageLimits) -> Excess | None:
    """Return what an encoded image exceeds; None if it is within the limits, or isn't an image."""
    if data.startswith(_PNG) and len(data) >= 24:
        width, height = struct.unpack_from(">II", data, 16)
        return _excess(width, height, limits.max_pixels, limits)
    if len(data) < _PARSED_BYTES:
        return None
    try:
        image = Image.open(BytesIO(data))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - Pillow's parsers raise anything; the server says what is wrong
        return None
    return _excess(*image.size, _max_pixels(image, data, limits), limits)


def _max_pixels(image: Image.Image, data: bytes, limits: ImageLimits) -> int:
    """Return how many pixels a file of this kind may have."""
    if image.format == "JPEG" and image.info.get("progressive"):
        return limits.max_progressive_jpeg_pixels
    if image.format == "WEBP" and data[12:16] != b"VP8 ":
        return limits.max_lossless_webp_pixels
    return limits.max_pixels


def _excess(width: int, height: int, max_pixels: int, limits: ImageLimits) -> Excess | None:
    if width * height <= max_pixels and max(width, height) <= limits.max_side:
        return None
    return Excess(
        f"the image has {width:,} x {height:,} pixels; at most {max_pixels:,} pixels and "
        f"{limits.max_side:,} a side are allowed"
    )
