"""Converts an encoded image to the graph's uint8 input, by the manifest's rule.

The work depends on the size of the result, not of the photo. A JPEG is decoded at
the smallest of its own scales that keeps well over twice the needed resolution, and
only the part inside the crop is resized, in strips if it must be turned or converted.
Images that are not decoded to scale have, except for rounding, the pixels of a full
decode and resize.

A photo gives the same pixels in whichever EXIF orientation it is stored, as long as its
stored pixels are the same ones. Those of a JPEG are not: the encoder turns, subsamples and
quantizes blocks that begin in the stored corner, and the decoder rounds between columns
and rows. Decoding to scale adds a partial last column or row on the stored side, which the
box of the crop takes into account. Such differences are a few levels at sharp edges.
"""

from dataclasses import dataclass, replace
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from convscope.server.errors import InvalidInputError
from convscope.server.inference.decoding.damage import check_structure, damaged
from convscope.server.inference.decoding.headers import Header, read_header
from convscope.server.inference.decoding.jpeg import decode_scale, set_decode_scale
from convscope.server.inference.decoding.orientation import (
    Box,
    Stored,
    orientation_of,
)
from convscope.server.inference.decoding.resizing import STRIP_BYTES, resize_upright
from convscope.server.runtime.versions import Crop, DecodeCost
from convscope.v1 import manifest_pb2 as pb

__all__ = ["ImageLimits", "Preprocessor"]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
# Pillow would warn, or raise at twice its own limit, before the check against our limit.
Image.MAX_IMAGE_PIXELS = None

_RESAMPLING = {
    pb.INTERPOLATION_BILINEAR: Image.Resampling.BILINEAR,
    pb.INTERPOLATION_BICUBIC: Image.Resampling.BICUBIC,
}
_MODES = {pb.COLOR_MODE_RGB: "RGB", pb.COLOR_MODE_GRAY: "L"}

