"""Converts an encoded image to the graph's uint8 input, by the manifest's rule.

The work depends on the size of the result, not of the photo. A JPEG is decoded at
the smallest of its own scales that keeps well over twice the needed resolution, and
only the part inside the crop is resized. Images that are not decoded to scale have,
except for rounding, the pixels of a full decode and resize.
"""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from convscope.server.errors import InvalidInputError
from convscope.server.inference.decoding.jpeg import check_scans, set_decode_scale
from convscope.server.inference.decoding.orientation import (
    Box,
    orientation_of,
    swaps_axes,
    turn_upright,
)
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

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """Prepare an encoded image; uint8 [height, width, channels].

        Raises:
            InvalidInputError: It isn't an image of a supported format, is damaged,
                or exceeds the limits.
        """
        image = self._open(data)
        try:
            return self._prepare(image)
        except (InvalidInputError, MemoryError):
            raise
        except Exception as error:  # Pillow's decoders raise anything on crafted bytes
            damage = "truncated" if "truncated" in str(error) else "damaged"
            raise InvalidInputError(
                f"the {image.format} image of {len(data):,} bytes is {damage}; send a whole file"
            ) from error

    def prepare(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Prepare a decoded image, uint8 [any height, any width, 1, 3 or 4 channels]."""
        height, width, channels = pixels.shape
        self._check_size(width, height)
        return self._prepare(Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels))

    def _open(self, data: bytes) -> Image.Image:
        try:
            image = Image.open(BytesIO(data), formats=FORMATS)
        except MemoryError:
            raise
        except Exception as error:  # Pillow's decoders raise anything on crafted bytes
            raise InvalidInputError(_not_an_image(data)) from error
        self._check_size(*image.size)
        if isinstance(image, JpegImageFile):
            check_scans(image, data)
        image.decodermaxblock = len(data)  # all at once, not 64 KiB after 64 KiB
        return image

    def _check_size(self, width: int, height: int) -> None:
        limits = self._limits
        if width * height > limits.max_pixels or max(width, height) > limits.max_side:
            raise InvalidInputError(
                f"the image is {width:,} x {height:,} pixels; at most {limits.max_pixels:,} "
                f"pixels and {limits.max_side:,} a side are allowed; scale it down"
            )
        if not width or not height:
            raise InvalidInputError(f"the image has {width} x {height} pixels; it is empty")

    def _prepare(self, image: Image.Image) -> NDArray[np.uint8]:
        orientation = orientation_of(image)
        size = image.size[::-1] if swaps_axes(orientation) else image.size
        box = self._crop_box(*size)  # of the whole image
        finest = max(self._width / (box[2] - box[0]), self._height / (box[3] - box[1]))
        scale = set_decode_scale(image, finest)
        image = _convert(image, self._mode)
        # Before the resize, which rounds between its horizontal and its vertical pass.
        image, box = turn_upright(image, orientation, box, size, scale)
        small = image.resize((self._width, self._height), self._resampling, box=box)
        array = np.asarray(small)  # uint8 [H, W] or [H, W, C]
        return array[:, :, np.newaxis] if array.ndim == 2 else array

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


def _convert(image: Image.Image, mode: str) -> Image.Image:
    """Convert any color mode to RGB or L; transparent pixels become white."""
    if image.mode.startswith("I"):  # 16-bit gray
        wide = np.asarray(image, dtype=np.float32)
        image = Image.fromarray(np.clip(wide / 257 + 0.5, 0, 255).astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        page = Image.new("RGBA", image.size, "white")
        page.alpha_composite(image)
        image = page.convert("RGB")
    return image if image.mode == mode else image.convert(mode)
