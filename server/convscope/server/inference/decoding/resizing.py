"""Resizes a part of an image in strips, so that only strips are turned and converted.

An image of 50 megapixels takes 200 MB once it is decoded. To turn it, to put it on white
and to convert it would take as much again for each step. A strip contains every pixel
that the resampling filter needs for its rows, so that the result is the one of the whole
image.
"""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convscope.server.inference.decoding.colors import convert
from convscope.server.inference.decoding.orientation import (
    Box,
    PixelBox,
    cut_upright,
    upright_size,
)

__all__ = ["STRIP_BYTES", "resize_upright"]

# Pixels that are cut out, turned and converted at once. Cutting keeps the interpreter's lock.
# If an image becomes much smaller, the filter reaches far beyond a strip, and all that it reaches
# is converted for each strip again: then a strip has some times as many rows, up to a limit.
STRIP_PIXELS, MAX_STRIP_PIXELS = 2**18, 2**21
MIN_ROWS_PER_OVERLAP = 3
# A strip as it is stored, in RGBA, and on a white page: up to four bytes a pixel each.
STRIP_BYTES = 3 * 4 * MAX_STRIP_PIXELS
# The reach of the filter, in pixels of the result.
_REACH = {
    Image.Resampling.BILINEAR: 1,
    Image.Resampling.BICUBIC: 2,
    Image.Resampling.LANCZOS: 3,
}


def resize_upright(
    image: Image.Image,
    orientation: int,
    box: Box,
    size: tuple[int, int],
    resampling: Image.Resampling,
    mode: str,
) -> NDArray[np.uint8]:
    """Resize a part of the upright image; return uint8 [height, width, channels].

    The image is turned upright before the resize, which rounds between its horizontal
    and its vertical pass. Stored in any orientation, a photo therefore gives the same
    pixels.

    Args:
        image: The image as stored.
        orientation: Its EXIF orientation.
        box: The part, in pixels of the upright image.
        size: The width and height of the result.
        resampling: The filter.
        mode: RGB or L.
    """
    source = _Source(upright_size(image.size, orientation), box, size, resampling)
    width, height = size
    result = np.empty((height, width, len(mode)), np.uint8)
    for top in range(0, height, source.strip_rows):
        bottom = min(top + source.strip_rows, height)
        pixels, part = source.strip(top, bottom)
        # No name refers to a strip, so the last one is freed before the next one is cut.
        resized = convert(cut_upright(image, pixels, orientation), mode).resize(
            (width, bottom - top), resampling, box=part
        )
        result[top:bottom] = _array(resized)
    return result


class _Source:
    """Which pixels of an upright image the rows of the result depend on.

    Args:
        upright: The width and height of the upright image.
        box: The part that is resized.
        size: The width and height of the result.
        resampling: The filter.
    """

    def __init__(
        self,
        upright: tuple[int, int],
        box: Box,
        size: tuple[int, int],
        resampling: Image.Resampling,
    ) -> None:
        self._upright = upright
        self._box = box
        self._left, self._top, self._right, bottom = box
        self._scale = (bottom - self._top) / size[1]
        reach_x, reach_y = (
            math.ceil(_REACH[resampling] * max(scale, 1)) + 1
            for scale in ((self._right - self._left) / size[0], self._scale)
        )
        self._reach = reach_y
        self._first = max(math.floor(self._left) - reach_x, 0)
        self._last = min(math.ceil(self._right) + reach_x, upright[0])
        columns, overlap = self._last - self._first, 2 * reach_y + 2
        rows = max(STRIP_PIXELS // columns, MIN_ROWS_PER_OVERLAP * overlap)
        rows = min(rows, MAX_STRIP_PIXELS // columns)
        # A small image is one strip, which isn't cut. Rows of the result in one strip:
        self._is_small = upright[0] * upright[1] <= STRIP_PIXELS
        fitting = max(int((rows - overlap) / self._scale), 1)
        self.strip_rows = size[1] if self._is_small else fitting

    def strip(self, top: int, bottom: int) -> tuple[PixelBox, Box]:
        """Return the pixels for rows of the result, and the part of them that is resized."""
        if self._is_small:
            return (0, 0, *self._upright), self._box
        start, stop = self._top + top * self._scale, self._top + bottom * self._scale
        upper = max(math.floor(start) - self._reach, 0)
        lower = min(math.ceil(stop) + self._reach, self._upright[1])
        stop = min(stop, self._upright[1])  # a rounding error beyond the edge is an error
        part = self._left - self._first, start - upper, self._right - self._first, stop - upper
        return (self._first, upper, self._last, lower), part


def _array(image: Image.Image) -> NDArray[np.uint8]:
    """Return the pixels, uint8 [H, W, C]."""
    array = np.asarray(image)
    return array[:, :, np.newaxis] if array.ndim == 2 else array
