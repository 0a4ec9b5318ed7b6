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

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from convscope.server.errors import InvalidInputError, OutOfMemoryError, ServingError
from convscope.server.inference.decoding.header import Encoded, Header
from convscope.server.inference.decoding.headers import read_header
from convscope.server.inference.decoding.image_limits import ImageLimits
from convscope.server.inference.decoding.jpeg import decode_scale, set_decode_scale
from convscope.server.inference.decoding.orientation import Box, Stored
from convscope.server.inference.decoding.padding import Padding
from convscope.server.inference.decoding.resizing import STRIP_BYTES, resize_upright
from convscope.server.inference.decoding.structure import inspect
from convscope.server.inference.decoding.structure.stream import Stream, damaged
from convscope.server.inference.decoding.webp.decoder import (
    decode_webp,
    is_bounded,
    max_working_bytes,
    working_bytes,
)
from convscope.server.observability.out_of_memory import (
    allocations_can_fail,
    has_memory,
    is_out_of_memory,
)
from convscope.server.runtime.versions import Crop, DecodeCost
from convscope.v1 import manifest_pb2 as pb

__all__ = [
    "ImageLimits",
    "Preprocessor",
    "max_lossless_webp_pixels",
    "max_progressive_jpeg_pixels",
]

# The limits of the working memory, in bytes for each pixel that is allowed. With the default
# of 16 megapixels, decoding takes at most 96 MiB beyond the pixels of a JPEG at its scale, the
# copy of an encoded JPEG without metadata included. A WebP takes 4 bytes more for each of its
# pixels, and up to 24 MiB for its codes.
_MAX_JPEG_BYTES, _MAX_WEBP_BYTES = 5.0, 2.25
# The coefficients of a pixel of a progressive JPEG: two bytes for each channel.
_PROGRESSIVE_RGB_BYTES = 6
# Pillow would warn, or raise at twice its own limit, before the check against our limit.
Image.MAX_IMAGE_PIXELS = None

_RESAMPLING = {
    pb.INTERPOLATION_BILINEAR: Image.Resampling.BILINEAR,
    pb.INTERPOLATION_BICUBIC: Image.Resampling.BICUBIC,
    pb.INTERPOLATION_LANCZOS: Image.Resampling.LANCZOS,
}
_MODES = {pb.COLOR_MODE_RGB: "RGB", pb.COLOR_MODE_GRAY: "L"}

# uint8 [height, width, channels]; the part of the upright image; its width and height.
Prepared = tuple[NDArray[np.uint8], Box, tuple[int, int]]


def max_progressive_jpeg_pixels(limits: ImageLimits) -> int:
    """Return the pixels of a JPEG in RGB with several scans and without subsampled colors."""
    return _at_most(limits, _MAX_JPEG_BYTES, _PROGRESSIVE_RGB_BYTES)


def max_lossless_webp_pixels(limits: ImageLimits) -> int:
    """Return the pixels of a WebP that is lossless or has transparent pixels."""
    return _at_most(limits, _MAX_WEBP_BYTES, max_working_bytes())