# uint8 [height, width, channels]; the part of the upright image; its width and height.
Prepared = tuple[NDArray[np.uint8], Box, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """The largest image size that is decoded, by the size in the image's header."""

    max_pixels: int
    max_side: int


class Preprocessor:
    """Prepares images for one model. Safe to call from several threads.

    Args:
        rule: The manifest's preprocessing.
        height: The graph's input height in pixels.
        width: The graph's input width in pixels.
        limits: The largest image that is decoded.
    """

    def __init__(
        self, rule: pb.Preprocessing, height: int, width: int, limits: ImageLimits
    ) -> None:
        self._resize = rule.resize
        self._mode = _MODES[rule.color_mode]
        self._resampling = _RESAMPLING[rule.interpolation]
        self._height = height
        self._width = width
        self._limits = limits

    def cost(self, data: bytes) -> DecodeCost:
        """Return what decoding an image takes, from its header.

        It takes 4 to 20 microseconds, and about a millisecond for crafted headers.

        Raises:
            InvalidInputError: It isn't an image of a supported format, or exceeds the limits.
        """
        header = self._read_header(data)
        scale = 1
        if header.format == "JPEG":
            size = header.width, header.height
            finest = min(self._finest(*size), self._finest(*size[::-1]))
            scale = decode_scale(size, finest, uneven_chroma=header.uneven_chroma)
        decoded = header.pixels * header.pixel_bytes // scale**2
        fixed = header.pixels * header.coefficient_bytes
        memory = decoded + fixed + min(decoded * 4, STRIP_BYTES)
        return DecodeCost(header.pixels, memory, header)

    def decode(self, data: bytes, cost: DecodeCost | None = None) -> NDArray[np.uint8]:
        """Prepare an encoded image; uint8 [height, width, channels].

        Args:
            data: The image.
            cost: Its cost, if it is known.

        Raises:
            InvalidInputError: It isn't an image of a supported format, exceeds the limits, or
                is damaged. `damage.py` describes which damage can be found in which format.
        """
        return self._decode(data, cost)[0]

    def decode_with_crop(
        self, data: bytes, cost: DecodeCost | None = None
    ) -> tuple[NDArray[np.uint8], Crop]:
        """Prepare an encoded image like `decode`; return also the part that was kept."""
        prepared, box, size = self._decode(data, cost)
        return prepared, Crop(*box, *size)

    def prepare(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Prepare a decoded image, uint8 [any height, any width, 1, 3 or 4 channels]."""
        return self._prepare_pixels(pixels)[0]

    def prepare_with_crop(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Crop]:
        """Prepare a decoded image like `prepare`; return also the part that was kept."""
        prepared, box, size = self._prepare_pixels(pixels)
        return prepared, Crop(*box, *size)

    def _decode(self, data: bytes, cost: DecodeCost | None) -> Prepared:
        header = self._read_header(data) if cost is None else cost.header
        check_structure(data, header)
        try:
            return self._prepare(*self._load(data, header))
        except (InvalidInputError, MemoryError):
            raise
        except Exception as error:  # Pillow's decoders raise anything on crafted bytes
            damage = "truncated" if "truncated" in str(error) else "damaged"
            raise damaged(header.format, data, damage) from error

    def _prepare_pixels(self, pixels: NDArray[np.uint8]) -> Prepared:
        height, width, channels = pixels.shape
        self._check_size(width, height)
        image = Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
        return self._prepare(image, Stored(image.size))

    def _read_header(self, data: bytes) -> Header:
        header = read_header(data)
        if header is None:
            raise InvalidInputError(_not_an_image(data))
        self._check_size(header.width, header.height)
        return header

    def _load(self, data: bytes, header: Header) -> tuple[Image.Image, Stored]:
        """Decode an image, a JPEG to scale, and find out how it is stored."""
        image = Image.open(BytesIO(data), formats=FORMATS)
        full_size = image.size
        self._check_size(*full_size)  # crafted headers may contradict each other
        image.decodermaxblock = len(data)  # all at once, not 64 KiB after 64 KiB
        if not isinstance(image, JpegImageFile):
            image.load()  # before the metadata, which may follow the pixels
            return image, Stored(full_size, orientation_of(image))
        stored = Stored(full_size, orientation_of(image))
        finest = self._finest(*stored.upright)
        scale = decode_scale(full_size, finest, uneven_chroma=header.uneven_chroma)
        set_decode_scale(image, scale)
        image.load()
        return image, replace(stored, scale=scale)

    def _check_size(self, width: int, height: int) -> None:
        limits = self._limits
        if width * height > limits.max_pixels or max(width, height) > limits.max_side:
            raise InvalidInputError(
                f"the image is {width:,} x {height:,} pixels; at most {limits.max_pixels:,} "
                f"pixels and {limits.max_side:,} a side are allowed; scale it down"
            )
        if not width or not height:
            raise InvalidInputError(f"the image has {width} x {height} pixels; it is empty")

    def _prepare(self, image: Image.Image, stored: Stored) -> Prepared:
        upright = stored.upright
        crop = self._crop_box(*upright)
        box = stored.decoded_box(crop, image.size)
        size = self._width, self._height
        pixels = resize_upright(image, stored.orientation, box, size, self._resampling, self._mode)
        return pixels, crop, upright

    def _finest(self, width: int, height: int) -> float:
        """Return the size of the result, relative to the part that the center crop keeps."""
        left, top, right, bottom = self._crop_box(width, height)
        return max(self._width / (right - left), self._height / (bottom - top))

    def _crop_box(self, width: int, height: int) -> Box:
        """Return the part of an upright image that the center crop keeps, in its pixels."""
        if self._resize.rule == pb.RESIZE_RULE_EXACT:
            resized_width, resized_height = self._resize.width, self._resize.height
        else:
            edge = self._resize.shortest_edge
            resized_width = edge if width <= height else int(edge * width / height)
            resized_height = edge if height <= width else int(edge * height / width)
        left = round((resized_width - self._width) / 2)
        top = round((resized_height - self._height) / 2)
        x, y = width / resized_width, height / resized_height
        return left * x, top * y, (left + self._width) * x, (top + self._height) * y


def _not_an_image(data: bytes) -> str:
    if not data:
        return "the image is empty (0 bytes); send the bytes of a whole file"
    # No byte of it is quoted: messages appear in the log, which must contain no part of an image.
    return f"the {len(data):,} bytes are not an image; send JPEG, PNG, WebP, BMP or GIF"
