"""Encoded image to the graph's uint8 input, by the manifest's rule.

The work follows from the size of the result, not of the photo: a JPEG is
decoded at the smallest of its own scales that keeps well over twice the
resolution needed, and only the part that the crop keeps is resized. What is not
decoded to scale gets, but for rounding, the pixels of a full decode and resize.
"""

import math
import struct
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.JpegImagePlugin import JpegImageFile

from convscope.server.errors import InvalidInputError
from convscope.v1 import manifest_pb2 as pb

__all__ = ["ImageLimits", "Preprocessor"]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
# libjpeg decodes every scan of a progressive file over the whole image, so that
# a small file with thousands of scans costs minutes.
MAX_JPEG_SCANS = 64
# How many times finer than the result a JPEG is decoded at least. Measured before the
# rounding to whole levels, which itself costs 0.29 (rms): at 2.9 times, pixels move by
# 0.16 to 0.26 levels, by up to 0.39 in strong noise; at 2.05 times by up to 0.48 and
# 0.80, and then probabilities of an undecided network by up to 0.06.
MIN_DECODE_OVERSAMPLING = 2.8
# Pillow would warn, or raise at twice its own bound, before the check against ours.
Image.MAX_IMAGE_PIXELS = None

_RESAMPLING = {
    pb.INTERPOLATION_BILINEAR: Image.Resampling.BILINEAR,
    pb.INTERPOLATION_BICUBIC: Image.Resampling.BICUBIC,
}
_MODES = {pb.COLOR_MODE_RGB: "RGB", pb.COLOR_MODE_GRAY: "L"}
# What brings each EXIF orientation upright, and which of them exchange the axes.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TURNED = (5, 6, 7, 8)
# The orientation that undoes another one; the rest undo themselves.
_BACK = {6: 8, 8: 6}

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What an image may claim before any of it is decoded."""

    max_pixels: int
    max_side: int


class Preprocessor:
    """Prepares images for one model. Safe to call from several threads.

    Args:
        rule: The manifest's preprocessing.
        height: The graph's input height in pixels.
        width: The graph's input width in pixels.
        limits: What an image may claim.
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
            InvalidInputError: It isn't an image of a known format, is damaged,
                or is larger than the limits.
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
            _check_scans(image, data)
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
            raise InvalidInputError(f"the image is {width} x {height} pixels; it has none")

    def _prepare(self, image: Image.Image) -> NDArray[np.uint8]:
        orientation = _orientation(image)
        size = image.size[::-1] if orientation in _TURNED else image.size
        box = self._crop_box(*size)  # of the whole image
        finest = max(self._width / (box[2] - box[0]), self._height / (box[3] - box[1]))
        scale = _decode_scaled(image, finest * MIN_DECODE_OVERSAMPLING)
        image = _convert(image, self._mode)
        # Before the resize, which rounds between its two directions.
        image, box = _turn_upright(image, orientation, box, size, scale)
        small = image.resize((self._width, self._height), self._resampling, box=box)
        array = np.asarray(small)  # uint8 [H, W] or [H, W, C]
        return array[:, :, np.newaxis] if array.ndim == 2 else array

    def _crop_box(self, width: int, height: int) -> Box:
        """The part of an upright image that the centre crop keeps, in its pixels."""
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
    # Not a byte of it is quoted: the log quotes messages, and holds no part of an image.
    return f"the {len(data):,} bytes are not an image; send JPEG, PNG, WebP, BMP or GIF"


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - Pillow's parsers raise anything on crafted bytes
        return 1  # damaged metadata doesn't spoil a good picture
    return value if value in _UPRIGHT else 1


def _turn_upright(
    image: Image.Image, orientation: int, box: Box, size: tuple[int, int], scale: int
) -> tuple[Image.Image, Box]:
    """Turn an image, and find the box of the whole upright image of that size in it.

    A partial last column of an image decoded to scale becomes the first one when
    it is mirrored, so that the box takes the way through the stored image.
    """
    left, top, right, bottom = _turn_box(box, size, orientation)
    stored = left / scale, top / scale, right / scale, bottom / scale
    back = _BACK.get(orientation, orientation)
    left, top, right, bottom = _turn_box(stored, image.size, back)
    if orientation in _UPRIGHT:
        image = image.transpose(_UPRIGHT[orientation])
    return image, (max(left, 0), max(top, 0), min(right, image.width), min(bottom, image.height))


def _turn_box(box: Box, upright: tuple[int, int], orientation: int) -> Box:
    """Find the box of an upright image of that size in the image as it is stored."""
    left, top, right, bottom = box
    width, height = upright
    mirrored = {
        1: box,
        2: (width - right, top, width - left, bottom),
        3: (width - right, height - bottom, width - left, height - top),
        4: (left, height - bottom, right, height - top),
        5: (top, left, bottom, right),
        6: (top, width - right, bottom, width - left),
        7: (height - bottom, width - right, height - top, width - left),
        8: (height - bottom, left, height - top, right),
    }
    return mirrored[orientation]


def _decode_scaled(image: Image.Image, needed: float) -> int:
    """Choose a JPEG's decoding scale, at least as fine as is needed; the whole is 1.

    Returns:
        The number of pixels that one pixel stands for, in each direction.
    """
    if not isinstance(image, JpegImageFile):
        return 1
    if _chroma_is_uneven(image):
        needed *= 2
    if needed >= 1:
        return 1
    full_width, full_height = image.size
    image.draft(None, (math.ceil(full_width * needed), math.ceil(full_height * needed)))
    # The scale is a power of two, and the last column or row may be a partial one.
    return int(2 ** round(math.log2(full_width / image.size[0])))


def _chroma_is_uneven(image: JpegImageFile) -> bool:
    """Whether a channel is coarser in one direction only, as in 4:2:2.

    Decoding to scale coarsens such a channel once more, in both directions.
    """
    horizontal = max(h for _, h, _, _ in image.layer)
    vertical = max(v for _, _, v, _ in image.layer)
    return any(h * vertical != v * horizontal for _, h, v, _ in image.layer)


def _check_scans(image: JpegImageFile, data: bytes) -> None:
    """Refuse a JPEG of too many scans; one whose first scan holds all channels has no other."""
    length = 6 + 2 * image.layers
    start = image.fp.tell() - length - 2 if image.fp else 0  # of the first scan, just read
    has_one_scan = data.startswith(struct.pack(">HHB", 0xFFDA, length, image.layers), start)
    if has_one_scan and "progression" not in image.info:
        return
    if data.count(b"\xff\xda") > MAX_JPEG_SCANS:
        raise InvalidInputError(
            f"the JPEG image has more than {MAX_JPEG_SCANS} scans; save it as baseline JPEG"
        )


def _convert(image: Image.Image, mode: str) -> Image.Image:
    """Bring any colour mode to RGB or L; what is transparent becomes white."""
    if image.mode.startswith("I"):  # 16 bits of grey
        wide = np.asarray(image, dtype=np.float32)
        image = Image.fromarray(np.clip(wide / 257 + 0.5, 0, 255).astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        page = Image.new("RGBA", image.size, "white")
        page.alpha_composite(image)
        image = page.convert("RGB")
    return image if image.mode == mode else image.convert(mode)