def _at_most(limits: ImageLimits, allowed: float, used: int) -> int:
    return min(limits.max_pixels, int(limits.max_pixels * allowed) // used)


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
        self._padding: Padding | None = None
        if rule.resize.rule == pb.RESIZE_RULE_FIT:
            self._padding = Padding(rule.resize.padding, height, width)
        self._limits = limits

    def cost(self, data: Encoded) -> DecodeCost:
        """Return what decoding an image takes, from its header.

        It takes 4 to 20 microseconds, and a few times as much for crafted headers.

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
        fixed = header.pixels * header.working_bytes
        memory = decoded + fixed + min(decoded * 3, STRIP_BYTES)
        return DecodeCost(header.pixels, memory, header)

    def decode(self, data: Encoded, cost: DecodeCost | None = None) -> NDArray[np.uint8]:
        """Prepare an encoded image; uint8 [height, width, channels].

        Args:
            data: The image.
            cost: Its cost, if it is known.

        Raises:
            InvalidInputError: It isn't an image of a supported format, exceeds the limits, or
                is damaged. `structure` describes which damage can be found in which format.
            OutOfMemoryError: The process has no memory left for it.
        """
        return self._decode(data, cost)[0]

    def decode_with_crop(
        self, data: Encoded, cost: DecodeCost | None = None
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

    def _decode(self, data: Encoded, cost: DecodeCost | None, *, again: bool = False) -> Prepared:
        cost = self.cost(data) if cost is None else cost
        header: Header = cost.header
        try:
            stream = inspect(data, header)
            return self._prepare(*self._load(stream, header))
        except ServingError:
            raise
        except MemoryError as error:
            raise _no_memory() from error
        except Exception as error:  # Pillow's decoders raise anything on crafted bytes
            if is_out_of_memory(error) or not has_memory(cost.memory_bytes):
                raise _no_memory() from error
            if not again and allocations_can_fail():
                # Other threads may have had the memory, and have released it since.
                return self._decode(data, cost, again=True)
            damage = "truncated" if "truncated" in str(error) else "damaged"
            raise damaged(header.format, data, damage) from error

    def _prepare_pixels(self, pixels: NDArray[np.uint8]) -> Prepared:
        height, width, channels = pixels.shape
        self._check_size(width, height)
        image = Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
        return self._prepare(image, Stored(image.size))

    def _read_header(self, data: Encoded) -> Header:
        header = read_header(data)
        if header is None:
            raise InvalidInputError(_not_an_image(data))
        self._check_size(header.width, header.height)
        if header.format == "JPEG":
            self._check_working_memory(header, header.working_bytes, _MAX_JPEG_BYTES)
        return header

    def _load(self, stream: Stream, header: Header) -> tuple[Image.Image, Stored]:
        """Decode an image, a JPEG to scale."""
        stored = Stored((header.width, header.height), stream.orientation)
        if header.format == "WEBP":
            used = working_bytes(stream)
            self._check_working_memory(header, used, _MAX_WEBP_BYTES)
            return decode_webp(stream, stored.size), stored
        image = Image.open(stream.open(), formats=(header.format,))
        if image.size != stored.size:
            raise ValueError("the headers contradict each other")
        image.decodermaxblock = stream.read_bytes  # the default is 64 KiB
        if not isinstance(image, JpegImageFile):
            image.load()
            return image, stored
        finest = self._finest(*stored.upright)
        scale = decode_scale(stored.size, finest, uneven_chroma=header.uneven_chroma)
        set_decode_scale(image, scale)
        image.load()
        return image, replace(stored, scale=scale)

    def _check_working_memory(self, header: Header, used: int, allowed: float) -> None:
        """Check the memory that decoding takes for each pixel, beyond the pixels."""
        most = int(self._limits.max_pixels * allowed)
        if header.pixels * used > most:
            limit = f"at most {most // used:,} of these are allowed"
            has, fix = f"with alpha or lossless compression; {limit}", "save it as JPEG"
            if header.format == "JPEG":
                has, fix = f"with several scans; {limit}", "save it as baseline JPEG"
            elif not is_bounded():
                has = f"in a format of which this server decodes at most {most // used:,}"
            raise InvalidInputError(
                f"the {header.format} image has {header.width:,} x {header.height:,} pixels {has}; "
                f"{fix}, or scale it down"
            )

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
        size = self._width, self._height
        if self._padding is None:
            return self._resized(image, stored, crop, size), crop, upright
        whole = 0.0, 0.0, float(upright[0]), float(upright[1])
        fitted = self._padding.fitted(*upright)
        content = self._resized(image, stored, whole, fitted)
        return self._padding.around(content), crop, upright

    def _resized(
        self, image: Image.Image, stored: Stored, part: Box, size: tuple[int, int]
    ) -> NDArray[np.uint8]:
        box = stored.decoded_box(part, image.size)
        return resize_upright(image, stored.orientation, box, size, self._resampling, self._mode)

    def _finest(self, width: int, height: int) -> float:
        """Return the size of the result, relative to the part of the image that it shows."""
        left, top, right, bottom = self._crop_box(width, height)
        return max(self._width / (right - left), self._height / (bottom - top))

    def _crop_box(self, width: int, height: int) -> Box:
        """Return the part of an upright image that the input shows, in the image's pixels.

        The center crop keeps a part. Padding shows more than the image: edges outside of it.
        """
        if self._padding is not None:
            return self._padding.box(width, height)
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


def _not_an_image(data: Encoded) -> str:
    if not data:
        return "the image is empty (0 bytes); use a whole file"
    # No byte of it is quoted: messages appear in the log, which must contain no part of an image.
    return f"the {len(data):,} bytes are not an image; use JPEG, PNG, WebP, BMP or GIF"


def _no_memory() -> OutOfMemoryError:
    return OutOfMemoryError("to decode the image")
