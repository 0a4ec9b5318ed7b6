"""Decodes the first frame of a WebP, in a third of Pillow's memory.

Pillow decodes every WebP as an animation: libwebp keeps two canvases, and Pillow copies one
of them twice, 16 bytes for each pixel. Here, libwebp decodes the first frame to the memory
of the image.
"""

import ctypes
import sys
from functools import cache
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convscope.server.inference.decoding.structure.stream import Stream
from convscope.server.inference.decoding.webp.isolated import IsolatedDecoder
from convscope.server.inference.decoding.webp.libwebp import (
    OK,
    Layout,
    decode_into,
    open_library,
)

__all__ = ["decode_webp", "is_bounded", "max_working_bytes", "working_bytes"]

# Memory of libwebp for one pixel, beyond the image: a lossless image is decoded to a copy,
# and so is the alpha channel of a lossy one. The rest of a lossy image needs a few rows.
_LOSSLESS_BYTES, _ALPHA_BYTES = 4, 5
_PILLOW_BYTES = 12
# The prefix codes of one group, and the fewest bits that they take in the file. A group is
# used by a tile of 4 x 4 pixels or more. What is certainly below the limit needs no process.
_GROUP_BYTES, _GROUP_BITS, _TILE_PIXELS = 6144, 20, 16
_MAX_CODE_BYTES = 24 * 2**20


def is_bounded() -> bool:
    """Return whether libwebp is called here; otherwise Pillow decodes, in more memory."""
    return _library() is not None


def working_bytes(stream: Stream) -> int:
    """Return the memory for one pixel that decoding takes beyond the image."""
    if not is_bounded():
        return _PILLOW_BYTES
    if stream.is_lossless:
        return _LOSSLESS_BYTES
    return _ALPHA_BYTES if stream.has_alpha else 0


def max_working_bytes() -> int:
    """Return the largest value of `working_bytes`."""
    return _PILLOW_BYTES if _library() is None else max(_LOSSLESS_BYTES, _ALPHA_BYTES)


def decode_webp(stream: Stream, size: tuple[int, int]) -> Image.Image:
    """Decode the first frame of a WebP.

    Args:
        stream: The file, whose structure was checked.
        size: The width and height of its canvas.

    Returns:
        An image in mode RGBA if it has transparent pixels, and RGBX otherwise.

    Raises:
        MemoryError: There is no memory for the canvas.
        ValueError: It is damaged, or libwebp had no memory.
        ServingError: It exceeds a limit, or can't be decoded now.
    """
    library = _library()
    if library is None:
        image = Image.open(BytesIO(stream.data), formats=("WEBP",))
        image.load()
        return image
    frame = stream.frame
    layout = Layout(*size) if frame is None else Layout(*size, frame.left, frame.top)
    if _may_have_large_codes(stream):
        status, pixels = _decode_isolated(stream, layout)
    else:
        status, pixels = _decode_here(library, stream, layout)
    # It also reports too little memory for a damaged alpha channel, so that the caller looks
    # whether there is memory.
    if status != OK:
        raise ValueError("libwebp rejects the image")
    mode = "RGBA" if stream.has_alpha else "RGBX"
    return Image.frombuffer(mode, size, pixels, "raw", mode, 0, 1)


def _may_have_large_codes(stream: Stream) -> bool:
    """Return whether the prefix codes can take much more memory than the pixels."""
    if sys.platform != "linux":  # it has the memory and the limits that a process needs
        return False
    if not stream.is_lossless and not stream.has_alpha:
        return False
    start, end = stream.part
    pixels = stream.frame.width * stream.frame.height if stream.frame else 0
    groups = min(8 * (end - start) // _GROUP_BITS, pixels // _TILE_PIXELS)
    return groups * _GROUP_BYTES > _MAX_CODE_BYTES


def _decode_here(
    library: ctypes.CDLL, stream: Stream, layout: Layout
) -> tuple[int, NDArray[np.uint8]]:
    canvas = np.zeros(layout.size_bytes, np.uint8)
    start, end = stream.part
    encoded = np.frombuffer(stream.data, np.uint8, end - start, start)
    status = decode_into(library, encoded.ctypes.data, encoded.size, canvas.ctypes.data, layout)
    return status, canvas


def _decode_isolated(stream: Stream, layout: Layout) -> tuple[int, NDArray[np.uint8]]:
    start, end = stream.part
    encoded = memoryview(stream.data)[start:end]
    most_bytes = layout.width * layout.height * working_bytes(stream) + _MAX_CODE_BYTES
    status, shared = _isolated().decode(encoded, layout, most_bytes)
    return status, np.frombuffer(shared, np.uint8, offset=encoded.nbytes)


@cache
def _library() -> ctypes.CDLL | None:
    """Return libwebp; None if Pillow's build doesn't show its functions."""
    try:
        return open_library(_extension())
    except (ImportError, OSError, AttributeError):
        return None


@cache
def _isolated() -> IsolatedDecoder:
    return IsolatedDecoder(_extension())


def _extension() -> str:
    from PIL import _webp

    return str(_webp.__file__)
